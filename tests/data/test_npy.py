"""Arrays saved byte for byte as NumPy does, except that nothing is lost silently."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from pointseg.data.npy import map_npy, mapped_slices, save_array

resource = pytest.importorskip("resource", reason="needs limits on the size of files")


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(4, 3),
        np.arange(5000, dtype=np.int64)[::2],
        np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        np.zeros((0, 3), np.uint8),
        np.float64(3),
    ],
)
def test_the_same_bytes_as_numpy(tmp_path, array):
    save_array(tmp_path / "a.npy", array)
    np.save(tmp_path / "b.npy", np.ascontiguousarray(array))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


@pytest.mark.parametrize("length", [400, 1000, 100_000])
def test_a_file_that_cannot_be_written_whole_is_an_error_with_its_name(tmp_path, length):
    # 400 numbers fit into one buffer, whose loss numpy.save does not notice.
    script = f"""
        import resource, sys
        from pathlib import Path
        import numpy as np
        from pointseg.data.npy import save_array
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        try:
            save_array(Path(sys.argv[1]), np.zeros({length}))
        except OSError as error:
            print(error.errno, error.strerror, error.filename == sys.argv[1])
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "x.npy")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == "27 File too large True\n"


def resident_file_pages():
    return int(re.search(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux to count a process's pages")
def test_slices_of_a_mapped_file_are_given_back(tmp_path):
    values = np.arange(8 << 20, dtype=np.int64)
    save_array(tmp_path / "a.npy", values)
    mapped, before, most = map_npy(tmp_path / "a.npy"), resident_file_pages(), 0
    for start, part in mapped_slices(mapped, 1 << 20):
        assert part[0] == start
        assert np.array_equal(part, values[start : start + (1 << 20)])
        most = max(most, resident_file_pages() - before)
    assert start == 7 << 20
    assert most < 24 << 20
    assert [part.tolist() for _, part in mapped_slices(np.arange(5), 2)] == [[0, 1], [2, 3], [4]]
