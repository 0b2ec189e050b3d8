"""The one lock of the project: held by one, by nobody after any end of the holder, and never taken for held."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from pointseg import locking
from pointseg.errors import InputError
from pointseg.locking import HOLDER, only_process
from pointseg.training.lock import locked

LOCKS = {
    "any": lambda folder: only_process(folder / "lock", f"held by {HOLDER}"),
    "run": locked,
}


@pytest.fixture(params=LOCKS)
def lock(request, tmp_path):
    return lambda: LOCKS[request.param](tmp_path)


TAKE = "import fcntl, os, sys; fcntl.lockf(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)"
"""What another process does to take a lock."""


def test_it_is_held_by_one_thread_at_a_time_and_lifted_by_the_end(tmp_path, lock):
    inside = []

    def count():
        for _ in range(50):
            try:
                with lock():
                    inside.append(1)
                    assert sum(inside) == 1
                    inside.append(-1)
            except InputError:
                continue

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(inside) == 0
    assert inside
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", LOCKS)
def test_taken_twice_by_one_process_it_is_refused_and_stays_held(tmp_path, name):
    with LOCKS[name](tmp_path):
        with pytest.raises(InputError, match="by this very process"), LOCKS[name](tmp_path):
            pass
        (file,) = tmp_path.iterdir()
        done = subprocess.run([sys.executable, "-c", TAKE, file], capture_output=True, text=True, check=False)
        assert "BlockingIOError" in done.stderr
    with LOCKS[name](tmp_path):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_of_a_killed_holder_does_not_keep_it(lock):
    reading, writing = os.pipe()
    holder = os.fork()
    if holder == 0:
        with lock():
            child = os.fork()
            if child == 0:
                time.sleep(30)
                os._exit(0)
            os.write(writing, child.to_bytes(4, "little"))
            time.sleep(30)
            os._exit(1)  # killed long before; it must not run on as a second pytest
    child = int.from_bytes(os.read(reading, 4), "little")
    try:
        with pytest.raises(InputError, match=f"by process {holder} on "), lock():
            pass
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        with lock():
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_file_system_without_locks_is_not_somebody_who_holds_it(lock, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with monkeypatch.context() as patch:
        patch.setattr(locking.fcntl, "lockf", none)
        with pytest.raises(OSError, match="No locks available"), lock():
            pass
    with lock():
        pass
