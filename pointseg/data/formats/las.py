"""LAS and LAZ, all point formats, through laspy: scaled coordinates, extra dimensions, reference systems, VLRs.

Point formats without laser data still have fields for it, and photogrammetric files fields of zeros: classification,
intensity and colours that are 0 throughout are taken as absent, or from extra dimensions of usual names.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pointseg.data.formats.format import OURS, Columns, Format, Header, cut_short, no_extra, reading, writing
from pointseg.data.formats.laz_chunks import check_chunks, points_at_a_time
from pointseg.errors import InputError
from pointseg.untrusted import BoundedReader

_MARK = "pointseg: "
_DESCRIPTIONS = {"pred": "class", "confidence": "of the class", "entropy": "nats"}
_MANDATORY = frozenset({"classification", "intensity", "red", "green", "blue"})
_SMALLEST_VLR, _SMALLEST_EVLR = 54, 60
_PROJECTED, _GEOGRAPHIC, _VERTICAL = 3072, 2048, 4096  # keys of GeoTIFF's directory
_USER_DEFINED = 32767
_DATE = 90  # where a header keeps the day and year of its creation
_WRITE_POINTS = 1_000_000


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """A laspy reader; everything laspy and lazrs raise inside becomes one sentence."""
    laspy = _laspy(path)
    _check_promises(path)
    # lazrs raises subclasses of RuntimeError.
    with (
        reading(path, path.suffix[1:].upper(), laspy.errors.LaspyException, RuntimeError),
        BoundedReader(path) as file,
        laspy.open(file) as reader,
    ):
        if reader.header.are_points_compressed and not laspy.LazBackend.detect_available():
            raise no_extra(path, "lazrs", "las")
        if any(d.num_elements == 0 for d in reader.header.point_format.dimensions):
            raise InputError(f"{path} is damaged: it has a field of no size; fetch or export it again")
        if reader.header.are_points_compressed:
            check_chunks(path, file, reader.header)
        yield reader


def _laspy(path: Path) -> ModuleType:
    try:
        import laspy
    except ImportError as error:
        raise no_extra(path, "laspy", "las") from error
    return laspy


def _check_promises(path: Path) -> None:
    """Refuse headers that promise more than the file can hold, before anything is made ready for it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(375)
    if len(head) < 227 or head[:4] != b"LASF":
        raise InputError(f"{path} is no LAS file: it does not begin with a LAS header; fetch or export it again")
    header_size, data_start, vlrs, kind, row, count = struct.unpack_from("<HIIBHI", head, 94)
    if len(head) >= 375 and head[25] >= 4:
        evlr_start, evlrs, count = struct.unpack_from("<QIQ", head, 235)
        if evlrs and evlr_start + evlrs * _SMALLEST_EVLR > size:
            raise InputError(f"{path} is cut short: its {evlrs} extended records do not fit in; fetch it again")
    if data_start > size or header_size + vlrs * _SMALLEST_VLR > data_start:
        raise InputError(f"{path} is damaged: its {vlrs} header records do not fit before the points; fetch it again")
    compressed = kind & 0x80
    if not compressed and row and data_start + count * row > size:
        raise cut_short(path, count, (size - data_start) // row)


def _header(path: Path) -> Header:
    with _open(path) as reader:
        header = reader.header
        fields = tuple(header.point_format.dimension_names)
        kinds = {}
        for dimension in header.point_format.dimensions:
            if dimension.num_elements == 1 and dimension.name not in ("X", "Y", "Z"):
                scaled = dimension.scales is not None or dimension.offsets is not None
                kinds[dimension.name] = np.dtype(np.float64) if scaled else _dtype(dimension)
        kinds |= dict.fromkeys("xyz", np.dtype(np.float64))
        ours = {d.name for d in header.point_format.extra_dimensions if _is_ours(d)}
        return Header(
            num_points=header.point_count,
            fields=fields,
            columns=kinds,
            crs=_crs(header),
            ours=frozenset(ours),
            mandatory=_MANDATORY,
        )


def _dtype(dimension: Any) -> np.dtype:
    # Fields of a few bits have no dtype of their own.
    return np.dtype(np.uint8) if dimension.dtype is None else np.dtype(dimension.dtype)


def _is_ours(dimension: Any) -> bool:
    return dimension.name in OURS and dimension.description.startswith(_MARK)


def _crs(header: Any) -> str | None:
    """WKT if the file has any, else the EPSG codes of its GeoTIFF keys (horizontal, and vertical after a plus)."""
    records = [*header.vlrs, *(header.evlrs or ())]
    projection = {r.record_id: r for r in records if r.user_id.strip("\0 ") == "LASF_Projection"}
    if 2112 in projection:
        text = _bytes(projection[2112]).decode("utf-8", "replace").strip("\0 ")
        if text:
            return text
    if 34735 not in projection:
        return None
    data = _bytes(projection[34735])
    words = struct.unpack(f"<{len(data) // 2}H", data[: len(data) // 2 * 2])
    codes = {words[i]: words[i + 3] for i in range(4, len(words) - 3, 4) if words[i + 1] == 0}
    known = [codes.get(key, 0) for key in (_PROJECTED, _GEOGRAPHIC)]
    horizontal = next((code for code in known if code not in (0, _USER_DEFINED)), None)
    if horizontal is None:
        return None
    vertical = codes.get(_VERTICAL, 0)
    return f"EPSG:{horizontal}" + (f"+{vertical}" if vertical not in (0, _USER_DEFINED) else "")


def _bytes(record: Any) -> bytes:
    return bytes(record.record_data_bytes())


def _chunks(path: Path, wanted: Sequence[str], chunk_points: int) -> Iterator[Columns]:
    with _open(path) as reader:
        promised, held = reader.header.point_count, 0
        for points in reader.chunk_iterator(points_at_a_time(reader.header.point_format.size, chunk_points)):
            held += len(points)
            yield {name: np.array(points[name]) for name in wanted}
        if held < promised:
            raise cut_short(path, promised, held)


def _write(source: Path, target: Path, added: Columns) -> None:
    laspy = _laspy(source)
    with _open(source) as reader:
        header, evlrs = copy.deepcopy(reader.header), list(reader.evlrs or ())
    _refuse_waveforms(source, header, evlrs)
    colons = [name for name in header.point_format.dimension_names if ":" in name]
    if colons:
        raise InputError(f"{source} has a field {colons[0]!r}; laspy cannot write a colon: rename the field")
    # An index of a cloud-optimised file points to bytes that will be elsewhere.
    header.vlrs = [record for record in header.vlrs if record.user_id != "copc"]
    evlrs = [record for record in evlrs if record.user_id != "copc"]
    header.remove_extra_dims([d.name for d in header.point_format.extra_dimensions if _is_ours(d)])
    header.add_extra_dims(
        [laspy.ExtraBytesParams(n, v.dtype, description=_MARK + _DESCRIPTIONS[n]) for n, v in added.items()]
    )
    start, compress = 0, target.suffix.lower() == ".laz"
    with (
        writing(laspy.errors.LaspyException, RuntimeError),
        laspy.open(target, "w", header=header, do_compress=compress, encoding_errors="surrogateescape") as writer,
    ):
        for points in _raw_points(source):
            writer.write_points(_extended(laspy, points, header, added, start))
            start += len(points)
        if evlrs:
            records = laspy.vlrs.vlrlist.VLRList(evlrs)
            # laspy passes the setting on for the other records only.
            records.write_to = partial(records.write_to, encoding_errors="surrogateescape")
            writer.write_evlrs(records)
    if start < len(added["pred"]):
        raise cut_short(source, len(added["pred"]), start)
    # laspy puts today in the place of a date that is not set.
    with source.open("rb") as old, target.open("r+b") as new:
        old.seek(_DATE)
        new.seek(_DATE)
        new.write(old.read(4))


def _raw_points(path: Path) -> Iterator[Any]:
    with _open(path) as reader:
        yield from reader.chunk_iterator(points_at_a_time(reader.header.point_format.size, _WRITE_POINTS))


def _extended(laspy: ModuleType, points: Any, header: Any, added: Columns, start: int) -> Any:
    """The points with the added fields; everything else is copied as the integers that the file holds."""
    record = laspy.ScaleAwarePointRecord.zeros(len(points), header=header)
    for name in points.array.dtype.names:
        if name in record.array.dtype.names:
            record.array[name] = points.array[name]
    for name, values in added.items():
        record.array[name] = values[start : start + len(points)]
    return record


def _refuse_waveforms(source: Path, header: Any, evlrs: Sequence[Any]) -> None:
    inside = header.global_encoding.waveform_data_packets_internal
    if inside or any(r.user_id == "LASF_Spec" and r.record_id == 65535 for r in evlrs):
        raise InputError(
            f"{source} stores waveforms inside the file, which cannot be carried over; export it without them first"
        )


LAS = Format("LAS", _header, _chunks, _write)
