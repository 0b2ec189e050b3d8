"""The page's payload, unpacked here without the page's own code; what is kept; what must not get out."""

from __future__ import annotations

import base64
import html.parser
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest

from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.html import live_page, pair_html, scene_html
from pointseg.viewing.payload import pack_scene
from pointseg.viewing.thinning import morton_codes, select_points

NASTY = "</script><script>document.body.dataset.hacked=1</script><!--<img src=x onerror=1>&\u2028'\""
CLASSES = Classes("toy", ("floor", NASTY, "{{payload}}"), np.array([[1, 2, 3], [9, 8, 7], [0, 255, 0]], np.uint8), ())


def unit_vectors(n: int) -> np.ndarray:
    vectors = np.random.default_rng(4).normal(size=(n, 3))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def scene(n: int = 4000, **parts) -> Cloud:
    rng = np.random.default_rng(3)
    gt = rng.integers(-1, 3, n)
    given = {
        "coord": (rng.random((n, 3)) * [30, 20, 5] - [7, 0, 1]).astype(np.float32),
        "color": rng.integers(0, 256, (n, 3)).astype(np.uint8),
        "gt": gt,
        "pred": np.where(rng.random(n) < 0.1, rng.integers(0, 3, n), gt),
        "confidence": rng.random(n).astype(np.float32),
        "entropy": (rng.random(n) * 1.2).astype(np.float32),
        "pseudo": rng.integers(-1, 3, n),
        "annotated": np.where(rng.random(n) < 0.01, gt, -1),
        "normal": unit_vectors(n),
        "name": "a scene",
    }
    return Cloud(**(given | parts))


