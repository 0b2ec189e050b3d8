"""Which coordinate manager a new tensor gets: one of its own, or the global one that all tensors share."""

from pointseg.errors import InputError
from pointseg.minkowski.coordinate_manager import CoordinateManager
from pointseg.minkowski.enums import SparseTensorOperationMode

_mode = SparseTensorOperationMode.SEPARATE_COORDINATE_MANAGER
_shared: CoordinateManager | None = None


def set_sparse_tensor_operation_mode(operation_mode: SparseTensorOperationMode) -> None:
    """Whether tensors made from coordinates alone share one manager from now on, in this process.

    With ``SHARE_COORDINATE_MANAGER`` call :func:`clear_global_coordinate_manager` after each pass: the manager keeps
    every map it has made.

    Raises:
        InputError: not a :class:`SparseTensorOperationMode`.
    """
    global _mode
    if not isinstance(operation_mode, SparseTensorOperationMode):
        raise InputError(f"operation_mode is {operation_mode!r}, but it must be a SparseTensorOperationMode.")
    _mode = operation_mode


def sparse_tensor_operation_mode() -> SparseTensorOperationMode:
    return _mode


def global_coordinate_manager() -> CoordinateManager | None:
    """The shared manager; None before the first tensor and after clearing."""
    return _shared


def set_global_coordinate_manager(coordinate_manager: CoordinateManager | None) -> None:
    global _shared
    _shared = coordinate_manager


def clear_global_coordinate_manager() -> None:
    """Forgets the shared manager; tensors that use it keep it alive."""
    set_global_coordinate_manager(None)


def manager_for(dimension: int) -> CoordinateManager:
    """The manager of a new tensor with that many axes.

    Raises:
        InputError: the shared manager holds another number of axes.
    """
    if _mode is SparseTensorOperationMode.SEPARATE_COORDINATE_MANAGER:
        return CoordinateManager(dimension)
    if _shared is None:
        set_global_coordinate_manager(CoordinateManager(dimension))
    assert _shared is not None
    if dimension != _shared.D:
        raise InputError(
            f"coordinates have {dimension} axes, but the shared coordinate manager holds {_shared.D}: call "
            f"clear_global_coordinate_manager() first."
        )
    return _shared
