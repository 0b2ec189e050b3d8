"""The sparse convolution engine under the models: ``pointseg.minkowski``, or MinkowskiEngine where it is asked for.

The environment variable ``POINTSEG_ENGINE`` decides when :mod:`pointseg.models` is first imported: ``pointseg`` (the
default) or ``minkowski``. Models take ``ME`` and the residual blocks from here and run on either.
"""

import importlib
import os
from types import ModuleType
from typing import TYPE_CHECKING

from pointseg.errors import InputError

VARIABLE = "POINTSEG_ENGINE"
DEFAULT = "pointseg"
ENGINES: dict[str, str] = {DEFAULT: "pointseg.minkowski", "minkowski": "MinkowskiEngine"}
"""Package of each engine."""


def load_engine(name: str) -> ModuleType:
    """The engine's package.

    Args:
        name: a key of ``ENGINES``.

    Raises:
        InputError: there is no such engine, or its package cannot be imported.
    """
    if name not in ENGINES:
        raise InputError(f"{VARIABLE} is {name!r}, but it must be one of {', '.join(ENGINES)}: change or unset it.")
    package = ENGINES[name]
    try:
        engine = importlib.import_module(package)
    except ImportError as error:
        if name == DEFAULT:
            raise
        raise InputError(
            f"{VARIABLE} is {name!r}, but {package} cannot be imported ({error}): install it for this Python, or unset "
            f"{VARIABLE} to run on pointseg's own engine."
        ) from error
    if engine.__name__ != package:
        raise InputError(
            f"{VARIABLE} is {name!r}, but in this process {package} stands for {engine.__name__}: unset {VARIABLE}, or "
            f"do not register the stand-in."
        )
    return engine


if TYPE_CHECKING:
    import pointseg.minkowski as ME
    from pointseg.minkowski.modules.resnet_block import BasicBlock, Bottleneck
else:
    ME = load_engine(os.environ.get(VARIABLE, DEFAULT))
    _blocks = importlib.import_module(f"{ME.__name__}.modules.resnet_block")
    BasicBlock, Bottleneck = _blocks.BasicBlock, _blocks.Bottleneck

SUPPORTS_AUTOCAST = ME.__name__ == ENGINES[DEFAULT]
"""Whether layers follow ``torch.autocast``; MinkowskiEngine refuses features and kernels of different dtypes."""

__all__ = ["DEFAULT", "ENGINES", "ME", "SUPPORTS_AUTOCAST", "VARIABLE", "BasicBlock", "Bottleneck", "load_engine"]
