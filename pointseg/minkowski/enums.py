"""The named choices of MinkowskiEngine's API."""

from enum import Enum


class SparseTensorQuantizationMode(Enum):
    """What becomes of several rows with one coordinate.

    ``RANDOM_SUBSAMPLE`` keeps the first of them (as MinkowskiEngine does on the CPU), ``UNWEIGHTED_AVERAGE``,
    ``UNWEIGHTED_SUM`` and ``MAX_POOL`` reduce them channel by channel, ``NO_QUANTIZATION`` promises there are none:
    a duplicate is an error. ``SPLAT_LINEAR_INTERPOLATION`` names what :meth:`TensorField.splat` does.
    """

    RANDOM_SUBSAMPLE = 0
    UNWEIGHTED_AVERAGE = 1
    UNWEIGHTED_SUM = 2
    NO_QUANTIZATION = 3
    MAX_POOL = 4
    SPLAT_LINEAR_INTERPOLATION = 5


class SparseTensorOperationMode(Enum):
    """Whether tensors made from coordinates get a manager each, or share the global one.

    The names with ``COORDS`` are those before MinkowskiEngine 0.5.
    """

    SEPARATE_COORDINATE_MANAGER = 0
    SHARE_COORDINATE_MANAGER = 1
    SEPARATE_COORDS_MANAGER = 0
    SHARE_COORDS_MANAGER = 1


class RegionType(Enum):
    """Shape of a kernel: a full box, the axes alone, offsets listed by the caller, or a box on some axes only.

    ``HYPERCUBE`` and ``HYPERCROSS`` are the names of MinkowskiEngine before 0.5; ``HYBRID`` with ``axis_types`` is from
    there too.
    """

    HYPER_CUBE = 0
    HYPER_CROSS = 1
    CUSTOM = 2
    HYBRID = 3
    HYPERCUBE = 0
    HYPERCROSS = 1


class PoolingMode(Enum):
    """Reduction of a pooling layer. The global modes' endings chose between GPU kernels; they mean the same here."""

    LOCAL_SUM_POOLING = 0
    LOCAL_AVG_POOLING = 1
    LOCAL_MAX_POOLING = 2
    GLOBAL_SUM_POOLING_DEFAULT = 3
    GLOBAL_AVG_POOLING_DEFAULT = 4
    GLOBAL_MAX_POOLING_DEFAULT = 5
    GLOBAL_SUM_POOLING_KERNEL = 6
    GLOBAL_AVG_POOLING_KERNEL = 7
    GLOBAL_MAX_POOLING_KERNEL = 8
    GLOBAL_SUM_POOLING_PYTORCH_INDEX = 9
    GLOBAL_AVG_POOLING_PYTORCH_INDEX = 10
    GLOBAL_MAX_POOLING_PYTORCH_INDEX = 11


class BroadcastMode(Enum):
    """Operation of a broadcast layer; the spelling is MinkowskiEngine's."""

    ELEMENTWISE_ADDITON = 0
    ELEMENTWISE_MULTIPLICATION = 1


class ConvolutionMode(Enum):
    """MinkowskiEngine's choice between GPU kernels; accepted everywhere, this engine chooses for itself."""

    DEFAULT = 0
    DIRECT_GEMM = 1
    COPY_GEMM = 2


class MinkowskiAlgorithm(Enum):
    """MinkowskiEngine's choice between hash tables; accepted, without effect."""

    DEFAULT = 0
    MEMORY_EFFICIENT = 1
    SPEED_OPTIMIZED = 2


class CoordinateMapType(Enum):
    """MinkowskiEngine's choice of the coordinates' device; accepted, without effect: they stay where they are given."""

    CPU = 0
    CUDA = 1


class GPUMemoryAllocatorType(Enum):
    """MinkowskiEngine's choice of a memory pool; accepted, without effect: all memory is torch's."""

    PYTORCH = 0
    CUDA = 1


class CUDAKernelMapMode(Enum):
    """MinkowskiEngine's choice between ways to search on a GPU; accepted, without effect."""

    MEMORY_EFFICIENT = 0
    SPEED_OPTIMIZED = 1
