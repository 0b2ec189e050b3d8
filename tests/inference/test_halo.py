"""The receptive radius: nothing beyond it changes an output, and something within it does."""

from dataclasses import dataclass

import pytest
import torch

from pointseg.inference.halo import default_halo, receptive_radius
from pointseg.models.minkunet import MinkUNet14, MinkUNet18, MinkUNet50
from pointseg.models.segmentor import Segmentor


@dataclass
class Inputs:
    coord: torch.Tensor
    features: torch.Tensor


@pytest.mark.parametrize(("kind", "stem"), [(MinkUNet14, 3), (MinkUNet18, 5), (MinkUNet50, 4)])
def test_a_voxel_beyond_the_radius_changes_nothing(kind, stem):
    torch.manual_seed(0)
    net = kind(1, 2, planes=(4,) * 8, init_dim=4, stem_kernel=stem)
    # Positive weights and no normalisation to speak of: every path carries something.
    for parameter in net.parameters():
        parameter.data.abs_()
    model = Segmentor(net).eval().double()
    radius, length = receptive_radius(net), 900
    x = torch.arange(length, dtype=torch.int32)
    coord = torch.stack([0 * x, x, 0 * x, 0 * x], 1)
    features = torch.ones(length, 1, dtype=torch.float64)
    changed = features.clone()
    changed[450] = 2
    with torch.no_grad():
        moved = (model(Inputs(coord, features))[1] - model(Inputs(coord, changed))[1]).abs().sum(1) > 0
    reach = (moved.nonzero()[:, 0] - 450).abs().max()
    assert radius - 31 <= reach <= radius
    assert default_halo(net) == -(-radius // 4)
