"""pointseg: segment 3D point clouds from a handful of labels."""

__version__ = "0.1.0"
