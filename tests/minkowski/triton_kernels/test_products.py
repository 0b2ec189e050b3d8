"""Products and gradients of the Triton kernels against dense matrices in fp64."""

import gc
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pointseg.minkowski import triton as fast
from pointseg.minkowski.kernel_map import KernelMap
from pointseg.minkowski.triton import table
from pointseg.minkowski.triton.tiles import candidates

# Relative to the largest value: one rounding of the result, which the interpreter cuts off in bf16.
RESULT = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
SUMS = 2e-6

Maps = Callable[..., KernelMap]


def incidence(kernel_map: KernelMap) -> Tensor:
    """(K, n_out, n_in) fp64, 1 where a pair is."""
    dense = torch.zeros(kernel_map.volume, kernel_map.n_out, kernel_map.n_in, dtype=torch.float64)
    for k, (in_rows, out_rows) in enumerate(kernel_map.pairs):
        dense[k, out_rows.cpu(), in_rows.cpu()] = 1
    return dense


def assert_close(result: Tensor, expected: Tensor, tolerance: float) -> None:
    assert result.shape == expected.shape
    error = (result.cpu().double() - expected).abs().max()
    assert error <= tolerance * expected.abs().max(), f"{error} off, largest value {expected.abs().max()}"


def check(kernel_map: KernelMap, c_in: int, c_out: int, dtype: torch.dtype, device: torch.device) -> None:
    """Forward, input gradient and weight gradient of random features."""
    x = torch.randn(kernel_map.n_in, c_in).to(dtype)
    w = torch.randn(kernel_map.volume, c_in, c_out).to(dtype)
    g = torch.randn(kernel_map.n_out, c_out).to(dtype)
    dense, X, W, G = incidence(kernel_map), x.double(), w.double(), g.double()
    x, w, g = x.to(device), w.to(device), g.to(device)
    out = fast.scatter_products(x, w, kernel_map)
    grad_x = fast.scatter_products(g, w.transpose(1, 2), kernel_map, transposed=True)
    grad_w = fast.gather_products(x, g, kernel_map)
    assert (out.dtype, grad_x.dtype, grad_w.dtype) == (dtype, dtype, torch.float32)
    assert_close(out, torch.einsum("koi,ic,kcd->od", dense, X, W), RESULT[dtype])
    assert_close(grad_x, torch.einsum("koi,od,kcd->ic", dense, G, W), RESULT[dtype])
    assert_close(grad_w, torch.einsum("koi,ic,od->kcd", dense, X, G), SUMS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("c_in", "c_out", "K"), [(1, 64, 3), (3, 16, 27), (16, 33, 8), (33, 1, 2), (64, 3, 1)])
def test_dtypes_and_channels(
    dtype: torch.dtype, c_in: int, c_out: int, K: int, scattered: Maps, device: torch.device
) -> None:
    check(scattered(70, 90, K, device=device), c_in, c_out, dtype, device)


def test_more_offsets_than_a_mask_has_bits(scattered: Maps, device: torch.device) -> None:
    check(scattered(40, 30, 125, device=device), 3, 5, torch.float32, device)


@pytest.mark.parametrize("K", [27, 70])
def test_sorted_rows(K: int, scattered: Maps, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "FEWEST_SORTED", 1)
    check(scattered(50, 75, K, share=0.2, device=device), 4, 6, torch.float32, device)


def test_tiled_windows(device: torch.device) -> None:
    """A stride-2 map and its way back: each input row has one offset and one output row."""
    parent, offset = torch.randint(0, 20, (90,)), torch.randint(0, 8, (90,))
    # Two children of one parent never share an octant.
    _, first = torch.unique(parent * 8 + offset, return_inverse=True)
    kept = torch.unique(torch.stack([(first == i).nonzero()[0, 0] for i in range(int(first.max()) + 1)]))
    parent, offset = parent[kept].to(device), offset[kept].to(device)
    rows = [(offset == k).nonzero().squeeze(1) for k in range(8)]
    down = KernelMap.of_pairs(len(kept), 20, [(r, parent[r]) for r in rows])
    check(down, 16, 32, torch.float16, device)
    check(down.swapped(), 32, 16, torch.float16, device)


