"""A small scene in ScanNet's native files, lists and a label table beside it, and the command that prepares it."""

import argparse
import json
import struct

import numpy as np

from data_prep import scannet
from pointseg.data.scene import open_scene

SCENE = "scene0270_00"
# One vertex for every NYU40 id, then two unknown ids, twice each.
LABELS = [*range(41), 50, 149, 50, 149]
SEGMENTS = [7] * 10 + [20] * 10 + [3] * 10 + [99] * 15
GROUPS = [
    {"id": 0, "objectId": 0, "label": "desk", "segments": [7]},
    {"id": 1, "objectId": 5, "label": "office chair", "segments": [3, 20]},
]
TABLE = [("wall", 1, 1), ("chair", 2, 5), ("office chair", 10, 5), ("desk", 9, 14), ("globe", 269, 40)]
TURN = [0, -1, 0, 10, 1, 0, 0, 20, 0, 0, 1, 30, 0, 0, 0, 1]


def coord_of(n):
    """Points on a strip of triangles, millimetres as whole numbers so that float32 is exact."""
    k = np.arange(n)
    return np.stack([k * 0.125, (k % 2) * 0.5, k % 3 * 0.25], axis=1)


def ply_bytes(n, labels=None):
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {n}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"property uchar {channel}" for channel in ("red", "green", "blue", "alpha")]
    lines += ["property ushort label"] if labels else []
    lines += [f"element face {n - 2}", "property list uchar int vertex_indices", "end_header", ""]
    body = "\n".join(lines).encode()
    for k, point in enumerate(coord_of(n)):
        body += struct.pack("<3f4B", *point, k, 2 * k, 255 - k, 255)
        body += struct.pack("<H", labels[k]) if labels else b""
    return body + b"".join(struct.pack("<B3i", 3, k, k + 1, k + 2) for k in range(n - 2))


def write_scene(raw, scene=SCENE, *, folder="scans", without=(), **changed):
    """Write a scene's files, less those in ``without``, some of them with other content."""
    content = {
        "_vh_clean_2.ply": ply_bytes(len(LABELS)),
        "_vh_clean_2.labels.ply": ply_bytes(len(LABELS), LABELS),
        "_vh_clean_2.0.010000.segs.json": json.dumps({"segIndices": changed.get("segments", SEGMENTS)}).encode(),
        ".aggregation.json": json.dumps({"segGroups": changed.get("groups", GROUPS)}).encode(),
        ".txt": f"axisAlignment = {' '.join(map(str, TURN))} \nnumDepthFrames = 3\n".encode(),
    } | changed.get("files", {})
    target = raw / folder / scene
    target.mkdir(parents=True)
    for kind, data in content.items():
        if kind not in without:
            (target / f"{scene}{kind}").write_bytes(data)
    return target


def write_meta(folder, table=TABLE, **lists):
    """Write the label table, and a list of scenes for every split that is given; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, scenes in lists.items():
        (folder / f"scannetv2_{split}.txt").write_text("".join(f"{scene}\n" for scene in scenes))
    rows = ["id\traw_category\tcategory\tnyu40id\n", *(f"{i}\t{word}\t{word}\t{nyu}\n" for word, i, nyu in table)]
    (folder / "scannetv2-labels.combined.tsv").write_text("".join(rows))
    return folder


def run(raw, out, *flags):
    parser = argparse.ArgumentParser()
    scannet.add_arguments(parser)
    return scannet.run(parser.parse_args(["--raw", str(raw), "--out", str(out), "--workers", "1", *map(str, flags)]))


def prepared(raw, out, *flags):
    assert run(raw, out, *flags) == 0
    return open_scene(next(out.glob("*/*/meta.json")).parent)
