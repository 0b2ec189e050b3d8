"""The named choices of MinkowskiEngine's API that this engine honours."""

from enum import Enum


class SparseTensorQuantizationMode(Enum):
    """What becomes of several rows with one coordinate.

    ``RANDOM_SUBSAMPLE`` keeps the first of them (as MinkowskiEngine does on the CPU), ``UNWEIGHTED_AVERAGE``,
    ``UNWEIGHTED_SUM`` and ``MAX_POOL`` reduce them channel by channel, ``NO_QUANTIZATION`` promises there are none:
    a duplicate is an error.
    """

    RANDOM_SUBSAMPLE = 0
    UNWEIGHTED_AVERAGE = 1
    UNWEIGHTED_SUM = 2
    NO_QUANTIZATION = 3
    MAX_POOL = 4


class RegionType(Enum):
    """Shape of a kernel: a full box, the axes alone, or offsets listed by the caller."""

    HYPER_CUBE = 0
    HYPER_CROSS = 1
    CUSTOM = 2


class ConvolutionMode(Enum):
    """MinkowskiEngine's choice between GPU kernels; accepted everywhere, this engine chooses for itself."""

    DEFAULT = 0
    DIRECT_GEMM = 1
    COPY_GEMM = 2
