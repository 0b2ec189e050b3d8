"""torch's gradient check for MinkowskiEngine's functions."""

from typing import Any

import torch


def gradcheck(
    func: Any,
    inputs: Any,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    check_sparse_nnz: bool = False,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
) -> bool:
    """:func:`torch.autograd.gradcheck` of ``func.apply``, or of ``func`` itself where it has none.

    Args:
        func: function class, or function of the inputs.
        inputs: what it takes; float64 tensors that require a gradient are checked.
        eps: step of the finite differences.
        atol: absolute tolerance.
        rtol: relative tolerance.
        raise_exception: raise where gradients differ, else return False.
        check_sparse_nnz: look only at the stored entries of torch.sparse tensors.
        nondet_tol: difference allowed between two runs.
        check_undefined_grad: also pass undefined gradients in.
        check_grad_dtypes: also compare dtypes.
    """
    return torch.autograd.gradcheck(
        getattr(func, "apply", func),
        inputs,
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad,
        check_grad_dtypes=check_grad_dtypes,
        masked=check_sparse_nnz,
    )
