"""How products are made, as torch's settings say."""

from types import SimpleNamespace

import pytest
import torch

from pointseg.minkowski.triton.device import uses_tf32

MATMUL = torch.backends.cuda.matmul


@pytest.fixture
def features(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """As much of fp32 features on an Ampere GPU as is asked for."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    before = MATMUL.fp32_precision
    yield SimpleNamespace(dtype=torch.float32, device=torch.device("cuda"))
    MATMUL.fp32_precision = before


def test_tf32_is_seen_however_it_was_allowed(features: SimpleNamespace) -> None:
    MATMUL.fp32_precision = "ieee"
    assert not uses_tf32(features)
    MATMUL.fp32_precision = "tf32"
    assert uses_tf32(features)
    features.dtype = torch.bfloat16
    assert not uses_tf32(features)
    features.dtype = torch.float32
    try:
        MATMUL.allow_tf32 = True
        assert uses_tf32(features)
    finally:
        MATMUL.allow_tf32 = False
    assert not uses_tf32(features)


def test_older_gpus_have_no_tf32(features: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    MATMUL.fp32_precision = "tf32"
    assert not uses_tf32(features)
