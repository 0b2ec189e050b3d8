"""One process of a torch.distributed job: run a function of a test file and save what it returns.

python tests/methods/one_process.py TEST_FILE FUNCTION RANK SIZE FOLDER
"""

import runpy
import sys

import torch
import torch.distributed.nn  # before there is a group, which it would keep alive (see pointseg.training.processes)
from torch import distributed as dist


def main(file, function, rank, size, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=size)
    torch.save(runpy.run_path(file)[function](rank), f"{folder}/result_{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
