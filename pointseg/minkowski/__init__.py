"""Sparse convolution under MinkowskiEngine's API, on PyTorch alone: ``import pointseg.minkowski as ME``.

Models written for MinkowskiEngine 0.5 run on it unchanged and load their published weights. Coordinates are int32
``(V, 1+D)``, batch index first, D from 1 to 4. ``docs/engine.md`` says what is there and how it works.
"""

from pointseg.minkowski import modules, utils
from pointseg.minkowski.broadcast import (
    MinkowskiBroadcast,
    MinkowskiBroadcastAddition,
    MinkowskiBroadcastConcatenation,
    MinkowskiBroadcastMultiplication,
)
from pointseg.minkowski.convolution import (
    MinkowskiChannelwiseConvolution,
    MinkowskiConvolution,
    MinkowskiConvolutionTranspose,
    MinkowskiGenerativeConvolutionTranspose,
)
from pointseg.minkowski.enums import ConvolutionMode, RegionType, SparseTensorQuantizationMode
from pointseg.minkowski.interpolation import MinkowskiInterpolation
from pointseg.minkowski.kernel import KernelGenerator
from pointseg.minkowski.manager import CoordinateManager, CoordinateMapKey
from pointseg.minkowski.nonlinearity import (
    MinkowskiAlphaDropout,
    MinkowskiCELU,
    MinkowskiDropout,
    MinkowskiELU,
    MinkowskiGELU,
    MinkowskiHardswish,
    MinkowskiLeakyReLU,
    MinkowskiLogSoftmax,
    MinkowskiPReLU,
    MinkowskiReLU,
    MinkowskiReLU6,
    MinkowskiSELU,
    MinkowskiSigmoid,
    MinkowskiSiLU,
    MinkowskiSoftmax,
    MinkowskiSoftplus,
    MinkowskiTanh,
    MinkowskiThreshold,
)
from pointseg.minkowski.normalization import MinkowskiBatchNorm, MinkowskiInstanceNorm
from pointseg.minkowski.ops import MinkowskiLinear, MinkowskiUnion, cat
from pointseg.minkowski.pooling import (
    MinkowskiAvgPooling,
    MinkowskiGlobalAvgPooling,
    MinkowskiGlobalMaxPooling,
    MinkowskiGlobalPooling,
    MinkowskiGlobalSumPooling,
    MinkowskiMaxPooling,
    MinkowskiPoolingTranspose,
    MinkowskiSumPooling,
)
from pointseg.minkowski.pruning import MinkowskiPruning
from pointseg.minkowski.sparse_tensor import SparseTensor
from pointseg.minkowski.tensor_field import TensorField

__all__ = [
    "ConvolutionMode",
    "CoordinateManager",
    "CoordinateMapKey",
    "KernelGenerator",
    "MinkowskiAlphaDropout",
    "MinkowskiAvgPooling",
    "MinkowskiBatchNorm",
    "MinkowskiBroadcast",
    "MinkowskiBroadcastAddition",
    "MinkowskiBroadcastConcatenation",
    "MinkowskiBroadcastMultiplication",
    "MinkowskiCELU",
    "MinkowskiChannelwiseConvolution",
    "MinkowskiConvolution",
    "MinkowskiConvolutionTranspose",
    "MinkowskiDropout",
    "MinkowskiELU",
    "MinkowskiGELU",
    "MinkowskiGenerativeConvolutionTranspose",
    "MinkowskiGlobalAvgPooling",
    "MinkowskiGlobalMaxPooling",
    "MinkowskiGlobalPooling",
    "MinkowskiGlobalSumPooling",
    "MinkowskiHardswish",
    "MinkowskiInstanceNorm",
    "MinkowskiInterpolation",
    "MinkowskiLeakyReLU",
    "MinkowskiLinear",
    "MinkowskiLogSoftmax",
    "MinkowskiMaxPooling",
    "MinkowskiPReLU",
    "MinkowskiPoolingTranspose",
    "MinkowskiPruning",
    "MinkowskiReLU",
    "MinkowskiReLU6",
    "MinkowskiSELU",
    "MinkowskiSiLU",
    "MinkowskiSigmoid",
    "MinkowskiSoftmax",
    "MinkowskiSoftplus",
    "MinkowskiSumPooling",
    "MinkowskiTanh",
    "MinkowskiThreshold",
    "MinkowskiUnion",
    "RegionType",
    "SparseTensor",
    "SparseTensorQuantizationMode",
    "TensorField",
    "cat",
    "modules",
    "utils",
]
