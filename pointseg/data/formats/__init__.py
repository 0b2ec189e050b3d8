"""Cloud files as people have them: PLY, LAS, LAZ, E57, PCD, XYZ, CSV, TXT, NPY and NPZ, read and written back.

``cloud.py`` is what to call; the other modules are one file format each and the rules they share.
"""

from pointseg.data.formats.cloud import (
    SUFFIXES,
    CloudInfo,
    RawCloud,
    check_target,
    inspect_cloud,
    iter_cloud,
    read_cloud,
    write_predictions,
)

__all__ = [
    "SUFFIXES",
    "CloudInfo",
    "RawCloud",
    "check_target",
    "inspect_cloud",
    "iter_cloud",
    "read_cloud",
    "write_predictions",
]