@pytest.mark.parametrize("size", [3, 5])
def test_submanifold_against_conv3d(size: int, device: torch.device) -> None:
    """Rows of a grid with holes, in random order; a map that mirrors itself, as the search for neighbours makes it."""
    grid, c_in, c_out, half = 5, 3, 4, size // 2
    space = torch.rand(grid, grid, grid) < 0.5
    rows = space.nonzero()
    rows = rows[torch.randperm(len(rows))]
    number = torch.full((grid + 2 * half,) * 3, -1)
    number[tuple((rows + half).T)] = torch.arange(len(rows))
    offsets = [(x, y, z) for x in range(size) for y in range(size) for z in range(size)]
    pairs: list[tuple[Tensor, Tensor]] = []
    for offset in offsets:
        met = number[tuple((rows + torch.tensor(offset)).T)]
        pairs.append((met[met >= 0].to(device), (met >= 0).nonzero().squeeze(1).to(device)))
    opposite = tuple(reversed(range(len(offsets))))
    kernel_map = KernelMap.of_pairs(len(rows), len(rows), pairs, mirror=opposite)
    x = torch.randn(len(rows), c_in, dtype=torch.float64, requires_grad=True)
    w = torch.randn(size**3, c_in, c_out, dtype=torch.float64, requires_grad=True)
    g = torch.randn(len(rows), c_out, dtype=torch.float64)
    volume = torch.zeros(grid, grid, grid, c_in, dtype=torch.float64).index_put(tuple(rows.T), x)
    weight = w.reshape(size, size, size, c_in, c_out).permute(4, 3, 0, 1, 2)
    out = functional.conv3d(volume.permute(3, 0, 1, 2)[None], weight, padding=half)[0].permute(1, 2, 3, 0)
    out = out[tuple(rows.T)]
    out.backward(g)
    x32, w32, g32 = (t.detach().float().to(device) for t in (x, w, g))
    assert_close(fast.scatter_products(x32, w32, kernel_map), out.detach(), 2e-6)
    back = fast.scatter_products(g32, w32.transpose(1, 2), kernel_map, transposed=True)
    assert_close(back, x.grad, 2e-6)
    assert_close(fast.gather_products(x32, g32, kernel_map), w.grad, 2e-6)
    tables = table.tables_of(kernel_map, device)
    assert tables.backward.rows is tables.forward.rows


def test_every_tile_gives_the_same(scattered: Maps, device: torch.device) -> None:
    from pointseg.minkowski.triton import implicit_gemm, weight_gradient

    kernel_map = scattered(150, 140, 2, device=device)
    x, w, g = torch.randn(150, 20), torch.randn(2, 20, 70), torch.randn(140, 70)
    dense = incidence(kernel_map)
    product = torch.einsum("koi,ic,kcd->od", dense, x.double(), w.double())
    gradient = torch.einsum("koi,ic,od->kcd", dense, x.double(), g.double())
    x, w, g = x.to(device), w.to(device), g.to(device)
    tables = table.tables_of(kernel_map, device)
    for tile in candidates("forward", 20, 70, torch.float32):
        assert_close(implicit_gemm._product(x, w, tables.forward, tile), product, 2e-6)
    for tile in candidates("weight_gradient", 20, 70, torch.float32):
        assert_close(weight_gradient._sums(x, g, tables, 32, tile), gradient, 2e-6)


# Channels that pad a tile multiply infinity by zero; they are not stored.
@pytest.mark.filterwarnings("ignore:invalid value encountered in matmul:RuntimeWarning")
def test_rows_and_offsets_without_pairs(device: torch.device) -> None:
    none = torch.empty(0, dtype=torch.int64, device=device)
    some = torch.tensor([3, 1], device=device)
    kernel_map = KernelMap.of_pairs(5, 70, ((none, none), (some, some + 62), (none, none)))
    check(kernel_map, 4, 2, torch.float32, device)
    x, w = torch.full((5, 4), torch.inf, device=device), torch.ones(3, 4, 2, device=device)
    out = fast.scatter_products(x, w, kernel_map)
    # Rows that meet nothing are zero, not inf times zero.
    assert out[[65, 63]].isinf().all()
    assert (out[:63] == 0).all()
    grad = fast.gather_products(torch.ones_like(x), torch.ones(70, 2, device=device), kernel_map)
    assert grad[:, 0, 0].tolist() == [0, 2, 0]


