"""Dense products: which library is asked for, that nothing is rounded, and shapes that repeat."""

import threading
from contextlib import suppress

import pytest
import torch

from pointseg.minkowski import matmul
from pointseg.minkowski.matmul import SIZES, fast_products, pieces


def setting():
    return torch.backends.mkldnn.matmul.fp32_precision


@pytest.fixture
def exact(monkeypatch):
    """As on a processor where oneDNN keeps fp32."""
    monkeypatch.setattr(matmul, "_onednn_is_exact", lambda: True)


@pytest.mark.threads
@pytest.mark.parametrize(("c_in", "c_out"), [(16, 16), (32, 64), (3, 40), (40, 3), (256, 128)])
@pytest.mark.parametrize("rows", [64, 512, 9000])
def test_products_keep_fp32_accuracy(c_in, c_out, rows):
    x, weight, grad = torch.randn(rows, c_in), torch.randn(c_in, c_out), torch.randn(rows, c_out)
    with fast_products(x):
        results = torch.mm(x, weight), x.T @ grad, torch.zeros(c_in, c_out).addmm_(x.T, grad)
    outer = x.double().T @ grad.double()
    for result, expected in zip(results, (x.double() @ weight.double(), outer, outer), strict=True):
        assert (result - expected).norm() <= 1e-6 * expected.norm()


def test_the_setting_holds_inside_alone(exact):
    before = setting()
    with fast_products(torch.ones(1)):
        assert setting() == "bf16"
        with fast_products(torch.ones(1)):
            pass
        assert setting() == "bf16"
    assert setting() == before
    with suppress(KeyError), fast_products(torch.ones(1)):
        raise KeyError
    assert setting() == before


def test_a_caller_s_setting_comes_back(exact):
    before = setting()
    try:
        torch.backends.mkldnn.matmul.fp32_precision = "ieee"
        with fast_products(torch.ones(1)):
            pass
        assert setting() == "ieee"
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before


def test_what_another_thread_chose_meanwhile_stays(exact):
    before = setting()
    try:
        with fast_products(torch.ones(1)):
            torch.backends.mkldnn.matmul.fp32_precision = "tf32"
        assert setting() == "tf32"
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before


def test_threads_that_leave_out_of_order_restore_the_setting(exact):
    before, seen = setting(), []
    first_in, second_in, first_out = (threading.Event() for _ in range(3))

    def first():
        with fast_products(torch.ones(1)):
            first_in.set()
            second_in.wait(10)
        first_out.set()

    def second():
        first_in.wait(10)
        with fast_products(torch.ones(1)):
            second_in.set()
            first_out.wait(10)
            seen.append(setting())

    threads = [threading.Thread(target=each) for each in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    # The second one is still inside when the first one leaves.
    assert seen == ["bf16"]
    assert setting() == before


@pytest.mark.parametrize(
    "like", [torch.ones(1).double(), torch.ones(1).bfloat16(), torch.ones(1).half(), torch.ones(1, device="meta")]
)
def test_other_dtypes_and_devices_are_left_alone(like, exact):
    before = setting()
    with fast_products(like):
        assert setting() == before


def test_a_processor_that_rounds_is_found_out_and_left_alone(monkeypatch):
    multiply = torch.mm

    def rounding(a, b):
        return multiply(a.bfloat16().float(), b.bfloat16().float()) if setting() == "bf16" else multiply(a, b)

    before = setting()
    monkeypatch.setattr(torch, "mm", rounding)
    assert not matmul._onednn_is_exact.__wrapped__()
    assert setting() == before
    monkeypatch.setattr(matmul, "_onednn_is_exact", lambda: False)
    with fast_products(torch.ones(1)):
        assert setting() == before


@pytest.mark.parametrize("work", [3 * 32, 32 * 32, 96 * 96, 256 * 256])
def test_products_are_cut_into_pieces_of_few_sizes(work):
    cut = {rows: pieces(rows, work, "cpu") for rows in range(1, 9000)}
    assert {size for sizes in cut.values() for size in sizes} <= set(SIZES)
    assert all(rows <= sum(sizes) for rows, sizes in cut.items())
    assert all(sum(sizes[:-1]) < rows for rows, sizes in cut.items()), "only the last piece is padded"
    assert cut[64] == (64,)
    assert cut[8192] == (8192,)


def test_a_call_is_saved_where_padding_costs_less():
    assert pieces(2100, 3 * 32, "cpu") == (4096,)
    assert pieces(2100, 256 * 256, "cpu") == (2048, 64)
    assert pieces(77, 1, "meta") == (77,)
