"""The palette that stays apart for people with a colour vision deficiency."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.palettes import SAFE, with_palette

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def cielab(colors, seen_as):
    part = colors / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    x, y, z = (np.clip(linear @ np.array(seen_as).T, 0, 1) @ XYZ.T / [0.95047, 1, 1.08883]).T
    f = [np.where(v > 0.008856, np.cbrt(v), 7.787 * v + 16 / 116) for v in (x, y, z)]
    return np.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])], axis=1)


@pytest.mark.parametrize("seen_as", [np.eye(3), PROTANOPIA, DEUTERANOPIA])
def test_no_two_colours_look_alike(seen_as):
    lab = cielab(SAFE, seen_as)
    assert pdist(lab).min() > 17
    assert lab[:, 0].min() > 15
    assert lab[:, 0].max() < 95


def test_classes_get_its_colours_in_order_and_again_from_the_start():
    classes = Classes("many", tuple(f"c{k}" for k in range(30)), np.zeros((30, 3), np.uint8), ())
    safe = with_palette(classes, "safe")
    assert (safe.names, safe.dataset) == (classes.names, "many")
    assert np.array_equal(safe.colors[:24], SAFE)
    assert np.array_equal(safe.colors[24:], SAFE[:6])
    assert with_palette(classes, "own").colors.max() == 0
    with pytest.raises(InputError, match="there is no palette 'nice'; allowed are own, safe"):
        with_palette(classes, "nice")
