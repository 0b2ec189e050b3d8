"""LAS and LAZ: every point format, scaled integers, extra dimensions, reference systems, what stays when written."""

import struct

import numpy as np
import pytest

from pointseg.data.formats import inspect_cloud, read_cloud, write_predictions
from pointseg.errors import InputError
from pointseg.viewing.cloud_file import read_view

laspy = pytest.importorskip("laspy")

WKT = 'PROJCS["Lambert-93",GEOGCS["RGF93"]]'
WITH_COLOR = (2, 3, 5, 7, 8, 10)


def make(path, point_format=6, n=300, version=None, change=lambda las: None):
    """A file whose every field is drawn at random; returns what laspy reads of it."""
    rng = np.random.default_rng(point_format)
    header = laspy.LasHeader(point_format=point_format, version=version)
    header.scales, header.offsets = [0.001, 0.002, 0.0005], [600_000, 6_800_000, -20]
    header.system_identifier, header.file_source_id = "a scanner", 77
    header.add_extra_dims(
        [
            laspy.ExtraBytesParams("height", "i4", "above ground", scales=np.array([0.01]), offsets=np.array([5.0])),
            laspy.ExtraBytesParams("normal", "3f4"),
            laspy.ExtraBytesParams("tree id", "u8"),
        ]
    )
    header.vlrs.append(laspy.VLR("my company", 1234, "kept", b"\x00\x01 anything \xff"))
    las = laspy.LasData(header, laspy.ScaleAwarePointRecord.zeros(n, header=header))
    raw = las.points.array
    fill = np.frombuffer(rng.bytes(n * raw.dtype.itemsize), np.uint8)
    raw[:] = fill.view(raw.dtype)
    raw["normal"] = rng.normal(size=(n, 3))  # random bits could be NaN
    las.X, las.Y, las.Z = rng.integers(-(2**20), 2**20, (3, n))
    las.classification = rng.integers(1, 20, n)
    change(las)
    las.write(str(path))
    return laspy.read(str(path))


def assert_same(old, new):
    """Every field's stored numbers, the header and all records but the list of extra dimensions."""
    for name in old.points.array.dtype.names:
        assert old.points.array[name].tobytes() == new.points.array[name].tobytes(), name
    for name in ("scales", "offsets", "mins", "maxs"):
        np.testing.assert_array_equal(getattr(old.header, name), getattr(new.header, name))
    for name in ("version", "file_source_id", "system_identifier", "generating_software", "creation_date", "uuid"):
        assert getattr(old.header, name) == getattr(new.header, name), name
    assert old.header.point_format.id == new.header.point_format.id
    assert old.header.global_encoding.value == new.header.global_encoding.value
    assert records(old) == records(new)
    for dimension in old.point_format.extra_dimensions:
        other = new.point_format.dimension_by_name(dimension.name)
        for part in ("dtype", "description", "num_elements"):
            assert getattr(dimension, part) == getattr(other, part)
        for part in ("scales", "offsets", "no_data"):
            np.testing.assert_array_equal(getattr(dimension, part), getattr(other, part))


def records(las):
    found = [*las.header.vlrs, *(las.header.evlrs or ())]
    skipped = ("ExtraBytesVlr", "LasZipVlr")
    return [
        (r.user_id, r.record_id, r.description, r.record_data_bytes()) for r in found if type(r).__name__ not in skipped
    ]


