"""Utilities under MinkowskiEngine's names: quantisation, collation, weight initialisation."""

from pointseg.minkowski.utils.collation import (
    SparseCollation,
    batch_sparse_collate,
    batched_coordinates,
    sparse_collate,
)
from pointseg.minkowski.utils.init import kaiming_normal_
from pointseg.minkowski.utils.quantization import sparse_quantize, unique_coordinate_map

__all__ = [
    "SparseCollation",
    "batch_sparse_collate",
    "batched_coordinates",
    "kaiming_normal_",
    "sparse_collate",
    "sparse_quantize",
    "unique_coordinate_map",
]
