"""What the benchmark says about the time of a training step; no time is asserted."""

import re

import pytest
import torch
from methods_bench import cost
from methods_bench.cells import BASELINE, ROOMS, Variant

SMALL = (
    "data.voxel_size=0.1",
    "data.train_splits=[Area_1, Area_2]",
    "data.eval_splits=[Area_5]",
    "model.planes=[8, 8, 8, 8, 8, 8, 8, 8]",
    "model.init_dim=8",
)


def test_every_method_takes_a_step_and_is_compared_with_supervised_only(rooms_root, tmp_path, monkeypatch):
    (tmp_path / "synthetic").symlink_to(rooms_root)
    monkeypatch.setattr(cost, "ROOMS", (*ROOMS, *SMALL))
    monkeypatch.setattr(cost, "prepare", lambda *_: None)
    # Translating the network takes longer than all methods together; the row is made as the others are.
    monkeypatch.setattr(cost, "COMPILED", Variant("one more", BASELINE))
    text = cost.report(tmp_path, rounds=2, device=torch.device("cpu"))
    rows = dict(re.findall(r"^\| (.+?) \| [\d.]+ \| ([\d.]+) \|$", text, re.MULTILINE))
    timed = {variant.name for variant in cost.METHODS if not variant.settings}
    assert set(rows) == timed | {"one more"}
    assert {"erda", "query_erda", "u2pl", "u2pl_plus", "mllc", "pseudo_label", "mean_teacher"} < timed
    assert rows[BASELINE] == "1.00"


@pytest.mark.parametrize(("seconds", "verdict"), [(1.09, "met"), (1.11, "missed")])
def test_the_bar_is_a_ratio_to_supervised_only(seconds, verdict):
    text = cost._table({BASELINE: 2.0, "erda": 2 * seconds}, rounds=1)
    assert text.endswith(f"ERDA {seconds}x supervised-only, bar <= 1.10x: {verdict}")
    assert f"| erda | {2 * seconds:.3f} | {seconds} |" in text