@pytest.mark.parametrize("suffix", [".las", ".laz"])
@pytest.mark.parametrize("point_format", range(11))
def test_every_point_format(tmp_path, point_format, suffix):
    if suffix == ".laz" and point_format in (4, 5, 9, 10):
        pytest.skip("no library compresses wave packets")
    path, target = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    old = make(path, point_format)
    found = read_cloud(path)
    scaled = [old.X * 0.001 + 600_000, old.Y * 0.002 + 6_800_000, old.Z * 0.0005 - 20]
    np.testing.assert_allclose(found.coord, np.stack(scaled, axis=1), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(found.intensity, old.intensity)
    np.testing.assert_array_equal(found.label, old.classification)
    assert (found.color is not None) == (point_format in WITH_COLOR)
    if found.color is not None:
        np.testing.assert_array_equal(found.color, np.stack([old.red, old.green, old.blue], axis=1) // 256)
    height = read_cloud(path, label_field="tree id").label
    np.testing.assert_array_equal(height, old["tree id"])
    write_predictions(path, target, np.arange(300) % 9 - 1, entropy=np.linspace(0, 1, 300))
    new = laspy.read(str(target))
    assert_same(old, new)
    np.testing.assert_array_equal(new["pred"], np.arange(300) % 9 - 1)
    np.testing.assert_array_equal(new["entropy"], np.linspace(0, 1, 300).astype(np.float32))


def test_las_becomes_laz_and_back(tmp_path):
    old = make(tmp_path / "a.las", 7)
    write_predictions(tmp_path / "a.las", tmp_path / "b.laz", np.zeros(300, int))
    write_predictions(tmp_path / "b.laz", tmp_path / "c.las", np.ones(300, int))
    assert (tmp_path / "b.laz").read_bytes()[104] == 7 | 0x80
    assert (tmp_path / "c.las").read_bytes()[104] == 7
    for name in ("b.laz", "c.las"):
        assert_same(old, laspy.read(str(tmp_path / name)))
    assert (laspy.read(str(tmp_path / "c.las"))["pred"] == 1).all()


def test_reference_systems(tmp_path):
    def wkt(las):
        las.header.vlrs.append(laspy.vlrs.known.WktCoordinateSystemVlr(WKT))
        las.header.global_encoding.wkt = True

    def extended_wkt(las):
        las.header.evlrs = laspy.vlrs.vlrlist.VLRList([laspy.VLR("LASF_Projection", 2112, "", WKT.encode() + b"\0")])

    def geotiff(*keys):
        data = struct.pack("<4H", 1, 1, 0, len(keys)) + b"".join(struct.pack("<4H", *key) for key in keys)
        return lambda las: las.header.vlrs.append(laspy.VLR("LASF_Projection", 34735, "", data))

    cases = [
        (wkt, 6, WKT),
        (extended_wkt, 6, WKT),
        (geotiff((1024, 0, 1, 1), (3072, 0, 1, 2154), (4096, 0, 1, 5720)), 3, "EPSG:2154+5720"),
        (geotiff((1024, 0, 1, 2), (2048, 0, 1, 4326)), 1, "EPSG:4326"),
        (geotiff((3072, 0, 1, 32767), (1026, 34737, 9, 0)), 1, None),
        (lambda las: None, 6, None),
    ]
    for i, (change, point_format, expected) in enumerate(cases):
        path, target = tmp_path / f"{i}.laz", tmp_path / f"{i} pred.laz"
        make(path, point_format, change=change)
        write_predictions(path, target, np.zeros(300, int))
        assert inspect_cloud(path).crs == inspect_cloud(target).crs == expected
        assert records(laspy.read(str(path))) == records(laspy.read(str(target)))


def test_a_file_that_was_never_classified_has_no_labels(tmp_path):
    def blank(las):
        for name in ("classification", "intensity", "red", "green", "blue"):
            las[name] = np.zeros(len(las), int)

    make(tmp_path / "a.laz", 7, change=blank)
    found = read_cloud(tmp_path / "a.laz")
    assert found.label is found.intensity is found.color is None
    assert found.notes == {
        "classification is 0 throughout: taken as never classified, no labels": 300,
        "intensity is 0 throughout: taken as absent": 300,
        "the colours are 0 throughout: taken as absent": 300,
    }

    def others(las):
        blank(las)
        extra = [laspy.ExtraBytesParams(name, "u2") for name in ("label", "gt", "Reflectance", *"rgb")]
        las.add_extra_dims(extra)
        las.label, las.gt, las.Reflectance = np.arange(300) % 3, np.full(300, 9), np.full(300, 700)
        las.r, las.g, las.b = np.full(300, 512), np.zeros(300), np.full(300, 65535)

    make(tmp_path / "c.laz", 7, change=others)
    found = read_cloud(tmp_path / "c.laz")
    assert (found.label.tolist(), found.label_field) == ([0, 1, 2] * 100, "label")
    assert set(found.intensity) == {700}
    assert set(map(tuple, found.color.tolist())) == {(2, 0, 255)}
    assert found.notes == dict.fromkeys(
        [
            "classification is 0 throughout: taken as never classified, label read instead",
            "intensity is 0 throughout: Reflectance read instead",
            "the colours are 0 throughout: r g b read instead",
            "labels from label, not from gt",
            "colours reach beyond 255: taken as 16 bit and divided by 256",
        ],
        300,
    )
    assert not read_cloud(tmp_path / "c.laz", label_field="classification").label.any(), "asked for by name"

    def last_only(las):
        blank(las)
        las.classification[-1], las.intensity[-1], las.blue[-1] = 2, 1, 9

    make(tmp_path / "b.laz", 7, change=last_only)
    found = read_cloud(tmp_path / "b.laz")
    assert found.label.tolist() == [0] * 299 + [2]
    assert found.intensity[-1] == 1
    assert found.color[-1].tolist() == [0, 0, 9], "nothing above 255: 8 bit"


SPARE = {
    "class": ("f4", [1, np.nan, np.nan]),
    "label": ("f8", [1, 2.5, 3]),
    "segment": ("u2", [0, 0, 0]),
    "category": ("f4", [4, 5, 6]),
    "gt": ("u8", [2**60, 8, 9]),
    "Intensities": ("f4", [0, np.nan, 0]),
    "Reflectance": ("f4", [0, 0, 3]),
    "r": ("f4", [0, 0, 0]),
    "g": ("u1", [0, 0, 0]),
    "b": ("u1", [0, 0, 0]),
}


@pytest.fixture
def unclassified(tmp_path):
    """Writes 3 points that only extra dimensions say more of."""

    def write(*names):
        header = laspy.LasHeader(point_format=7)
        header.add_extra_dims([laspy.ExtraBytesParams(name, SPARE[name][0]) for name in names])
        las = laspy.LasData(header, laspy.ScaleAwarePointRecord.zeros(3, header=header))
        las.X = [0, 1, 2]
        for name in names:
            las[name] = np.array(SPARE[name][1], SPARE[name][0])
        las.write(str(tmp_path / "spare.las"))
        return tmp_path / "spare.las"

    return write


@pytest.mark.parametrize("names", [("class",), ("label",), ("class", "label", "segment")])
def test_a_spare_column_that_is_no_label_is_no_reason_to_refuse_a_file(unclassified, names):
    path = unclassified(*names)
    found = read_cloud(path)
    assert found.label is found.label_field is None
    text = dict.fromkeys(names, "it has values that are no whole numbers") | {"segment": "it is 0 throughout"}
    assert found.notes == dict.fromkeys(
        [
            "classification is 0 throughout: taken as never classified, no labels",
            *(f"{name}: not taken as labels, {text[name]}" for name in names),
            "intensity is 0 throughout: taken as absent",
            "the colours are 0 throughout: taken as absent",
        ],
        3,
    )
    assert read_view(path).num_points == 3
    with pytest.raises(InputError, match="class ids are whole numbers"):
        read_cloud(path, label_field=names[0])


def test_the_first_spare_column_that_holds_something_is_taken(unclassified, monkeypatch):
    found = read_cloud(unclassified(*SPARE))
    assert (found.label.tolist(), found.label_field) == ([4, 5, 6], "category")
    assert found.intensity.tolist() == [0, 0, 3]
    assert found.color is None
    assert "labels from category, not from gt" in found.notes
    assert "the colours are 0 throughout: taken as absent" in found.notes
    monkeypatch.setitem(SPARE, "r", ("f4", [0, np.nan, 900]))
    found = read_cloud(unclassified(*"rgb"))
    assert found.color is None
    assert "r g b: not taken as colours, they have values that are none" in found.notes
    assert read_cloud(unclassified("segment", "gt")).label.tolist() == [2**60, 8, 9]


def patched(path, offset, kind, *values):
    data = bytearray(path.read_bytes())
    struct.pack_into(kind, data, offset, *values)
    path.write_bytes(data)


@pytest.mark.parametrize("suffix", [".las", ".laz"])
@pytest.mark.parametrize(
    ("point_format", "offset", "kind", "value"),
    [
        (3, 107, "<I", 4_000_000_000),
        (3, 107, "<I", 301),
        (6, 247, "<Q", 10**15),
        (6, 100, "<I", 4_000_000_000),
        (6, 243, "<I", 4_000_000_000),
        (6, 96, "<I", 4_000_000_000),
        (6, 104, "<B", 99),
    ],
)
def test_headers_that_promise_what_is_not_there(tmp_path, suffix, point_format, offset, kind, value):
    path = tmp_path / f"a{suffix}"
    make(path, point_format)
    patched(path, offset, kind, value)
    with pytest.raises(InputError, match=r"a\.la[sz]"):
        read_cloud(path)


def test_a_header_with_oddities_stays_as_it_is(tmp_path):
    """No date, and a scanner's name that is not ASCII."""
    make(tmp_path / "a.laz")
    patched(tmp_path / "a.laz", 90, "<HH", 0, 0)
    patched(tmp_path / "a.laz", 26, "32s", "Gerät".encode("latin1"))
    write_predictions(tmp_path / "a.laz", tmp_path / "b.laz", np.zeros(300, int))
    # Up to the place of the points; behind it come counts, offsets and bounds.
    assert (tmp_path / "b.laz").read_bytes()[:96] == (tmp_path / "a.laz").read_bytes()[:96]


def test_waveforms_inside_the_file_are_refused_for_writing(tmp_path):
    def inside(las):
        las.header.global_encoding.waveform_data_packets_internal = True

    make(tmp_path / "a.las", 4, change=inside)
    assert len(read_cloud(tmp_path / "a.las").coord) == 300
    with pytest.raises(InputError, match="waveforms inside the file"):
        write_predictions(tmp_path / "a.las", tmp_path / "b.las", np.zeros(300, int))


def test_a_field_of_our_name_that_is_not_ours(tmp_path):
    def own(las):
        las.add_extra_dim(laspy.ExtraBytesParams("confidence", "u1", "of the scanner"))

    make(tmp_path / "a.laz", 6, change=own)
    write_predictions(tmp_path / "a.laz", tmp_path / "b.laz", np.zeros(300, int))
    with pytest.raises(InputError, match="has a field confidence of its own"):
        write_predictions(tmp_path / "a.laz", tmp_path / "c.laz", np.zeros(300, int), confidence=np.zeros(300))
