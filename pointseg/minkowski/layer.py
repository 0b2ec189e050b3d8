"""What convolution and pooling layers share: where the output's rows are, and which inputs reach them."""

from torch import Tensor

from pointseg.errors import InputError
from pointseg.minkowski.common import MinkowskiModuleBase
from pointseg.minkowski.kernel import KernelGenerator
from pointseg.minkowski.kernel_map import KernelMap
from pointseg.minkowski.manager import CoordinateMapKey
from pointseg.minkowski.sparse_tensor import SparseTensor, given_key

Coordinates = Tensor | CoordinateMapKey | SparseTensor | None


class NeighbourhoodLayer(MinkowskiModuleBase):
    """A layer that looks at rows around each output row."""

    def __init__(self, kernel_generator: KernelGenerator, is_transpose: bool) -> None:
        super().__init__()
        self.kernel_generator = kernel_generator
        self.dimension = kernel_generator.dimension
        self.is_transpose = is_transpose

    def check_input(self, x: SparseTensor) -> None:
        if not isinstance(x, SparseTensor):
            raise InputError(f"{type(self).__name__} takes a SparseTensor, but got {type(x).__name__}.")
        if self.dimension != x.D:
            raise InputError(f"the input has {x.D} axes, but this layer was made with dimension={self.dimension}.")

    def output_key(self, x: SparseTensor, coordinates: Coordinates) -> CoordinateMapKey:
        return output_key(x, self.kernel_generator, self.is_transpose, coordinates)

    def kernel_map(self, x: SparseTensor, key: CoordinateMapKey) -> KernelMap:
        return kernel_map(x, key, self.kernel_generator, self.is_transpose)


def output_key(
    x: SparseTensor, kernel: KernelGenerator, is_transpose: bool, coordinates: Coordinates = None
) -> CoordinateMapKey:
    """Where the output lies: the caller's coordinates, or those that follow from the kernel's stride.

    Raises:
        InputError: a transposed kernel's stride does not divide the input's, which may not be 0, or there is no finer
            map.
    """
    stride = _output_stride(x, kernel, is_transpose)
    if coordinates is not None:
        return given_key(x, coordinates, stride)
    manager = x.coordinate_manager
    if kernel.expand_coordinates:
        finer = stride if is_transpose else tuple(x.tensor_stride)
        return manager.expand(x.coordinate_map_key, kernel.offsets(finer), stride)
    if not is_transpose:
        return manager.stride(x.coordinate_map_key, kernel.kernel_stride)
    key = CoordinateMapKey(stride, x.coordinate_map_key.string_id)
    if not manager.exists(key):
        raise InputError(
            f"no coordinates of stride {list(stride)} exist to return to: use "
            f"MinkowskiGenerativeConvolutionTranspose, or pass coordinates=."
        )
    return key


def kernel_map(x: SparseTensor, key: CoordinateMapKey, kernel: KernelGenerator, is_transpose: bool) -> KernelMap:
    """Which rows of ``x`` reach which rows of the map ``key``."""
    manager = x.coordinate_manager
    if is_transpose:
        return manager.kernel_map_of(key, x.coordinate_map_key, kernel).swapped()
    return manager.kernel_map_of(x.coordinate_map_key, key, kernel)


def _output_stride(x: SparseTensor, kernel: KernelGenerator, is_transpose: bool) -> tuple[int, ...]:
    steps = list(zip(x.tensor_stride, kernel.kernel_stride, strict=True))
    if not is_transpose:
        return tuple(t * s for t, s in steps)
    if 0 in x.tensor_stride:
        raise InputError(
            f"the input's tensor stride is {x.tensor_stride}, that of a global tensor, but a transposed layer needs a "
            f"grid to go up from: bring its rows to other coordinates by MinkowskiBroadcast."
        )
    if any(t % s for t, s in steps):
        raise InputError(
            f"the input's tensor stride {x.tensor_stride} is not divisible by this layer's stride "
            f"{list(kernel.kernel_stride)}."
        )
    return tuple(t // s for t, s in steps)
