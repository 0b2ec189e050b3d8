"""The loop of products against dense matrices in fp64, and the buffers it keeps."""

import multiprocessing
import threading

import pytest
import torch

import pointseg.minkowski as ME
from pointseg.minkowski import kernel_map, products
from pointseg.minkowski.convolve import convolve
from pointseg.minkowski.kernel_map import KernelMap

# torch grows an output that is too small, and warns.
pytestmark = pytest.mark.filterwarnings("error:An output with one or more elements was resized")

KERNELS = {
    "odd": ME.KernelGenerator(3, dimension=3),
    "tiles": ME.KernelGenerator(2, 2, dimension=3),
    "odd strided": ME.KernelGenerator(3, 2, dimension=3),
    "cross": ME.KernelGenerator(3, region_type=ME.RegionType.HYPER_CROSS, dimension=3),
    "125 offsets": ME.KernelGenerator(5, dimension=3),
}
# One rounding of products and sums, relative to the norm.
TOLERANCE = {torch.float64: 1e-14, torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def made(rows, kernel, transposed=False):
    x = ME.SparseTensor(torch.zeros(len(rows), 1), rows)
    manager, key = x.coordinate_manager, x.coordinate_map_key
    found = manager.kernel_map_of(key, manager.stride(key, kernel.kernel_stride), kernel)
    return found.swapped() if transposed else found


def case(found, dtype=torch.float32, c_in=5, c_out=7):
    """Features, kernel and upstream gradient."""
    shapes = (found.n_in, c_in), (found.volume, c_in, c_out), (found.n_out, c_out)
    return [torch.randn(shape, dtype=torch.float64).to(dtype) for shape in shapes]


def results(found, features, kernel, grad):
    """Output, input gradient, kernel gradient."""
    out = products.scatter_products(features, kernel, found)
    return out, *products.gradients(features, kernel, grad, found.swapped(), True, True)


def dense(found, features, kernel, grad):
    """The same by one matrix of zeros and ones an offset, in fp64."""
    meets = torch.zeros(found.volume, found.n_out, found.n_in, dtype=torch.float64)
    for k, (in_rows, out_rows) in enumerate(found.pairs):
        meets[k, out_rows, in_rows] = 1
    x, w, g = features.double(), kernel.double(), grad.double()
    gathered, spread = meets @ x, meets.transpose(1, 2) @ g
    return (gathered @ w).sum(0), (spread @ w.transpose(1, 2)).sum(0), gathered.transpose(1, 2) @ g


def assert_near(actual, expected, dtype):
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape
        assert (a.double() - b).norm() <= TOLERANCE[dtype] * b.norm()


@pytest.fixture
def wide(cloud):
    """Rows that are put into another order."""
    rows = cloud(400, size=20)
    rows[:, 1:] = rows[:, 1:] // torch.tensor([1, 8, 8], dtype=torch.int32)
    rows = torch.unique(rows, dim=0)
    return rows[torch.randperm(len(rows))]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("block", [7, 64, kernel_map.CPU_BLOCK])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_products_and_gradients_equal_dense_matrices(kernel, transposed, block, dtype, wide, monkeypatch):
    monkeypatch.setattr(kernel_map, "CPU_BLOCK", block)
    found = made(wide, kernel, transposed)
    given = case(found, dtype)
    actual = results(found, *given)
    assert [result.dtype for result in actual] == [dtype] * 3
    assert_near(actual, dense(found, *given), dtype)
    for first, second in zip(actual, results(found, *given), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_nothing_left_in_a_buffer_reaches_a_result(kernel, transposed, value, dtype, wide, monkeypatch):
    monkeypatch.setattr(kernel_map, "CPU_BLOCK", 50)
    found = made(wide, kernel, transposed)
    # On AMX, bf16 products of an odd number of channels read into the next row, here of 64 rows into 32 channels.
    given = case(found, dtype, 3, 32)
    expected = results(found, *given)
    kept = {name: buffer for (name, of), buffer in products._BUFFERS.kept.items() if of == dtype}
    assert set(kept) >= {"left", "right", "products"}
    for buffer in kept.values():
        buffer.fill_(value)
    for actual, wanted in zip(results(found, *given), expected, strict=True):
        assert torch.equal(actual, wanted)
    # A result is no view of a buffer: the next call would change it.
    addresses = {buffer.untyped_storage().data_ptr() for buffer in kept.values()}
    assert not any(result.untyped_storage().data_ptr() in addresses for result in expected)


def test_calls_of_other_sizes_and_dtypes_in_between_change_nothing(wide):
    found = made(wide, KERNELS["odd"])
    given = case(found)
    expected = results(found, *given)
    for kernel, dtype, c_in, c_out in (
        (KERNELS["125 offsets"], torch.float32, 9, 3),
        (KERNELS["tiles"], torch.float64, 2, 2),
        (KERNELS["cross"], torch.bfloat16, 16, 1),
        (KERNELS["odd strided"], torch.float32, 1, 2),
    ):
        other = made(wide[:77], kernel)
        others = case(other, dtype, c_in, c_out)
        assert_near(results(other, *others), dense(other, *others), dtype)
    for actual, wanted in zip(results(found, *given), expected, strict=True):
        assert torch.equal(actual, wanted)


def test_gradients_that_are_not_wanted_are_not_made(wide):
    found = made(wide, KERNELS["odd"])
    features, kernel, grad = case(found)
    _, to_input, to_kernel = results(found, features, kernel, grad)
    only_input, nothing = products.gradients(features, kernel, grad, found.swapped(), True, False)
    assert nothing is None
    assert torch.equal(only_input, to_input)
    nothing, only_kernel = products.gradients(features, kernel, grad, found.swapped(), False, True)
    assert nothing is None
    assert torch.equal(only_kernel, to_kernel)


@pytest.mark.parametrize("block", [2, 8192])
def test_rows_that_meet_nothing_are_zero(block, monkeypatch):
    monkeypatch.setattr(kernel_map, "CPU_BLOCK", block)
    none, some = torch.empty(0, dtype=torch.int64), torch.tensor([3, 1])
    found = KernelMap.of_pairs(5, 9, ((none, none), (some, some + 3), (none, none)))
    features = torch.full((5, 4), torch.inf)
    out, to_input, to_kernel = results(found, features, torch.ones(3, 4, 2), torch.ones(9, 2))
    assert out[[4, 6]].isinf().all()
    assert (out[[0, 1, 2, 3, 5, 7, 8]] == 0).all()
    assert to_input[:, 0].tolist() == [0, 2, 0, 2, 0]
    assert to_kernel[[0, 2]].eq(0).all()


@pytest.mark.parametrize(
    ("n_in", "n_out", "c_in", "c_out"), [(0, 0, 2, 3), (0, 4, 2, 3), (4, 0, 2, 3), (4, 4, 0, 3), (4, 4, 2, 0)]
)
def test_nothing_in_or_out(n_in, n_out, c_in, c_out):
    rows = torch.arange(min(n_in, n_out))
    found = KernelMap.of_pairs(n_in, n_out, [(rows, rows)] * 2)
    out, to_input, to_kernel = results(found, *case(found, c_in=c_in, c_out=c_out))
    assert torch.equal(out, torch.zeros(n_out, c_out))
    assert torch.equal(to_input, torch.zeros(n_in, c_in))
    assert torch.equal(to_kernel, torch.zeros(2, c_in, c_out))


def trained(seed):
    """Output and gradients of a convolution of random rows; other rows for every seed."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.unique(torch.randint(0, 12, (600, 4), generator=generator, dtype=torch.int32), dim=0)
    rows[:, 0] = 0
    rows = torch.unique(rows, dim=0)
    rows = rows[torch.randperm(len(rows), generator=generator)] * torch.tensor([1, 4, 4, 1], dtype=torch.int32)
    found = made(rows, ME.KernelGenerator(3, dilation=(4, 4, 1), dimension=3))
    features = torch.randn(len(rows), 16, generator=generator, requires_grad=True)
    kernel = torch.randn(27, 16, 24, generator=generator, requires_grad=True)
    out = convolve(features, kernel, found)
    return [out.detach(), *torch.autograd.grad(out.square().sum(), (features, kernel))]


@pytest.mark.threads
def test_threads_do_not_disturb_each_other():
    seeds = range(8)
    expected = {seed: trained(seed) for seed in seeds}
    setting = torch.backends.mkldnn.matmul.fp32_precision
    wrong, start = [], threading.Barrier(2)

    def run(own):
        start.wait(10)
        for seed in [*own] * 3:
            if not all(map(torch.equal, trained(seed), expected[seed])):
                wrong.append(seed)

    threads = [threading.Thread(target=run, args=(seeds[part::2],)) for part in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert torch.backends.mkldnn.matmul.fp32_precision == setting


def _send(pipe):
    # As torch's own data loading workers do: threads of the parent are not there after a fork.
    torch.set_num_threads(1)
    pipe.send([result.tolist() for result in trained(3)])


@pytest.mark.threads
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
def test_a_forked_process_gets_the_same():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = [result.tolist() for result in trained(3)]
    finally:
        torch.set_num_threads(threads)
    fork = multiprocessing.get_context("fork")
    receive, send = fork.Pipe(duplex=False)
    child = fork.Process(target=_send, args=(send,), daemon=True)
    child.start()
    try:
        assert receive.poll(60), "the forked process does not answer"
        assert receive.recv() == expected
    finally:
        child.kill()
        child.join()
