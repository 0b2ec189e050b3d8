"""What MinkowskiEngine tells about its build and lets a program choose about memory, answered from torch."""

import platform
import sys
import warnings

import torch

from pointseg.errors import InputError
from pointseg.minkowski.enums import CoordinateMapType, GPUMemoryAllocatorType


def is_cuda_available() -> bool:
    return torch.cuda.is_available()


def cuda_version() -> int:
    """torch's CUDA version as CUDA counts it (12.6 is 12060); -1 without CUDA."""
    if torch.version.cuda is None:
        return -1
    major, minor = torch.version.cuda.split(".")[:2]
    return 1000 * int(major) + 10 * int(minor)


def cudart_version() -> int:
    """As :func:`cuda_version`."""
    return cuda_version()


def get_gpu_memory_info() -> tuple[int, int]:
    """Free and total bytes of the current GPU.

    Raises:
        InputError: there is none.
    """
    if not torch.cuda.is_available():
        raise InputError("there is no CUDA device whose memory could be read.")
    return torch.cuda.mem_get_info()


def set_gpu_allocator(backend: GPUMemoryAllocatorType) -> None:
    """Accepted, without effect: all memory is torch's.

    Raises:
        InputError: not a :class:`GPUMemoryAllocatorType`.
    """
    if not isinstance(backend, GPUMemoryAllocatorType):
        raise InputError(f"backend is {backend!r}, but it must be a GPUMemoryAllocatorType.")


def set_memory_manager_backend(backend: GPUMemoryAllocatorType) -> None:
    """The former name of :func:`set_gpu_allocator`; warns so."""
    warnings.warn("set_memory_manager_backend is the former name of set_gpu_allocator.", FutureWarning, stacklevel=2)
    set_gpu_allocator(backend)


def set_coordinate_map_type(coordinate_map_type: CoordinateMapType) -> None:
    """Accepted, without effect: coordinates stay on the device where they are given.

    Raises:
        InputError: not a :class:`CoordinateMapType`.
    """
    if not isinstance(coordinate_map_type, CoordinateMapType):
        raise InputError(f"coordinate_map_type is {coordinate_map_type!r}, but it must be a CoordinateMapType.")


def print_diagnostics() -> None:
    """Writes the versions that a bug report needs to standard output."""
    sys.stdout.write(
        f"system: {platform.platform()}\n"
        f"python: {platform.python_version()}\n"
        f"torch: {torch.__version__}, CUDA {torch.version.cuda}, available: {torch.cuda.is_available()}\n"
        f"devices: {[torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]}\n"
        f"engine: pointseg.minkowski\n"
    )
