"""Writing safetensors so that a full disk is the same error as everywhere else."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

_SYSTEM_ERROR = re.compile(r"\(os error ([0-9]+)\)")


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write named tensors, all contiguous and on the CPU, to a file.

    The library's own error has the system's reason in its text alone.

    Raises:
        OSError: the file cannot be written; ``errno`` and ``filename`` say why and which.
    """
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        reason = _SYSTEM_ERROR.search(str(error))
        if reason is None:
            raise
        raise OSError(int(reason[1]), os.strerror(int(reason[1])), str(path)) from error
