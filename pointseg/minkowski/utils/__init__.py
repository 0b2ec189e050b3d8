"""Utilities under MinkowskiEngine's names: quantisation, collation, weight initialisation, summaries."""

from pointseg.minkowski.utils import coords, gradcheck
from pointseg.minkowski.utils.collation import (
    SparseCollation,
    batch_sparse_collate,
    batched_coordinates,
    sparse_collate,
)
from pointseg.minkowski.utils.init import kaiming_normal_
from pointseg.minkowski.utils.quantization import (
    fnv_hash_vec,
    ravel_hash_vec,
    sparse_quantize,
    unique_coordinate_map,
)
from pointseg.minkowski.utils.summary import summary

__all__ = [
    "SparseCollation",
    "batch_sparse_collate",
    "batched_coordinates",
    "coords",
    "fnv_hash_vec",
    "gradcheck",
    "kaiming_normal_",
    "ravel_hash_vec",
    "sparse_collate",
    "sparse_quantize",
    "summary",
    "unique_coordinate_map",
]
