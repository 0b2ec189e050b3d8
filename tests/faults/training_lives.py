"""Lives of one training: a process that imports once and forks a child for each, which is killed where it is told.

python training_lives.py DATA, then one JSON line each on stdin:
    {"run": FOLDER, "resume": false, "at": [PLACE, COUNT], "after": [STEPS, SECONDS]}
``at`` kills the child the COUNT-th time it comes to a place of ``PLACES``, ``after`` so many seconds after so many
steps of this life, of which the start of the training is the 0th; null for either. The answer is a line: the child's
exit status (negative: the signal) and the steps it did.
"""

import json
import os
import signal
import sys
import time

import torch
import torch._dynamo  # the first optimizer would, in every child
from PIL import Image

from pointseg.inference import predict
from pointseg.training import Run, checkpoint, load_recipe, loop, notes, report, step, tracking
from pointseg.training.pictures import PredictionPictures

SETTINGS = [
    "data.voxel_size=0.1",
    "data.labels=1pct_seed0",
    "model.planes=[8, 8, 8, 8, 8, 8, 8, 8]",
    "model.init_dim=8",
    "steps=12",
    "batch_size=1",
    "eval_every=6",
    "checkpoint_every=2",
    "optimizer.warmup_steps=2",
    "ema_momentum=0.5",
]


def killer(count):
    """Counts calls; the last of ``count`` does what it is given and dies."""
    left = [count]

    def kill(last_act=lambda: None):
        left[0] -= 1
        if left[0] == 0:
            last_act()
            os.kill(os.getpid(), signal.SIGKILL)

    return kill


def before(owner, name):
    """A place: just before a function is called."""

    def patch(kill):
        original = getattr(owner, name)

        def patched(*args, **kwargs):
            kill()
            return original(*args, **kwargs)

        setattr(owner, name, patched)

    return patch


def half_a_line(kill):
    original = tracking.Tracker._append

    def patched(self, line):
        def cut():
            with self.file.open("a") as handle:
                handle.write(json.dumps(line)[:20])

        kill(cut)
        original(self, line)

    tracking.Tracker._append = patched


def half_a_file(kill):
    original = checkpoint.save_tensors

    def patched(tensors, path):
        def cut():
            original(tensors, path)
            os.truncate(path, os.path.getsize(path) // 2)

        kill(cut)
        original(tensors, path)

    checkpoint.save_tensors = patched


PLACES = {
    "loss": before(step, "_require_finite"),
    "optimizer": before(torch.optim.AdamW, "step"),
    "average": before(loop.Teacher, "update"),
    "evaluation": before(predict, "voxel_probabilities"),
    "checkpoint": half_a_file,
    "rename": before(os, "replace"),
    "old checkpoints": before(checkpoint.shutil, "rmtree"),
    "metrics": half_a_line,
    "report": before(report, "draw_curves"),
}


def live(data, life, told):
    torch.set_num_threads(1)
    # What takes longest and cannot be left half done: pictures.
    PredictionPictures.draw = PredictionPictures.thumbnails = lambda self: {}
    notes.explained, notes.draw_scene = lambda *_: {}, lambda *_, **__: Image.new("RGB", (4, 4))
    if life["at"]:
        place, count = life["at"]
        PLACES[place](killer(count))
    run = Run.create(
        life["run"], load_recipe("synthetic_erda", [*SETTINGS, f"data.root={data}"]), resume=life["resume"]
    )
    if not run.finished:
        os.write(told, b".")
        loop.train(run, device=torch.device("cpu"), workers=0, on_step=lambda *_: os.write(told, b"."))


def main(data):
    for line in sys.stdin:
        life = json.loads(line)
        heard, told = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(heard)
                live(data, life, told)
            except BaseException as error:
                sys.stderr.write(f"{error}\n")
                os._exit(1)
            os._exit(0)
        os.close(told)
        marks = 0
        if life["after"]:
            steps, seconds = life["after"]
            while marks <= steps and os.read(heard, 1):
                marks += 1
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
        while more := os.read(heard, 100):
            marks += len(more)
        os.close(heard)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(json.dumps([os.waitstatus_to_exitcode(status), max(marks - 1, 0)]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