@pytest.mark.parametrize(
    ("n_in", "n_out", "K", "c_in", "c_out"),
    [(0, 0, 3, 2, 4), (0, 5, 3, 2, 4), (5, 0, 3, 2, 4), (5, 6, 3, 2, 4), (5, 6, 3, 0, 4), (5, 6, 3, 2, 0)],
)
def test_empty(n_in: int, n_out: int, K: int, c_in: int, c_out: int, device: torch.device) -> None:
    rows = torch.arange(2 if n_in and n_out and not c_in * c_out else 0, device=device)
    kernel_map = KernelMap.of_pairs(n_in, n_out, ((rows, rows),) * K)
    x, w, g = (torch.ones(*shape, device=device) for shape in ((n_in, c_in), (K, c_in, c_out), (n_out, c_out)))
    expected = torch.zeros(n_out, c_out)
    assert torch.equal(fast.scatter_products(x, w, kernel_map).cpu(), expected)
    back = fast.scatter_products(g, w.transpose(1, 2), kernel_map, transposed=True)
    assert torch.equal(back.cpu(), torch.zeros(n_in, c_in))
    assert torch.equal(fast.gather_products(x, g, kernel_map).cpu(), torch.zeros(K, c_in, c_out))


def test_strided_features(scattered: Maps, device: torch.device) -> None:
    kernel_map = scattered(30, 35, 4, device=device)
    wide, w = torch.randn(5, 60, device=device).T[::2], torch.randn(4, 10, 5, device=device).transpose(1, 2)
    assert not wide.is_contiguous()
    same = fast.scatter_products(wide.contiguous(), w.contiguous(), kernel_map)
    assert torch.equal(fast.scatter_products(wide, w, kernel_map), same)
    # A sum's gradient is one value spread over all rows.
    g = torch.randn(1, 1, device=device).expand(35, 10)
    same = fast.gather_products(wide.contiguous(), g.contiguous(), kernel_map)
    assert torch.equal(fast.gather_products(wide, g, kernel_map), same)


def test_sums_are_fp32_in_fp16(device: torch.device) -> None:
    """Partial sums of +-1.2e5 would be infinite in fp16; so would the weight gradient."""
    every = torch.arange(64, device=device)
    kernel_map = KernelMap.of_pairs(64, 64, ((every, every), (every, every)))
    x = torch.full((64, 2), 300.0, dtype=torch.float16, device=device)
    w = torch.tensor([200.0, -200.0], dtype=torch.float16, device=device)[:, None, None].repeat(1, 2, 1)
    assert torch.equal(fast.scatter_products(x, w, kernel_map).cpu(), torch.zeros(64, 1, dtype=torch.float16))
    grad = fast.gather_products(x, x[:, :1], kernel_map)
    assert torch.equal(grad.cpu(), torch.full((2, 2, 1), 64 * 9e4))


def test_bit_identical_from_fresh_tables(
    scattered: Maps, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice with the same map, and with tables made anew; the weight gradient in several pieces."""
    from pointseg.minkowski.triton import weight_gradient

    monkeypatch.setattr(weight_gradient, "SHORTEST_PIECE", 16)
    kernel_map = scattered(130, 140, 3, share=0.9, device=device)
    assert len(table.tables_of(kernel_map, device).work(32)[0]) > 2 * 3
    x, w, g = (torch.randn(*s, device=device).half() for s in ((130, 7), (3, 7, 9), (140, 9)))

    def results() -> list[Tensor]:
        return [fast.scatter_products(x, w, kernel_map), fast.gather_products(x, g, kernel_map)]

    first, second = results(), results()
    table._TABLES.clear()
    third = results()
    for a, b, c in zip(first, second, third, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_pieces_depend_on_sizes_alone() -> None:
    weight_gradient = pytest.importorskip("pointseg.minkowski.triton.weight_gradient")
    assert weight_gradient.piece_length(10, 4, 4, 132) == 1024
    # 3 million pairs, 16 planned tiles, 4 programs for each of 132 processors: 90909 pairs, rounded up.
    assert weight_gradient.piece_length(3_000_000, 256, 256, 132) == 131072


def test_tables_die_with_their_map(scattered: Maps, device: torch.device) -> None:
    kernel_map = scattered(20, 20, 2, device=device)
    fast.scatter_products(torch.ones(20, 1, device=device), torch.ones(2, 1, 1, device=device), kernel_map)
    gc.collect()
    before = len(table._TABLES)
    del kernel_map
    gc.collect()
    assert len(table._TABLES) == before - 1


def test_fp64_and_cpu_are_left_to_torch() -> None:
    assert not fast.supports(torch.ones(2, 2))
    assert not fast.supports(torch.ones(2, 2, dtype=torch.float64))
