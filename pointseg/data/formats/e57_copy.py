"""A copy of an E57 file with further fields in its scans: the whole tree, node by node, numbers as they are stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pointseg.data.formats.e57 import (
    INVALID,
    PREFIX,
    WHOLE,
    binding,
    children,
    is_valid,
    opened,
    points_of,
    scan_chunks,
    scans_of,
)
from pointseg.data.formats.format import Columns, writing
from pointseg.errors import InputError

_URI = "urn:pointseg:e57"
_CHUNK = 1_000_000
_BLOB_BYTES = 1 << 24


def copy_with(source: Path, target: Path, added: Columns) -> None:
    """Copy the file; each scan gets its part of the added fields, rows that hold no point get -1 (pred) and 0.

    Args:
        source: The file to copy.
        target: The file to write.
        added: ``pointseg:pred`` and so on, (N,) each for the N rows that hold a point.

    Raises:
        InputError: Another number of rows, or a source that cannot be read.
    """
    lib = binding(source)
    with opened(source) as old:
        parts = _spread(lib, old, source, added)
    with writing(lib.E57Exception, RuntimeError):
        new = lib.ImageFile(str(target), "w")
        try:
            with opened(source) as old:
                _Copy(lib, old, new, parts).run()
            new.close()
        except BaseException:
            new.cancel()
            raise


def _spread(lib: ModuleType, image: Any, source: Path, added: Columns) -> list[Columns]:
    """The added values of every scan, with a row for every row of the scan."""
    parts: list[Columns] = []
    start = 0
    for scan in scans_of(lib, image):
        count = points_of(lib, scan).childCount()
        names = children(lib.StructureNode(points_of(lib, scan).prototype()))
        states = {name: WHOLE for name in INVALID if name in names}
        valid = np.ones(count, bool)
        if states and count:
            chunks = list(scan_chunks(lib, image, scan, states, min(count, _CHUNK)))
            valid = np.concatenate([v for v in map(is_valid, chunks) if v is not None])
        held = int(valid.sum())
        part = {}
        for name, values in added.items():
            part[name] = np.full(count, -1 if values.dtype.kind == "i" else 0, values.dtype)
            given = values[start : start + held]
            if len(given) == held:
                part[name][valid] = given
        parts.append(part)
        start += held
    given_in_all = len(next(iter(added.values())))
    if given_in_all != start:
        raise InputError(f"{given_in_all:,} predictions for the {start:,} points of {source}")
    return parts


class _Copy:
    """Copies one tree; blobs and points, which need their place in the tree first, are written last."""

    def __init__(self, lib: ModuleType, old: Any, new: Any, parts: list[Columns]) -> None:
        self.lib, self.old, self.new, self.parts = lib, old, new, parts
        self.later: list[Callable[[], None]] = []
        kinds = lib.NodeType
        self.copies: dict[Any, Callable[[Any], Any]] = {
            kinds.E57_STRUCTURE: self.structure,
            kinds.E57_VECTOR: self.vector,
            kinds.E57_COMPRESSED_VECTOR: self.points,
            kinds.E57_INTEGER: self.integer,
            kinds.E57_SCALED_INTEGER: self.scaled_integer,
            kinds.E57_FLOAT: self.float,
            kinds.E57_STRING: lambda node: lib.StringNode(new, lib.StringNode(node).value()),
            kinds.E57_BLOB: self.blob,
        }

    def run(self) -> None:
        """Copy everything below the root."""
        prefixes = {self.old.extensionsPrefix(i): self.old.extensionsUri(i) for i in range(self.old.extensionsCount())}
        for prefix, uri in (prefixes | {PREFIX.rstrip(":"): _URI}).items():
            self.new.extensionsAdd(prefix, uri)
        for name, node in children(self.old.root()).items():
            self.new.root().set(name, self.copy(node))
        for write in self.later:
            write()

    def copy(self, node: Any) -> Any:
        """A node of the new file that equals one of the old."""
        return self.copies[node.type()](node)

    def structure(self, node: Any) -> Any:
        copy = self.lib.StructureNode(self.new)
        for name, child in children(self.lib.StructureNode(node)).items():
            if not name.startswith(PREFIX):
                copy.set(name, self.copy(child))
        return copy

    def vector(self, node: Any) -> Any:
        node = self.lib.VectorNode(node)
        copy = self.lib.VectorNode(self.new, node.allowHeteroChildren())
        for i in range(node.childCount()):
            copy.append(self.copy(node.get(i)))
        return copy

    def integer(self, node: Any) -> Any:
        node = self.lib.IntegerNode(node)
        return self.lib.IntegerNode(self.new, node.value(), node.minimum(), node.maximum())

    def scaled_integer(self, node: Any) -> Any:
        node = self.lib.ScaledIntegerNode(node)
        limits = node.minimum(), node.maximum()
        return self.lib.ScaledIntegerNode(self.new, node.rawValue(), *limits, node.scale(), node.offset())

    def float(self, node: Any) -> Any:
        node = self.lib.FloatNode(node)
        return self.lib.FloatNode(self.new, node.value(), node.precision(), node.minimum(), node.maximum())

    def blob(self, node: Any) -> Any:
        old = self.lib.BlobNode(node)
        size = old.byteCount()
        copy = self.lib.BlobNode(self.new, size)

        def write() -> None:
            for start in range(0, size, _BLOB_BYTES):
                part = np.empty(min(_BLOB_BYTES, size - start), np.uint8)
                old.read(part, start, len(part))
                copy.write(part, start, len(part))

        self.later.append(write)
        return copy

    def points(self, node: Any) -> Any:
        path = node.pathName()
        node = self.lib.CompressedVectorNode(node)
        prototype = self.structure(node.prototype())
        part: Columns = {}
        scan = None
        if path.startswith("/data3D/") and path.endswith("/points"):
            number = int(path.split("/")[2])
            part, scan = self.parts[number], scans_of(self.lib, self.old)[number]
            for name, values in part.items():
                prototype.set(name, self.added(values))
        codecs = self.lib.VectorNode(self.new, True)
        copy = self.lib.CompressedVectorNode(self.new, prototype, codecs)
        if scan is None and node.childCount():
            raise InputError(f"{path} of the source is a table that is not a scan's, which cannot be copied")
        if scan is not None and node.childCount():
            self.later.append(lambda: self.write_points(scan, copy, part))
        return copy

    def added(self, values: np.ndarray) -> Any:
        if values.dtype.kind == "i":
            return self.lib.IntegerNode(
                self.new, 0, min(int(values.min(initial=0)), 0), max(int(values.max(initial=0)), 0)
            )
        return self.lib.FloatNode(self.new, 0.0, self.lib.FloatPrecision.E57_SINGLE)

    def write_points(self, scan: Any, copy: Any, part: Columns) -> None:
        lib, count = self.lib, points_of(self.lib, scan).childCount()
        fields: dict[str, np.dtype] = {}
        for name, node in children(lib.StructureNode(points_of(lib, scan).prototype())).items():
            if not name.startswith(PREFIX):
                fields[name] = self.stored(name, node)
        size = min(count, _CHUNK)
        arrays = {name: np.empty(size, kind) for name, kind in fields.items()}
        arrays |= {n: np.empty(size, WHOLE if v.dtype.kind == "i" else v.dtype) for n, v in part.items()}
        buffers = lib.VectorSourceDestBuffer()
        for name, array in arrays.items():
            buffers.append(lib.SourceDestBuffer(self.new, name, array, size, True, False))
        writer = copy.writer(buffers)
        start = 0
        for columns in scan_chunks(lib, self.old, scan, fields, size, scaled=False):
            rows = len(next(iter(columns.values())))
            columns |= {name: values[start : start + rows] for name, values in part.items()}
            for name, values in columns.items():
                arrays[name][:rows] = values
            writer.write(rows)
            start += rows
        writer.close()

    def stored(self, name: str, node: Any) -> np.dtype:
        """The type that holds a field's stored numbers exactly."""
        kinds = self.lib.NodeType
        if node.type() in (kinds.E57_INTEGER, kinds.E57_SCALED_INTEGER):
            return WHOLE
        if node.type() != kinds.E57_FLOAT:
            raise InputError(f"the field {name} holds no numbers and cannot be copied; export the cloud without it")
        single = self.lib.FloatNode(node).precision() == self.lib.FloatPrecision.E57_SINGLE
        return np.dtype(np.float32 if single else np.float64)
