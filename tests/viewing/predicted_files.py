"""Cloud files of every format that hold a prediction of ours, and the cloud that a target shows."""

from __future__ import annotations

from pathlib import Path

import laspy
import numpy as np
import pytest

from pointseg.data.formats import write_predictions
from pointseg.viewing.sources import Wishes, open_target

N = 300
RNG = np.random.default_rng(0)
COORD = RNG.random((N, 3)) * [8, 8, 2]
PRED = (np.arange(N) % 2).astype(np.int16)
CONFIDENCE = RNG.random(N).astype(np.float32)
ENTROPY = RNG.random(N).astype(np.float32)


def load(target, **wishes):
    (source,) = open_target(Path(target), Wishes(**wishes))
    return source.load()


def write(path: Path) -> Path:
    """A cloud file of the path's format with positions alone, and our prediction written into a copy of it."""
    bare = path.with_name("bare" + path.suffix)
    match path.suffix:
        case ".las" | ".laz":
            file = laspy.LasData(laspy.LasHeader(point_format=6, version="1.4"))
            file.header.scales = [0.001] * 3
            file.x, file.y, file.z = COORD.T
            file.write(str(bare))
        case ".ply":
            head = f"ply\nformat ascii 1.0\nelement vertex {N}\n" + "".join(f"property double {a}\n" for a in "xyz")
            rows = "".join(" ".join(map(repr, row)) + "\n" for row in COORD.tolist())
            bare.write_text(head + "end_header\n" + rows)
        case ".npz":
            np.savez(bare, x=COORD[:, 0], y=COORD[:, 1], z=COORD[:, 2])
        case ".pcd":
            head = f"VERSION .7\nFIELDS x y z\nSIZE 8 8 8\nTYPE F F F\nCOUNT 1 1 1\nWIDTH {N}\nHEIGHT 1\nPOINTS {N}\n"
            bare.write_bytes((head + "DATA binary\n").encode() + COORD.astype("<f8").tobytes())
        case ".e57":
            pye57 = pytest.importorskip("pye57")
            e57 = pye57.E57(str(bare), mode="w")
            e57.write_scan_raw({f"cartesian{a}": COORD[:, i] for i, a in enumerate("XYZ")})
            e57.close()
        case _:
            bare.write_text("x,y,z\n" + "\n".join(",".join(map(repr, row)) for row in COORD.tolist()) + "\n")
    write_predictions(bare, path, PRED, confidence=CONFIDENCE, entropy=ENTROPY)
    bare.unlink()
    return path
