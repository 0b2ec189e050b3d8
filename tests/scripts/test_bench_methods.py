"""The parts of the methods benchmark that decide what is compared and what is said about it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from methods_bench import claims, curves, results, tables, version
from methods_bench.cells import BASELINE, CLAIMS, Cell, Suite, Variant, cells, narrowed, suites
from methods_bench.prepare import labels_name
from methods_bench.training import Trainer
from scipy import stats

from pointseg.errors import InputError
from pointseg.training import load_recipe

SPLITS = ("data.train_splits=[Area_1, Area_2]", "data.eval_splits=[Area_5]")
SUITE = Suite("claims", "rooms", "claims", ("1pt", "0.1%"), SPLITS, CLAIMS)


def finish(out, cell, miou, best=None, code="abc"):
    files = {"checkpoints/final/state.json": miou, "checkpoints/best/state.json": miou if best is None else best}
    files["evaluation/final_Area_1-Area_2.json"] = miou + 7
    for name, value in files.items():
        file = cell.run(out) / name
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"miou": value / 100, "oacc": (value + 20) / 100}))
    cell.origin_file(out).write_text(f"{code} {version.settings_version(cell)}\n")


def test_a_run_folder_belongs_to_one_training_and_every_seed_to_its_own_draw():
    trainings = {}
    for cell in cells(list(suites().values()), seeds=3):
        settings = (cell.suite.data, cell.variant.recipe, cell.suite.settings, cell.variant.settings, labels_name(cell))
        assert trainings.setdefault(cell.run(Path("out")), settings) == settings
        name = labels_name(cell)
        assert name == cell.rule if cell.rule.startswith(("points", "full")) else name.endswith(f"_seed{cell.seed}")
    planned = cells(list(suites().values()), seeds=3)
    assert [cell.seed for cell in planned] == sorted(cell.seed for cell in planned)


def test_every_row_is_a_recipe_and_cells_of_a_suite_differ_in_the_method_alone():
    for suite in suites().values():
        configs = {v.name: load_recipe(f"synthetic_{v.recipe}", [*suite.settings, *v.settings]) for v in suite.variants}
        shared = {
            (c.data, c.augment, c.model, c.optimizer, c.steps, c.batch_size, c.eval_every) for c in configs.values()
        }
        assert len(shared) == 1
        assert len({repr((c.method, c.loss, c.ema_momentum)) for c in configs.values()}) == len(configs)


def test_paired_difference_is_the_paired_t_interval():
    values, reference = [44.1, 39.0, 47.5, 41.2], [42.0, 38.5, 43.0, 42.1]
    found = tables.paired(values, reference)
    interval = stats.ttest_rel(values, reference).confidence_interval(0.95)
    assert found.mean - found.half == pytest.approx(interval.low)
    assert found.mean + found.half == pytest.approx(interval.high)
    assert found.separated == (interval.low > 0 or interval.high < 0)
    assert not tables.paired([1.0], [0.0]).separated


def test_table_pairs_by_seed_and_shows_final_and_best(tmp_path):
    variants = (Variant("supervised", "supervised"), Variant("erda", "erda"))
    suite = Suite("toy", "rooms", "toy", ("1pt",), SPLITS, variants)
    for seed, (supervised, erda) in enumerate([(40.0, 42.0), (30.0, 33.0), (35.0, 36.0)]):
        finish(tmp_path, Cell(suite, "1pt", suite.variants[0], seed), supervised, best=supervised + 1)
        if seed != 1:
            finish(tmp_path, Cell(suite, "1pt", suite.variants[1], seed), erda)
    rows = [line.split(" | ") for line in tables.table(tmp_path, suite, "1pt", seeds=3).splitlines()[2:]]
    assert rows[0][:2] == ["| supervised", f"35.0 +- {np.std([40, 30, 35], ddof=1):.1f}"]
    assert rows[0][3:-1:2] == ["36.0 +- 5.0", "55.0 +- 5.0", "42.0 +- 5.0"]
    assert rows[1][1] == f"39.0 +- {np.std([42, 36], ddof=1):.1f}"
    assert rows[1][2].startswith("+1.5 +- 6.4")
    assert rows[1][2:-1:2] == [rows[1][2], "+0.5 +- 6.4", rows[1][2], rows[1][2]]
    assert [row[-1] for row in rows] == ["3 |", "2 |"]
    same = Suite("toy", "rooms", "toy", ("1pt",), (SPLITS[0], SPLITS[0].replace("train", "eval")), variants)
    assert "own rooms" not in tables.table(tmp_path, same, "1pt", seeds=3)


def test_overview_pairs_the_means_over_rules_seed_by_seed(tmp_path):
    variants = (Variant("supervised", "supervised"), Variant("erda", "erda"), Variant("mllc", "mllc"))
    suite = Suite("toy", "rooms", "toy", ("1pt", "1%"), SPLITS, variants)
    scores = {  # by rule, then method: seeds 0, 1, 2
        "1pt": {"supervised": [40.0, 30.0, 35.0], "erda": [44.0, 31.0, 36.0], "mllc": [41.0]},
        "1%": {"supervised": [60.0, 52.0, 57.0], "erda": [59.0, 54.5, 59.0]},
    }
    for rule, by_name in scores.items():
        for variant in variants:
            for seed, miou in enumerate(by_name.get(variant.name, [])):
                finish(tmp_path, Cell(suite, rule, variant, seed), miou)
    rows = [line.strip("|").split("|") for line in tables.overview(tmp_path, suite, seeds=3).splitlines()]
    assert [[cell.strip() for cell in row] for row in (rows[0], rows[2])] == [
        ["method", "1pt", "1%", "mean of these"],
        ["supervised", "35.0 +- 5.0", "56.3 +- 4.0", "45.7 +- 4.5"],
    ]
    gains = np.array([[4.0, 1.0, 1.0], [-1.0, 2.5, 2.0]])
    for cell, expected in zip(rows[3][1:], (*gains, gains.mean(axis=0)), strict=True):
        interval = stats.ttest_1samp(expected, 0).confidence_interval(0.95)
        text = f"{expected.mean():+.1f} +- {interval.high - expected.mean():.1f}"
        assert cell.strip() == (f"**{text}**" if interval.low > 0 else text)
    assert [cell.strip() for cell in rows[4]] == ["mllc", "+1.0", "", ""]
    assert tables.overview(tmp_path / "elsewhere", suite, seeds=3) == "not trained yet"


def everything(tmp_path, means):
    """Finish every variant of the claims with its mean and a little spread that all variants share."""
    for variant in CLAIMS:
        for seed in range(3):
            finish(tmp_path, Cell(SUITE, "1pt", variant, seed), means.get(variant.name, 40.0) + seed)
    return dict(
        line.strip("| ").split(" | ")[::2] for line in claims.verdicts(tmp_path, SUITE, "1pt", 3).splitlines()[2:]
    )


AS_PUBLISHED = {
    "supervised": 59.8, "plain_top64": 64.5, "plain_top500": 64.9, "plain_top2000": 65.5, "plain": 67.2,
    "one_hot_top64": 63.1, "one_hot_top500": 63.3, "one_hot_top2000": 63.0, "one_hot": 62.7,
}  # fmt: skip


def test_claims_hold_on_the_published_figure_and_fail_where_it_is_turned_round(tmp_path):
    assert set(everything(tmp_path / "published", AS_PUBLISHED).values()) == {"yes"}
    flat = everything(tmp_path / "flat", {"one_hot": 41.0})
    assert flat["one-hot detached pseudo-labels peak and fall"] == "no"
    assert flat["ERDA beats supervised-only"] == "no, within noise"
    fallen = everything(tmp_path / "fallen", AS_PUBLISHED | {"plain": 65.0})
    assert fallen["ERDA is best with all points"] == "no"
    assert fallen["ERDA beats supervised-only"] == "yes"


def test_a_suite_is_asked_only_about_the_claims_it_has_every_variant_of(tmp_path):
    everything(tmp_path, AS_PUBLISHED)
    chosen = narrowed(SUITE, [], ["supervised", "plain", "er_only"])
    told = claims.verdicts(tmp_path, chosen, "1pt", 3).splitlines()[2:]
    assert [line.split(" | ")[0] for line in told] == [
        "| ERDA beats supervised-only", "| ERDA beats entropy regularisation alone"
    ]  # fmt: skip
    assert claims.about(narrowed(SUITE, [], ["supervised", "er_only"])) == []
    assert {claim.sentence for claim in claims.about(suites()["long"])} > {"ERDA beats supervised-only"}


def test_claims_not_trained_yet_say_so(tmp_path):
    assert claims.verdicts(tmp_path, SUITE, "1pt", 3).count("not trained yet") == len(claims.CLAIMS)


def test_a_cell_is_trained_once_and_a_failing_one_is_reported(rooms_root, tmp_path):
    (tmp_path / "rooms").symlink_to(rooms_root)
    settings = ("data.voxel_size=0.1", "model.planes=[8, 8, 8, 8, 8, 8, 8, 8]", "model.init_dim=8", "steps=2",
                "optimizer.warmup_steps=1", "data.train_splits=[Area_1]", "data.eval_splits=[Area_5]")  # fmt: skip
    variants = (Variant("supervised", "supervised"), Variant("wrong", "erda", ("method.weight=-1",)))
    suite = Suite("toy", "rooms", "toy", ("1pt",), settings, variants)
    planned = cells([suite], seeds=1)
    failed = Trainer(tmp_path, jobs=2, device="cpu").train(planned)
    assert [cell.variant.name for cell in failed] == ["wrong"]
    assert "ERDA's weight is -1" in planned[1].run(tmp_path).with_suffix(".log").read_text()
    scores = results.scores(tmp_path, planned[0])
    assert set(scores) == {"final", "best", "accuracy", "own"}
    assert [key[2] for key in results.read(tmp_path)] == ["supervised"]
    assert not list((planned[0].run(tmp_path) / "checkpoints").glob("step_*"))
    before = planned[0].run(tmp_path).with_suffix(".log").stat().st_mtime_ns
    assert Trainer(tmp_path, jobs=1, device="cpu").train(planned[:1]) == []
    assert planned[0].run(tmp_path).with_suffix(".log").stat().st_mtime_ns == before


def test_the_record_prints_the_same_tables_elsewhere_and_spares_its_cells_there(tmp_path):
    variants = (Variant("supervised", "supervised"), Variant("erda", "erda"))
    suite = Suite("toy", "rooms", "toy", ("1pt", "0.1%"), SPLITS, variants)
    planned = cells([suite], seeds=2)
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    for cell, miou in zip(planned[:-1], np.random.default_rng(0).uniform(20, 60, len(planned) - 1), strict=True):
        finish(here, cell, miou, best=miou + 2)
    results.record(here, planned)
    (here / "scores.csv").rename(there / "scores.csv")
    for rule in suite.rules:
        assert tables.table(there, suite, rule, 2) == tables.table(here, suite, rule, 2)
        assert tables.versions(there, suite, rule, 2) == tables.versions(here, suite, rule, 2) == "code abc"
    assert [cell for cell in planned if results.scores(there, cell) is None] == planned[-1:]
    assert Trainer(there, jobs=1, device="cpu").train(planned[:-1]) == []
    # A later run of a cell counts, in the tables and in the record; the others stay.
    before = (there / "scores.csv").read_text().splitlines()
    finish(there, planned[0], 99.0, code="def")
    assert results.scores(there, planned[0])["final"] == pytest.approx(99)
    results.record(there, planned)
    changed = set((there / "scores.csv").read_text().splitlines()) - set(before)
    settings = version.settings_version(planned[0])
    assert changed == {f"toy,1pt,supervised,0,def,{settings},99.0000,99.0000,119.0000,106.0000"}


def test_a_record_with_other_columns_is_refused(tmp_path):
    (tmp_path / "scores.csv").write_text("method,miou\nerda,40\n")
    suite = Suite("toy", "rooms", "toy", ("1pt",), SPLITS, (Variant("erda", "erda"),))
    with pytest.raises(InputError, match="they must be runs, rule, method, seed, code, settings, final"):
        results.scores(tmp_path, cells([suite], seeds=1)[0])


def test_tables_tell_which_code_trained_their_cells(tmp_path, monkeypatch):
    suite = Suite("toy", "rooms", "toy", ("1pt",), SPLITS, (Variant("supervised", "supervised"),))
    for seed, name in enumerate(["abc", "abc", "def"]):
        cell = Cell(suite, "1pt", suite.variants[0], seed)
        finish(tmp_path, cell, 40.0, code=name)
    assert tables.versions(tmp_path, suite, "1%", seeds=2) == ""
    assert tables.versions(tmp_path, suite, "1pt", seeds=2) == "code abc"
    assert tables.versions(tmp_path, suite, "1pt", seeds=3) == "cells of different code: abc (2), def (1)"
    folder = tmp_path / "package"
    (folder / "pointseg" / "methods").mkdir(parents=True)
    monkeypatch.setattr(version, "ROOT", folder)
    before = version.code_version()
    (folder / "pointseg" / "methods" / "erda.py").write_text("weight = 1\n")
    changed = version.code_version()
    (folder / "pointseg" / "cli.py").write_text("no score depends on it\n")
    assert before != changed == version.code_version()


def test_cells_of_other_settings_are_refused_from_runs_and_record(tmp_path, monkeypatch):
    suite = Suite("toy", "synthetic", "toy", ("1pt",), SPLITS, (Variant("supervised", "supervised"),))
    cell = cells([suite], seeds=1)[0]
    finish(tmp_path, cell, 40.0)
    results.refuse_other_settings(tmp_path, [cell])
    others = [
        Cell(replace(suite, settings=(*SPLITS, "steps=9")), "1pt", suite.variants[0], 0),
        Cell(suite, "1pt", Variant("supervised", "supervised", ("ema_momentum=0.99",)), 0),
    ]
    for other in others:
        with pytest.raises(InputError, match=r"supervised_0 was trained with settings .* give another folder"):
            results.refuse_other_settings(tmp_path, [other])
        with pytest.raises(InputError, match="was trained with settings"):
            Trainer(tmp_path, jobs=1, device="cpu").train([other])
    with monkeypatch.context() as patched:
        patched.setattr(version, "GENERATED", ("--density", 50))
        with pytest.raises(InputError, match="was trained with settings"):
            results.refuse_other_settings(tmp_path, [cell])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    results.record(tmp_path, [cell])
    (tmp_path / "scores.csv").rename(elsewhere / "scores.csv")
    results.refuse_other_settings(elsewhere, [cell])
    with pytest.raises(InputError, match=r"scores.csv: toy, 1pt, supervised, 0 was trained"):
        results.refuse_other_settings(elsewhere, others[:1])
    assert json.loads((cell.run(tmp_path) / "checkpoints/final/state.json").read_text())["miou"] == 0.4


def test_a_narrowed_suite_keeps_only_what_is_named():
    suite = suites()["synthetic"]
    assert narrowed(suite, [], []) == suite
    found = cells([narrowed(suite, ["1pt", "full"], [BASELINE, "erda", "plain"])], seeds=2)
    assert [(cell.rule, cell.variant.name, cell.seed) for cell in found] == [
        ("1pt", BASELINE, 0), ("1pt", "erda", 0), ("1pt", BASELINE, 1), ("1pt", "erda", 1)
    ]  # fmt: skip


def test_curves_are_means_of_the_last_records_of_finished_runs(tmp_path):
    suite = Suite(
        "toy", "rooms", "toy", ("1pt",), SPLITS, (Variant("supervised", "supervised"), Variant("erda", "erda"))
    )
    rng = np.random.default_rng(0)
    values = rng.uniform(size=(3, 15))
    for seed, series in enumerate(values):
        cell = Cell(suite, "1pt", suite.variants[1], seed)
        finish(tmp_path, cell, 40.0)
        records = [{"kind": "train", "step": 10 * i, "entropy_q": value} for i, value in enumerate(series)]
        records[-1]["accuracy_q"] = 0.5 + seed / 10
        records[2]["entropy_p"] = 1.0
        records.insert(12, {"kind": "eval", "step": 120, "entropy_q": 1e9})
        (cell.run(tmp_path) / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    Cell(suite, "1pt", suite.variants[0], 0).run(tmp_path).mkdir(parents=True)
    other = Cell(suite, "1pt", suite.variants[0], 1)
    finish(tmp_path, other, 40.0)
    (other.run(tmp_path) / "metrics.jsonl").write_text('{"kind": "train", "step": 10, "accuracy_q": 0.25}\n')
    lines = curves.table(tmp_path, suite, "1pt", 3, ["entropy_q", "accuracy_q"]).splitlines()
    means = values[:, -curves.RECORDS :].mean(axis=1)
    assert lines[0] == "| method | entropy_q | accuracy_q | seeds |"
    assert lines[2] == "| supervised |  | 0.25 | 1 |"
    assert lines[3:] == [f"| erda | {means.mean():.2f} +- {means.std(ddof=1):.2f} | 0.60 +- 0.10 | 3 |"]
    with pytest.raises(InputError, match=r"no run of toy, 1pt records 'entropy_p'; they record accuracy_q, entropy_q"):
        curves.table(tmp_path, suite, "1pt", 3, ["entropy_q", "entropy_p"])
    assert curves.table(tmp_path / "elsewhere", suite, "1pt", 3, ["entropy_q"]) == "no runs here"
