"""Building blocks under MinkowskiEngine's names."""

from pointseg.minkowski.modules import resnet_block, senet_block

__all__ = ["resnet_block", "senet_block"]
