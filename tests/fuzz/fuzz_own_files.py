"""Small valid files of pointseg's own kinds, and what reading one promises."""

import io
from functools import cache
from pathlib import Path

import numpy as np
import torch
import yaml
from fuzz_clouds import POINTS
from fuzz_containers import json_sample, safetensors_sample, text_sample, zip_sample
from fuzz_mutations import Sample
from safetensors.torch import save
from torch import nn

from pointseg.data.classes import load_classes, save_classes
from pointseg.data.label_clicks_csv import read_clicks
from pointseg.data.pointcept import export_root
from pointseg.data.scene import write_scene
from pointseg.models.import_weights import import_weights
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.ply import read_ply, read_ply_classes, write_ply

CLASSES = load_classes("s3dis")


@cache
def view_ply() -> list[Sample]:
    rng = np.random.default_rng(6)
    cloud = Cloud(
        coord=rng.normal(size=(POINTS, 3)),
        color=rng.integers(0, 256, (POINTS, 3)).astype(np.uint8),
        gt=rng.integers(-1, 13, POINTS),
        pred=rng.integers(0, 13, POINTS),
        confidence=rng.random(POINTS),
        name="a room",
    )
    file = _written(lambda path: write_ply(path, cloud, CLASSES, offset=(5e5, 6e6, 10.0)), "a.ply")
    head, end, rest = file.partition(b"end_header\n")
    scanner = b"ply\nformat ascii 1.0\nelement vertex 2\n" + b"".join(
        f"property {kind} {name}\n".encode() for kind, name in _SCANNER
    )
    return [Sample((head + end, rest)), Sample((scanner + end, b"1 2 3 0.5 0.25 1 3 0.5\n4 5 6 0 0 0 2 0.25\n"))]


_SCANNER = [(kind, name) for kind, name in zip(["double"] * 3 + ["float"] * 3, "xyzrgb", strict=True)]
_SCANNER = [(kind, {"r": "red", "g": "green", "b": "blue"}.get(name, name)) for kind, name in _SCANNER]
_SCANNER += [("float", "pred"), ("float", "confidence")]


def read_view_ply(path: Path) -> None:
    cloud = read_ply(path)
    n = cloud.num_points
    assert (cloud.coord.shape, cloud.coord.dtype) == ((n, 3), np.float32)
    assert np.isfinite(cloud.coord).all()
    assert cloud.color is None or (cloud.color.shape, cloud.color.dtype) == ((n, 3), np.uint8)
    for ids in (cloud.gt, cloud.pred, cloud.annotated):
        assert ids is None or ids.shape == (n,)
    classes = read_ply_classes(path)
    assert classes is None or classes.colors.shape == (classes.num_classes, 3)


@cache
def classes() -> list[Sample]:
    short = {
        "dataset": "mine",
        "classes": [{"name": "wall", "color": [1, 2, 3], "source": ["wall", 3]}, _class("floor", 4)],
        "ignore": [0, "unknown"],
    }
    whole = _written(lambda path: save_classes(CLASSES, path), "classes.yaml")
    return [Sample((yaml.safe_dump(short).encode(),)), Sample((whole,))]


def _class(name: str, source: int) -> dict[str, object]:
    return {"name": name, "color": [0, 0, 255], "source": [source]}


def read_classes(path: Path) -> None:
    found = load_classes(path)
    assert (found.colors.shape, found.colors.dtype) == ((len(found.names), 3), np.uint8)
    assert len(set(found.names)) == len(found.names) == len(found.source_ids) > 0
    again = path.with_name("again.yaml")
    save_classes(found, again)
    assert load_classes(again).same_as(found)


@cache
def clicks() -> list[Sample]:
    rows = ["0.5,1.25,-3e2,wall", "1,2,3,0", '4,5,6,"floor"']
    scenes = ["scene;x;y;z;class", "Area_1/office_1;1;2;3;table", "office_2;4;5;6;12"]
    return [text_sample("\n".join(["x,y,z,class", *rows]) + "\n"), text_sample("\n".join(scenes))]


def read_click_file(path: Path) -> None:
    found = read_clicks(path, CLASSES)
    assert found
    for click in found:
        assert np.isfinite(click.coord).all()
        assert 0 <= click.label < CLASSES.num_classes
        assert click.line > 1
        assert click.scene != ""


def _network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@cache
def torch_weights() -> list[Sample]:
    torch.manual_seed(0)
    state = {"state_dict": {f"module.{k}": v for k, v in _network().state_dict().items()}, "epoch": 3}
    new, old = io.BytesIO(), io.BytesIO()
    torch.save(state, new)
    torch.save(state, old, _use_new_zipfile_serialization=False)
    return [zip_sample(new.getvalue()), Sample((old.getvalue()[:300], old.getvalue()[300:]))]


@cache
def safetensors() -> list[Sample]:
    torch.manual_seed(0)
    return [safetensors_sample(save(_network().state_dict()))]


def read_weights(path: Path) -> None:
    network = _network()
    report = import_weights(network, path)
    assert report.matched
    assert set(report.matched) | set(report.missing) == set(network.state_dict())


def prepared(folder: Path) -> None:
    """A root of one scene in ``<folder>/root``."""
    root = folder / "root"
    root.mkdir()
    save_classes(CLASSES, root / "classes.yaml")
    coord = np.random.default_rng(0).uniform(0, 1, (POINTS, 3))
    segment = np.arange(POINTS) % 3
    more = {"dataset": "s3dis", "sources": [], "repairs": [], "voxel_sizes": [0.5]}
    write_scene(root, "all", "x", coord=coord, segment=segment.astype(np.int16), **more)


@cache
def export() -> list[Sample]:
    scenes = {"all/x": {"points": POINTS, "offset": [0.0, 0.0, 0.0]}}
    return [json_sample({"dataset": "s3dis", "classes": ["a"], "segment_name": "segment", "scenes": scenes})]


def read_export(path: Path) -> None:
    done = export_root(path.parent.parent / "root", path.parent)
    assert (done.scenes, done.files) == (1, 2)


def _written(write, name: str) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return (Path(folder) / name).read_bytes()
