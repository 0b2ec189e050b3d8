"""Jobs of several processes: a process that imports once and forks the children of each job.

python lives_of_several.py FILE, then one JSON line a job on stdin:
    {"size": 2, "function": NAME, "args": [...]}     NAME(*args) of the file in each
    {"size": 2, "argv": [...], "stop": [SIGNAL, RANK, STEP]}    the command line; before a step, counted from 0 in this
        life, the process of that rank sends the signal to itself (SIGKILL) or to all (SIGINT), or null
The answer is a line: the exit status of each child (negative: the signal) and what each wrote to stderr. A child that
has not ended by itself after LONGEST seconds is killed (SIGALRM).
"""

import json
import os
import runpy
import signal
import socket
import sys
import tempfile

import torch
import torch._dynamo  # the first optimizer would, in every child

from pointseg.cli.main import main as command_line
from pointseg.training import loop

LONGEST = 600


def stopping(name, step):
    """Patch the loop: in the given step of this life the signal comes."""
    original, left = loop.training_step, [step]

    def patched(*args, **kwargs):
        if left[0] == 0:
            if name == "SIGKILL":
                os.kill(os.getpid(), signal.SIGKILL)
            os.killpg(0, signal.SIGINT)
        left[0] -= 1
        return original(*args, **kwargs)

    loop.training_step = patched


def live(file, job, rank):
    torch.set_num_threads(1)
    if "function" in job:
        runpy.run_path(file)[job["function"]](*job["args"])
        return 0
    if job["stop"] and rank == job["stop"][1]:
        stopping(job["stop"][0], job["stop"][2])
    return command_line(job["argv"])


def child(file, job, rank, address, group, log):
    if job["size"] > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(job["size"])} | address
    os.setpgid(0, group)
    signal.alarm(LONGEST)
    os.dup2(log.fileno(), 2)
    os.dup2(log.fileno(), 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status = 1
    try:
        status = live(file, job, rank)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        sys.stderr.flush()
        os._exit(status)


def run(file, job):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    pids, logs = [], []
    for rank in range(job["size"]):
        logs.append(tempfile.TemporaryFile())  # noqa: SIM115
        pid = os.fork()
        if pid == 0:
            child(file, job, rank, address, pids[0] if pids else 0, logs[rank])
        os.setpgid(pid, pids[0] if pids else pid)
        pids.append(pid)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    texts = []
    for log in logs:
        log.seek(0)
        texts.append(log.read().decode())
        log.close()
    return statuses, texts


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(run(sys.argv[1], json.loads(line))) + "\n")
        sys.stdout.flush()