def unpack(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """The page's header and fields, decoded from its text."""
    text = path.read_text(encoding="utf-8")
    header = json.loads(re.search(r'<script type="application/json" id="header">(.*?)</script>', text, re.S)[1])
    packed = base64.b64decode(re.search(r'<script type="text/plain" id="payload">(.*?)</script>', text, re.S)[1])
    raw, fields, at = zlib.decompress(packed, wbits=-15), {}, 0
    for field in header["fields"]:
        kind = np.dtype({"u1": "u1", "u2": "<u2"}[field["dtype"]])
        count = header["shown"] * field["width"]
        values = np.frombuffer(raw, kind, count, at)
        at += count * kind.itemsize
        if field["delta"]:
            values = np.cumsum(values.reshape(field["width"], -1).astype(np.int64), axis=1).T % 65536
        fields[field["name"]] = values.reshape(-1, field["width"]).squeeze()
    assert at == len(raw)
    return header, fields


def test_the_payload_is_the_cloud(tmp_path):
    cloud = scene()
    header, fields = unpack(scene_html(tmp_path / "a.html", cloud, CLASSES))
    step = np.array(header["step"])
    assert (header["shown"], header["total"], header["note"]) == (4000, 4000, "")
    np.testing.assert_allclose(step, np.ptp(cloud.coord, axis=0) / 65535, rtol=1e-6)
    order = np.argsort(morton_codes(cloud.coord), kind="stable")
    position = np.array(header["origin"]) + fields["xyz"] * step
    assert (np.abs(position - cloud.coord[order]) <= step / 2 + 2e-6).all()
    np.testing.assert_array_equal(fields["rgb"], cloud.color[order])
    for part in ("gt", "pred", "pseudo", "annotated"):
        np.testing.assert_array_equal(
            np.where(fields[part] == header["none"], -1, fields[part].astype(int)), getattr(cloud, part)[order]
        )
    assert np.abs(fields["confidence"] / 255 - cloud.confidence[order]).max() <= 0.5 / 255 + 1e-6
    # Even chances for three classes are the most; what is above (rounding, in files) counts as that.
    assert header["entropy_max"] == pytest.approx(np.log(3))
    entropy = fields["entropy"] / 255 * np.log(3)
    assert np.abs(entropy - np.minimum(cloud.entropy[order], np.log(3))).max() <= 0.5 / 255 * np.log(3) + 1e-6
    assert np.abs(fields["normal"] / 127.5 - 1 - cloud.normal[order]).max() <= 0.5 / 127.5 + 1e-6


def test_counts_and_scores_are_those_of_the_whole_cloud(tmp_path):
    metrics = pytest.importorskip("sklearn.metrics")
    cloud = scene()
    header, _ = unpack(scene_html(tmp_path / "a.html", cloud, CLASSES, max_points=500))
    known = cloud.gt >= 0
    iou = metrics.jaccard_score(cloud.gt[known], cloud.pred[known], labels=range(3), average=None)
    np.testing.assert_allclose([c["iou"] for c in header["classes"]], iou)
    assert header["miou"] == pytest.approx(iou.mean())
    assert [c["gt"] for c in header["classes"]] == [int((cloud.gt == k).sum()) for k in range(3)]
    assert [c["annotated"] for c in header["classes"]] == [int((cloud.annotated == k).sum()) for k in range(3)]
    parts = ("gt", "pred", "pseudo", "annotated")
    assert header["ignored"] == {part: int((getattr(cloud, part) == -1).sum()) for part in parts}
    assert header["annotated"] == int((cloud.annotated >= 0).sum())
    assert header["wrong"] == pytest.approx((cloud.error == 1).sum() / known.sum())


def test_only_what_exists_is_stored(tmp_path):
    bare = Cloud(np.random.default_rng(0).random((50, 3)), name="bare")
    header, fields = unpack(scene_html(tmp_path / "a.html", bare, CLASSES))
    assert list(fields) == ["xyz"]
    assert [mode["id"] for mode in header["modes"]] == ["height"]
    assert (header["miou"], header["wrong"]) == (None, None)


@pytest.mark.parametrize("n", [500, 5_000, 50_000, 500_000])
def test_spacing_is_the_distance_between_neighbours(n):
    """Of points spread over ten metres square each has a hundred n-th square metres."""
    flat = np.random.default_rng(0).random((n, 3)) * [10, 10, 0]
    slanted = flat @ np.array([[1, 0, 0], [0, 0.6, 0.8], [0, 0, 0]])
    for coord in (flat, slanted):
        header, _ = pack_scene(Cloud(coord), CLASSES)
        assert header["spacing"] == pytest.approx(np.sqrt(100 / n), rel=0.3)


def test_many_classes_take_two_bytes(tmp_path):
    many = Classes("many", tuple(map(str, range(300))), np.zeros((300, 3), np.uint8), ())
    cloud = Cloud(np.random.default_rng(0).random((600, 3)), gt=np.arange(600) // 2 - 1)
    header, fields = unpack(scene_html(tmp_path / "a.html", cloud, many))
    assert header["none"] == 300
    assert sorted(set(fields["gt"].tolist())) == [*range(299), 300]


def test_a_pair_holds_both_and_says_which_is_which(tmp_path):
    first, second = scene(), scene(3000, offset=(5, 0, 0))
    path = pair_html(tmp_path / "pair.html", (first, second), ("runs/a", "runs/b"), CLASSES, mode="error", dark=True)
    text = path.read_text(encoding="utf-8")
    header = json.loads(re.search(r'id="header">(.*?)</script>', text, re.S)[1])
    payloads = re.search(r'id="payload">(.*?)</script>', text, re.S)[1].split(",")
    assert header["start"] == {"mode": "error", "dark": True}
    for cloud, source, stated, payload in zip(
        (first, second), ("runs/a", "runs/b"), header["pair"], payloads, strict=True
    ):
        alone, packed = pack_scene(cloud, CLASSES)
        assert stated == json.loads(json.dumps(alone)) | {"source": source}
        assert base64.b64decode(payload) == packed


def test_only_the_live_page_can_reach_its_server(tmp_path):
    clouds = [{"id": 0, "name": NASTY, "source": "runs/a"}]
    live = live_page(clouds)
    header = json.loads(re.search(r'id="header">(.*?)</script>', live, re.S)[1])
    assert (header["live"], header["clouds"]) == (True, clouds)
    assert re.search(r"content=\"default-src 'none'; connect-src 'self'; script-src", live)
    assert not re.search(r"https?://|url\(|@import|XMLHttpRequest|WebSocket|\bimport\(", live)
    assert live.count("<script") == scene_html(tmp_path / "a.html", scene(), CLASSES).read_text("utf-8").count(
        "<script"
    )
    with pytest.raises(InputError, match="no colouring 'heigth'"):
        live_page(clouds, mode="heigth")


def test_a_single_point(tmp_path):
    header, fields = unpack(scene_html(tmp_path / "a.html", Cloud(np.array([[3.0, 4, 5]])), CLASSES))
    assert (header["origin"], fields["xyz"].tolist()) == ([3, 4, 5], [0, 0, 0])


def test_above_the_budget_errors_and_annotations_come_first():
    cloud = scene(20_000)
    must = np.flatnonzero((cloud.error == 1) | (cloud.annotated >= 0))
    selection = select_points(cloud, 5000)
    assert len(selection.index) == len(set(selection.index.tolist())) == 5000
    assert np.isin(must, selection.index).all()
    assert re.fullmatch(
        r"showing 5,000 of 20,000 points: all \d+ annotated and all [\d,]+ wrong, .* denser .*", selection.note
    )
    # The rest is even: every eighth of the scene keeps its share.
    rest = np.setdiff1d(np.arange(20_000), must)
    kept = np.intersect1d(selection.index, rest)
    octant = (cloud.coord > np.median(cloud.coord, axis=0)) @ [1, 2, 4]
    shares = np.bincount(octant[kept], minlength=8) / np.bincount(octant[rest], minlength=8)
    assert np.ptp(shares) < 0.03


def test_a_budget_smaller_than_the_errors_says_so():
    cloud = scene(20_000)
    annotated = np.flatnonzero(cloud.annotated >= 0)
    selection = select_points(cloud, len(annotated) + 100)
    assert np.isin(annotated, selection.index).all()
    assert (cloud.error[np.setdiff1d(selection.index, annotated)] == 1).all()
    assert re.search(r"all \d+ annotated and 100 of [\d,]+ wrong", selection.note)
    assert "2.1 M" in select_points(Cloud(np.zeros((2_100_000, 3))), 10).note
    with pytest.raises(InputError, match="at least 1"):
        select_points(cloud, 0)


def test_morton_codes_interleave_bits():
    corner = np.array([[0, 0, 0], [65535, 65535, 65535]], float)
    inside = np.random.default_rng(0).integers(0, 65536, (20, 3))
    codes = morton_codes(np.concatenate([corner, inside]))
    cells = np.clip(np.floor(inside / 65535 * 65536), 0, 65535).astype(int)
    for code, cell in zip(codes[2:], cells, strict=True):
        assert int(code) == sum(
            ((int(cell[axis]) >> bit) & 1) << (3 * bit + axis) for axis in range(3) for bit in range(16)
        )


class Tags(html.parser.HTMLParser):
    """Collects start tags with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_names_cannot_break_out_and_nothing_is_loaded(tmp_path):
    page = scene_html(tmp_path / "a.html", scene(name=NASTY), CLASSES).read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    plain = Tags()
    plain.feed(scene_html(tmp_path / "b.html", scene(name="x"), CLASSES).read_text(encoding="utf-8"))
    assert [tag for tag, _ in tags.found] == [tag for tag, _ in plain.found]
    header, _ = unpack(tmp_path / "a.html")
    assert (header["name"], header["classes"][1]["name"], header["classes"][2]["name"]) == (NASTY, NASTY, "{{payload}}")
    loads = {"src", "href", "srcset", "data", "action", "poster"}
    assert not [attrs for _, attrs in tags.found if loads & set(attrs)]
    assert not re.search(r"https?://|url\(|@import|\bfetch\(|XMLHttpRequest|WebSocket|\bimport\(", page)
    assert "default-src 'none'" in page
    assert "connect-src" not in page


def test_refusals(tmp_path):
    with pytest.raises(InputError, match="no points"):
        scene_html(tmp_path / "a.html", Cloud(np.zeros((0, 3))), CLASSES)
    with pytest.raises(InputError, match="make it first"):
        scene_html(tmp_path / "absent" / "a.html", scene(), CLASSES)
    with pytest.raises(InputError, match="class id 3"):
        scene_html(tmp_path / "a.html", scene(pred=np.full(4000, 3)), CLASSES)
    assert not list(tmp_path.iterdir())
