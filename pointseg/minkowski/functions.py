"""MinkowskiEngine's autograd functions: the layers' arithmetic on bare features, coordinates named by keys.

Custom layers call them as ``Function.apply(...)`` or ``Function().apply(...)``. An output key that is not set yet
(``CoordinateMapKey(1 + D)``) is set to that of the result. Here they are plain functions that autograd sees through.
"""

from torch import Tensor

from pointseg.errors import InputError
from pointseg.minkowski.broadcast import OPERATIONS, spread
from pointseg.minkowski.convolution import convolved
from pointseg.minkowski.coordinate_manager import CoordinateManager
from pointseg.minkowski.enums import BroadcastMode, ConvolutionMode, PoolingMode
from pointseg.minkowski.global_pooling import globally_pooled, origin_key
from pointseg.minkowski.interpolation import interpolate
from pointseg.minkowski.kernel import KernelGenerator
from pointseg.minkowski.layer import Coordinates, output_key
from pointseg.minkowski.manager import CoordinateMapKey
from pointseg.minkowski.normalization import MinkowskiInstanceNorm, instance_normalised
from pointseg.minkowski.pooling import pooled
from pointseg.minkowski.pruning import MinkowskiPruning
from pointseg.minkowski.sparse_tensor import SparseTensor, given_key


class MinkowskiConvolutionFunction:
    is_transpose = False

    @classmethod
    def apply(
        cls,
        input_features: Tensor,
        kernel_weights: Tensor,
        kernel_generator: KernelGenerator,
        convolution_mode: ConvolutionMode,
        in_coordinate_map_key: CoordinateMapKey,
        out_coordinate_map_key: CoordinateMapKey | None = None,
        coordinate_manager: CoordinateManager | None = None,
    ) -> Tensor:
        """(V_out, C_out); ``kernel_weights`` (K, C_in, C_out)."""
        x = _tensor(input_features, in_coordinate_map_key, coordinate_manager)
        key = _settled(out_coordinate_map_key, x, kernel_generator, cls.is_transpose)
        return convolved(x, key, kernel_weights, kernel_generator, cls.is_transpose)


class MinkowskiConvolutionTransposeFunction(MinkowskiConvolutionFunction):
    is_transpose = True


class MinkowskiLocalPoolingFunction:
    is_transpose = False

    @classmethod
    def apply(
        cls,
        input_features: Tensor,
        pooling_mode: PoolingMode,
        kernel_generator: KernelGenerator,
        in_coordinate_map_key: CoordinateMapKey,
        out_coordinate_map_key: CoordinateMapKey | None = None,
        coordinate_manager: CoordinateManager | None = None,
    ) -> Tensor:
        """(V_out, C)."""
        x = _tensor(input_features, in_coordinate_map_key, coordinate_manager)
        key = _settled(out_coordinate_map_key, x, kernel_generator, cls.is_transpose)
        # The way back sums in every mode, as MinkowskiEngine's does.
        mode = PoolingMode.LOCAL_SUM_POOLING if cls.is_transpose else pooling_mode
        return pooled(x, key, kernel_generator, mode, cls.is_transpose)


class MinkowskiLocalPoolingTransposeFunction(MinkowskiLocalPoolingFunction):
    is_transpose = True


class MinkowskiGlobalPoolingFunction:
    @staticmethod
    def apply(
        input_features: Tensor,
        pooling_mode: PoolingMode,
        in_coordinate_map_key: CoordinateMapKey,
        out_coordinate_map_key: CoordinateMapKey | None = None,
        coordinate_manager: CoordinateManager | None = None,
    ) -> Tensor:
        """(B, C), one row for each batch entry that has rows."""
        x = _tensor(input_features, in_coordinate_map_key, coordinate_manager)
        _set(out_coordinate_map_key, origin_key(x))
        return globally_pooled(x, pooling_mode)


