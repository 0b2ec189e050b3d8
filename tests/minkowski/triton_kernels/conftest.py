from collections.abc import Callable

import pytest
import torch

from pointseg.minkowski import triton as fast
from pointseg.minkowski.kernel_map import KernelMap
from pointseg.minkowski.triton.device import interpreted


@pytest.fixture
def device() -> torch.device:
    """Where kernels run: the GPU, or the CPU under Triton's interpreter."""
    if not fast.available():
        pytest.skip("triton is not installed, or the GPU is too old for it")
    if not interpreted():
        return torch.device("cuda", torch.cuda.current_device())
    import triton

    if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7):
        pytest.skip(f"the interpreter of triton {triton.__version__} does not work with numpy 2.4: 3.7 does")
    return torch.device("cpu")


@pytest.fixture(autouse=True)
def _own_choices(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """No test reads or writes the tile choices of the user."""
    monkeypatch.setenv("POINTSEG_CACHE", str(tmp_path))
    monkeypatch.setenv("POINTSEG_TUNE", "0")


@pytest.fixture
def scattered() -> Callable[..., KernelMap]:
    """Random maps: each of K offsets pairs some rows with others, in random order, no row twice."""

    def make(n_in: int, n_out: int, K: int, share: float = 0.4, device: str | torch.device = "cpu") -> KernelMap:
        count = int(share * min(n_in, n_out))
        pairs = tuple((torch.randperm(n_in)[:count], torch.randperm(n_out)[:count]) for _ in range(K))
        return KernelMap.of_pairs(n_in, n_out, [(i.to(device), o.to(device)) for i, o in pairs])

    return make
