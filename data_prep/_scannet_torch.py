"""Index lists saved by ``torch.save``, read without running anything a file asks for.

Such a file is a pickle: a small program. torch's restricted reader runs it, and every NumPy name in it is answered by
the inert classes below, which only keep the numbers' bytes. All other names are refused.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.errors import InputError
from pointseg.untrusted import BoundedReader

_WHOLE = re.compile(r"[iu][1248]")
_REFUSED = re.compile(r"GLOBAL (\S+)")


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read a dictionary of NumPy arrays or tensors of whole numbers.

    Args:
        path: Written by ``torch.save``, in its older or its newer format.

    Raises:
        InputError: The file asks for anything else, holds anything else, or is damaged.
    """
    # Lists in text or NumPy form need no torch, which takes a second to import.
    import torch

    names: list[Any] = [
        (answer, f"numpy{core}.{name}")
        for name, answer in (("multiarray._reconstruct", _reconstruct), ("ndarray", _Array), ("dtype", _Dtype))
        for core in ((".core", "._core") if name.startswith("multiarray") else ("",))
    ]
    try:
        # torch warns of pickles of other ages, which it then reads or refuses.
        with (
            torch.serialization.safe_globals(names),
            BoundedReader(path) as file,
            warnings.catch_warnings(action="ignore"),
        ):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a file nobody vouches for can make the reader fail in any way
        asked = _REFUSED.search(str(error))
        if asked:
            raise InputError(
                f"{path} asks for {asked[1].rstrip('.,')}, but lists of points may hold NumPy arrays and tensors only; "
                "nothing of it was run: do not use the file"
            ) from error
        raise InputError(
            f"{path} is damaged or no dictionary of index arrays saved by torch; fetch it again"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}; a dictionary of scenes is needed")
    return {_name(path, key): _array(path, key, value) for key, value in content.items()}


class _Dtype:
    """Answers ``numpy.dtype``: a type of whole numbers."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or not _WHOLE.fullmatch(code):
            raise ValueError(f"an array of {code!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Answers ``numpy.ndarray``: bytes seen as whole numbers."""

    value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise ValueError("an array without its numbers")
        self.value = np.frombuffer(data, dtype.dtype).reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: Any) -> _Array:
    """Answers ``numpy.core.multiarray._reconstruct``: an array still without content."""
    return _Array()


def _name(path: Path, key: Any) -> str:
    if not isinstance(key, str):
        raise InputError(f"{path} has an entry {key!r}; the entries must be names of scenes")
    return key


def _array(path: Path, key: str, value: Any) -> np.ndarray:
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().numpy()
    if isinstance(value, _Array) and value.value is not None:
        return value.value
    raise InputError(f"{path}: the entry {key!r} is a {type(value).__name__}; an array or a tensor is needed")
