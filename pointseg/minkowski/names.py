"""MinkowskiEngine's module names and older names, and the package under its name.

Code written for that engine imports from its modules (``import MinkowskiEngine.MinkowskiOps as me``). One table says
which of our modules make up each of them; the modules are made from it and put into ``sys.modules``, where import
statements find them, so no file stands for a mere name. As there, ``ME.MinkowskiConvolution`` is the class and
``import ....MinkowskiConvolution`` finds the module of the same name.
"""

import sys
from types import ModuleType

from pointseg.errors import InputError
from pointseg.minkowski import (
    broadcast,
    common,
    convolution,
    coordinate_manager,
    enums,
    environment,
    functional,
    global_pooling,
    interpolation,
    kernel,
    keys,
    manager,
    network,
    nonlinearity,
    normalization,
    ops,
    pooling,
    pruning,
    sharing,
    sparse_matrix,
    sparse_tensor,
    tensor,
    tensor_field,
    union,
)

MODULES: dict[str, tuple[ModuleType, ...]] = {
    "MinkowskiBroadcast": (broadcast, keys),
    "MinkowskiChannelwiseConvolution": (convolution,),
    "MinkowskiCommon": (common,),
    "MinkowskiConvolution": (convolution, keys),
    "MinkowskiCoordinateManager": (coordinate_manager, environment),
    "MinkowskiFunctional": (functional,),
    "MinkowskiInterpolation": (interpolation, keys),
    "MinkowskiKernelGenerator": (kernel,),
    "MinkowskiNetwork": (network,),
    "MinkowskiNonlinearity": (nonlinearity,),
    "MinkowskiNormalization": (normalization, keys),
    "MinkowskiOps": (ops,),
    "MinkowskiPooling": (pooling, global_pooling, sparse_matrix, keys),
    "MinkowskiPruning": (pruning, keys),
    "MinkowskiSparseTensor": (keys, sparse_tensor),
    "MinkowskiTensor": (sharing, enums, tensor),
    "MinkowskiTensorField": (tensor_field,),
    "MinkowskiUnion": (union, keys),
    "sparse_matrix_functions": (sparse_matrix,),
}

# MinkowskiEngine's compiled part; of it, what is not a compiled function.
BACKEND: tuple[ModuleType, ...] = (manager, environment, enums)

# Names before MinkowskiEngine 0.5 whose meaning is unchanged..
ALIASES = {
    "clear_global_coords_man": "clear_global_coordinate_manager",
    "MemoryManagerBackend": "GPUMemoryAllocatorType",
}

# ..and others.
REPLACED = {
    "CoordsKey": "CoordinateMapKey names a map now, and tensors carry it as coordinate_map_key",
    "CoordsManager": "CoordinateManager is its name now",
    "GlobalPoolingMode": "PoolingMode holds the modes now",
    "MinkowskiAvgPoolingFunction": "MinkowskiLocalPoolingFunction with a PoolingMode replaces it",
    "MinkowskiAvgUnpooling": "MinkowskiPoolingTranspose replaces it, with sums where windows overlap",
    "MinkowskiGlobalMaxPoolingFunction": "MinkowskiGlobalPoolingFunction with a PoolingMode replaces it",
    "MinkowskiMaxPoolingFunction": "MinkowskiLocalPoolingFunction with a PoolingMode replaces it",
    "MinkowskiPoolingTransposeFunction": "MinkowskiLocalPoolingTransposeFunction is its name now",
    "MinkowskiSumUnpooling": "MinkowskiPoolingTranspose replaces it",
    "OperationType": "BroadcastMode is its name now",
}


def make_modules(package: str) -> None:
    """Makes ``import package.MinkowskiOps`` and the like work."""
    for name, parts in MODULES.items():
        sys.modules[f"{package}.{name}"] = _module(f"{package}.{name}", parts)


def older_name(package: str, name: str) -> object:
    """What a name that the package does not have stands for; raises AttributeError where it stands for nothing."""
    if name in ALIASES:
        return getattr(sys.modules[package], ALIASES[name])
    hint = f": {REPLACED[name]}" if name in REPLACED else ""
    raise AttributeError(f"{package} has no {name!r}{hint}.")


def register() -> None:
    """Makes ``import MinkowskiEngine`` and its modules give this engine, in this process.

    Its modules are found under their own names too (``import MinkowskiOps``), as with the real one. Calling it again
    changes nothing.

    Raises:
        InputError: the real MinkowskiEngine is imported already.
    """
    package = sys.modules[__package__ or ""]
    if sys.modules.get("MinkowskiEngine") is package:
        return
    prefix = f"{package.__name__}."
    ours = {f"MinkowskiEngine.{name[len(prefix) :]}": m for name, m in sys.modules.items() if name.startswith(prefix)}
    ours |= {name: sys.modules[prefix + name] for name in MODULES}
    taken = next((name for name in ("MinkowskiEngine", "MinkowskiEngineBackend", *ours) if name in sys.modules), None)
    if taken is not None:
        raise InputError(
            f"{taken} is imported already, from {getattr(sys.modules[taken], '__file__', 'elsewhere')}: call "
            f"register() before anything imports the real MinkowskiEngine."
        )
    backend = _module("MinkowskiEngineBackend._C", BACKEND)
    parent = ModuleType("MinkowskiEngineBackend")
    parent._C = backend  # type: ignore[attr-defined]
    sys.modules.update(
        {"MinkowskiEngine": package, "MinkowskiEngineBackend": parent, "MinkowskiEngineBackend._C": backend, **ours}
    )


def _module(name: str, parts: tuple[ModuleType, ...]) -> ModuleType:
    if len(parts) == 1:
        return parts[0]
    module = ModuleType(name, f"MinkowskiEngine's {name.rpartition('.')[2]}.")
    for part in parts:
        vars(module).update({key: value for key, value in vars(part).items() if not key.startswith("__")})
    return module