class MinkowskiBroadcastFunction:
    @staticmethod
    def apply(
        input_features: Tensor,
        input_features_global: Tensor,
        operation_type: BroadcastMode,
        in_coords_key: CoordinateMapKey,
        glob_coords_key: CoordinateMapKey,
        coords_manager: CoordinateManager,
    ) -> Tensor:
        """(V, C)."""
        x = _tensor(input_features, in_coords_key, coords_manager)
        return OPERATIONS[operation_type](
            input_features, spread(x, _tensor(input_features_global, glob_coords_key, coords_manager))
        )


class MinkowskiInstanceNormFunction:
    @staticmethod
    def apply(
        in_feat: Tensor,
        in_coords_key: CoordinateMapKey,
        glob_coords_key: CoordinateMapKey | None = None,
        coords_manager: CoordinateManager | None = None,
        gpooling_mode: PoolingMode = PoolingMode.GLOBAL_AVG_POOLING_KERNEL,
    ) -> Tensor:
        """(V, C) normalised, not scaled."""
        x = _tensor(in_feat, in_coords_key, coords_manager)
        _set(glob_coords_key, origin_key(x))
        return instance_normalised(x, MinkowskiInstanceNorm.eps).to(in_feat.dtype)


class MinkowskiPruningFunction:
    @staticmethod
    def apply(
        in_feat: Tensor,
        mask: Tensor,
        in_coords_key: CoordinateMapKey,
        out_coords_key: CoordinateMapKey | None = None,
        coords_manager: CoordinateManager | None = None,
    ) -> Tensor:
        """The rows where ``mask`` (V,) is True."""
        kept = MinkowskiPruning()(_tensor(in_feat, in_coords_key, coords_manager), mask)
        _set(out_coords_key, kept.coordinate_map_key)
        return kept.F


class MinkowskiUnionFunction:
    @staticmethod
    def apply(
        in_coords_keys: list[CoordinateMapKey],
        out_coords_key: CoordinateMapKey,
        coordinate_manager: CoordinateManager,
        *in_feats: Tensor,
    ) -> Tensor:
        """(V_union, C): features of equal coordinates are added."""
        rows = coordinate_manager.union_map(in_coords_keys, out_coords_key)
        total = in_feats[0].new_zeros((coordinate_manager.size(out_coords_key), in_feats[0].shape[1]))
        for features, (_, place) in zip(in_feats, rows, strict=True):
            total = total.index_add(0, place, features)
        return total


class MinkowskiInterpolationFunction:
    @staticmethod
    def apply(
        input_features: Tensor,
        tfield: Tensor,
        in_coordinate_map_key: CoordinateMapKey,
        coordinate_manager: CoordinateManager | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features (M, C) at real ``tfield`` (M, 1+D); rows of the map, query numbers and weights that met."""
        x = _tensor(input_features, in_coordinate_map_key, coordinate_manager)
        maps = x.coordinate_manager.interpolation_map_weight(in_coordinate_map_key, tfield)
        return interpolate(x, tfield), *maps


def _get_coordinate_map_key(
    input: SparseTensor, coordinates: Coordinates = None, tensor_stride: int = 1, expand_coordinates: bool = False
) -> CoordinateMapKey:
    """The key of the caller's coordinates, or one that is not set yet; custom layers import it by this name."""
    if coordinates is None or expand_coordinates:
        return CoordinateMapKey(input.D + 1)  # type: ignore[arg-type]
    return given_key(input, coordinates, tensor_stride)


def _tensor(features: Tensor, key: CoordinateMapKey, manager: CoordinateManager | None) -> SparseTensor:
    if manager is None:
        raise InputError("coordinate_manager is None, but the keys mean something only in their manager: pass it.")
    return SparseTensor(features, coordinate_map_key=key, coordinate_manager=manager)


def _settled(
    key: CoordinateMapKey | None, x: SparseTensor, kernel: KernelGenerator, is_transpose: bool
) -> CoordinateMapKey:
    """The caller's output key if it is set, else the one that follows from the kernel, which then becomes it."""
    if key is not None and key.is_key_set():
        return key
    found = output_key(x, kernel, is_transpose)
    _set(key, found)
    return found


def _set(key: CoordinateMapKey | None, to: CoordinateMapKey) -> None:
    if key is not None and not key.is_key_set():
        key.set_key(*to.get_key())
