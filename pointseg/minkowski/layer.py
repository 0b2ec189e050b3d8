"""What convolution and pooling layers share: where the output's rows are, and which inputs reach them."""

from torch import Tensor, nn

from pointseg.errors import InputError
from pointseg.minkowski.kernel import KernelGenerator
from pointseg.minkowski.kernel_map import KernelMap
from pointseg.minkowski.manager import CoordinateMapKey
from pointseg.minkowski.sparse_tensor import SparseTensor, given_key

Coordinates = Tensor | CoordinateMapKey | SparseTensor | None


class NeighbourhoodLayer(nn.Module):
    """A layer that looks at rows around each output row."""

    is_transpose = False

    def __init__(self, kernel_generator: KernelGenerator) -> None:
        super().__init__()
        self.kernel_generator = kernel_generator
        self.dimension = kernel_generator.dimension

    def check_input(self, x: SparseTensor) -> None:
        if not isinstance(x, SparseTensor):
            raise InputError(f"{type(self).__name__} takes a SparseTensor, but got {type(x).__name__}.")
        if self.dimension != x.D:
            raise InputError(f"the input has {x.D} axes, but this layer was made with dimension={self.dimension}.")

    def output_key(self, x: SparseTensor, coordinates: Coordinates) -> CoordinateMapKey:
        """Where the output lies: the caller's coordinates, or those that follow from the layer's stride.

        Raises:
            InputError: a transposed layer's stride does not divide the input's, or there is no finer map.
        """
        stride = self._output_stride(x)
        if coordinates is not None:
            return given_key(x, coordinates, stride)
        manager, kernel = x.coordinate_manager, self.kernel_generator
        if kernel.expand_coordinates:
            finer = stride if self.is_transpose else tuple(x.tensor_stride)
            return manager.expand(x.coordinate_map_key, kernel.offsets(finer), stride)
        if not self.is_transpose:
            return manager.stride(x.coordinate_map_key, kernel.kernel_stride)
        key = CoordinateMapKey(stride, x.coordinate_map_key.string_id)
        if not manager.exists(key):
            raise InputError(
                f"no coordinates of stride {list(stride)} exist to return to: use "
                f"MinkowskiGenerativeConvolutionTranspose, or pass coordinates=."
            )
        return key

    def kernel_map(self, x: SparseTensor, key: CoordinateMapKey) -> KernelMap:
        manager = x.coordinate_manager
        if self.is_transpose:
            return manager.kernel_map_of(key, x.coordinate_map_key, self.kernel_generator).swapped()
        return manager.kernel_map_of(x.coordinate_map_key, key, self.kernel_generator)

    def _output_stride(self, x: SparseTensor) -> tuple[int, ...]:
        steps = list(zip(x.tensor_stride, self.kernel_generator.kernel_stride, strict=True))
        if not self.is_transpose:
            return tuple(t * s for t, s in steps)
        if any(t % s for t, s in steps):
            raise InputError(
                f"the input's tensor stride {x.tensor_stride} is not divisible by this layer's stride "
                f"{list(self.kernel_generator.kernel_stride)}."
            )
        return tuple(t // s for t, s in steps)
