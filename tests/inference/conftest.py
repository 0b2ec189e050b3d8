"""A small trained-like predictor and a cloud file that need no training and no data."""

import laspy
import numpy as np
import pytest
import torch

from pointseg.data.classes import Classes
from pointseg.inference.model_folder import ModelSpec, build
from pointseg.inference.predictor import Predictor

CLASSES = Classes(
    "mine", ("a", "b", "c"), np.array([[1, 2, 3], [4, 5, 6], [250, 0, 9]], np.uint8), (("a",), ("b",), ("c",))
)


def spec(**changes):
    settings = {
        "classes": CLASSES,
        "voxel_size": 0.1,
        "features": ("ones", "color", "height"),
        "network": "MinkUNet14",
        "planes": (8,) * 8,
        "init_dim": 8,
        "stem_kernel": 3,
    }
    return ModelSpec(**settings | changes)


@pytest.fixture
def make_predictor():
    def make(**changes):
        torch.manual_seed(0)
        model = build(spec(**changes)).eval()
        # Running statistics of a real cloud: those of a fresh network let every signal die or explode.
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)
        with torch.no_grad():
            model.net.final.kernel.mul_(3)
        return Predictor(model, spec(**changes), torch.device("cpu"))

    return make


def strip(points, seed=0, length=90.0):
    """A wavy strip of ground, 2.5 m wide: (N, 3) metres far from the origin, (N, 3) 16-bit colours."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, length, points), rng.uniform(0, 2.5, points)
    z = np.sin(x / 3) + 0.3 * (y > 1.2) * (np.sin(x) > 0)
    color = rng.integers(0, 256, (points, 3)) * 256 * (np.sin(x * 2) > 0)[:, None]
    return np.stack([x + 652_300.37, y + 6_861_100.21, z + 35.2], 1), color


@pytest.fixture
def laz(tmp_path):
    """A coloured LAZ file of 12 000 points with GPS times, a reference system and a field of its own."""
    coord, color = strip(12_000)
    header = laspy.LasHeader(point_format=7, version="1.4")
    header.scales, header.offsets = [0.001] * 3, [652_000, 6_861_000, 0]
    header.add_extra_dim(laspy.ExtraBytesParams("mine", np.float32))
    header.vlrs.append(laspy.VLR("LASF_Projection", 2112, "wkt", b'PROJCS["RGF93 / Lambert-93"]\0'))
    las = laspy.LasData(header)
    las.x, las.y, las.z = coord.T
    las.red, las.green, las.blue = color.T
    las.intensity = np.arange(len(coord)) % 900
    las.gps_time = np.arange(len(coord)) * 0.001
    las.mine = np.arange(len(coord), dtype=np.float32)
    las.write(str(tmp_path / "my scan.laz"))
    return tmp_path / "my scan.laz"
