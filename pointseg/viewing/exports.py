"""Clouds as LAS and LAZ files with named fields, which CloudCompare, QGIS and potree open as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pointseg.atomic import replacing_file
from pointseg.data.classes import Classes
from pointseg.data.formats.format import no_extra
from pointseg.errors import InputError
from pointseg.viewing.cloud import COARSEST_STEP, Cloud
from pointseg.viewing.colors import check_classes, colorize
from pointseg.viewing.fields import LABEL_FIELDS
from pointseg.viewing.holding import MAX_HELD

_SCALE = 0.001  # metres
_PREFIX = "pointseg: "  # marks the fields that 'pointseg predict' may replace
_NORMALS = ("NormalX", "NormalY", "NormalZ")
_PROJECTION, _WKT = "LASF_Projection", 2112


def baked(cloud: Cloud, classes: Classes, mode: str) -> Cloud:
    """The cloud with the colours of one of the colourings as its own.

    Raises:
        InputError: as ``colorize``.
    """
    return replace(cloud, color=colorize(cloud, mode, classes))


def check_complete(cloud: Cloud) -> None:
    """Refuse to export a share of a scene: the file would pass for the scene, and wrong points would be too many in it.

    Raises:
        InputError: naming how many points are held.
    """
    if cloud.whole is not None:
        raise InputError(
            f"{cloud.name} has {cloud.total_points:,} points, and an export holds at most {MAX_HELD:,}; predictions on "
            "all of them are written by 'pointseg predict', for anything else cut the scan into parts."
        )


def check_precise(cloud: Cloud) -> None:
    """Refuse to export positions that are not held to a millimetre: the file would pass for the scan's own.

    Raises:
        InputError: naming how far the cloud reaches and to what its points would be rounded.
    """
    if cloud.step > COARSEST_STEP:
        raise InputError(
            f"{cloud.name} reaches {cloud.reach:,.0f} m from its offset, so positions in an export would be rounded to "
            f"{cloud.step:.1g} m; cut the scan into parts below 16 km, or remove stray points."
        )


def write_las(
    path: str | Path, cloud: Cloud, classes: Classes, *, crs: Path | str | None = None, note: str = ""
) -> dict[int, str]:
    """Write ``cloud`` as a LAS 1.4 file, compressed if ``path`` ends in ``.laz``.

    Coordinates are the scan's own, in whole millimetres. Labels are extra fields named as in the cloud; the predicted
    class (without one the true class) is also the ``classification``, which QGIS and potree colour by: there, and only
    there, classes have the numbers of their source ids, such as those of ASPRS, if all have one, else their place in
    ``classes``. A point without a class has the largest value (255, or 31 in files with GeoTIFF keys); where the
    classes do not fit under that, the classification stays 0. Colours are 16 bit, each the 8-bit value times 257.

    Args:
        path: the file, ending in ``.las`` or ``.laz``; written under a temporary name and renamed.
        cloud: N points.
        classes: names of the class ids; they go into the header's classification lookup, as 15 ascii letters.
        crs: the reference system: a LAS or LAZ file whose records are taken over, or WKT; None = none.
        note: what the colours are, if they are not the scan's own; stored in the header.

    Returns:
        What the classification's values stand for; empty where it is 0 throughout.

    Raises:
        InputError: another ending, no points, a share of a scene, points not held to a millimetre, ids that ``classes``
            lacks, no folder, or laspy is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in (".las", ".laz"):
        raise InputError(f"{path} does not end in .las or .laz; name the file so.")
    if cloud.num_points == 0:
        raise InputError(f"the cloud {cloud.name!r} has no points, so there is nothing to write.")
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} of {path.name} does not exist; make it first.")
    check_complete(cloud)
    check_precise(cloud)
    check_classes(cloud, classes)
    laspy = _laspy(path)
    records = _reference_records(laspy, path, crs)
    geotiff = bool(records) and all(record.record_id != _WKT for record in records)
    coord = cloud.coord.astype(np.float64) + np.array(cloud.offset)
    # GeoTIFF keys are not allowed with the newer point formats, nor classes above 31 in the older ones.
    kinds, largest = ((0, 2), 31) if geotiff else ((6, 7), 255)
    header = laspy.LasHeader(point_format=kinds[cloud.color is not None], version="1.4")
    header.scales, header.offsets = [_SCALE] * 3, np.floor(coord.min(axis=0))
    header.generating_software, header.system_identifier = "pointseg", note[:32]
    header.vlrs.extend(records)
    header.global_encoding.wkt = not geotiff
    las = laspy.LasData(header)
    las.x, las.y, las.z = coord.T
    if cloud.color is not None:
        las.red, las.green, las.blue = cloud.color.T.astype(np.uint16) * 257
    _add_fields(laspy, las, cloud)
    ids = cloud.gt if cloud.pred is None else cloud.pred
    values = _class_numbers(classes, largest)
    names = dict(zip(values, classes.names, strict=True)) if ids is not None and values else {}
    if names:
        # The last entry is that of -1.
        las.classification = np.array([*values, largest], dtype=np.uint8)[ids]
        las.header.vlrs.append(_lookup(laspy, names))
    with replacing_file(path) as unfinished:
        las.write(str(unfinished), do_compress=path.suffix.lower() == ".laz")
    return names


def _class_numbers(classes: Classes, largest: int) -> list[int]:
    """A number below ``largest`` for each class: its first source id where all have one, else its place."""
    first = [sources[0] if sources else None for sources in classes.source_ids]
    given = [number for number in first if isinstance(number, int) and 0 <= number < largest]
    if len(set(given)) == classes.num_classes:
        return given
    return list(range(classes.num_classes)) if classes.num_classes <= largest else []


def _add_fields(laspy: ModuleType, las: Any, cloud: Cloud) -> None:
    present = {name: getattr(cloud, name) for name in LABEL_FIELDS if getattr(cloud, name) is not None}
    params = [
        laspy.ExtraBytesParams(name, np.dtype(kind), description=_PREFIX + meaning)
        for name, (kind, meaning) in LABEL_FIELDS.items()
        if name in present
    ]
    if cloud.normal is not None:
        params += [laspy.ExtraBytesParams(name, np.dtype("f4")) for name in _NORMALS]
        present |= dict(zip(_NORMALS, cloud.normal.T, strict=True))
    if not params:
        return
    las.add_extra_dims(params)
    for name, values in present.items():
        las[name] = values


def _lookup(laspy: ModuleType, names: dict[int, str]) -> Any:
    record = laspy.vlrs.known.ClassificationLookupVlr()
    for number, name in names.items():
        record[number] = name.encode("ascii", "replace")[:15].decode()
    return record


def _reference_records(laspy: ModuleType, path: Path, crs: Path | str | None) -> Sequence[Any]:
    """The records that hold the reference system; WKT alone where a file has both kinds."""
    if crs is None:
        return []
    if isinstance(crs, str):
        return [laspy.VLR(_PROJECTION, _WKT, "WKT", crs.encode() + b"\0")]
    with laspy.open(crs) as reader:
        found = [*reader.header.vlrs, *(reader.header.evlrs or ())]
    ours = [record for record in found if record.user_id.strip("\0 ") == _PROJECTION]
    wkt = [record for record in ours if record.record_id == _WKT]
    return wkt or ours


def _laspy(path: Path) -> ModuleType:
    try:
        import laspy
    except ImportError as error:
        raise no_extra(path, "laspy", "las") from error
    return laspy
