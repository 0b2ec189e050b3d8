"""What is watched, against a loop over rows; over processes; and with rows of all, none or unknown kinds."""

import dataclasses
import math

import pytest
import torch

from pointseg.methods import View
from pointseg.methods.monitor import prediction_statistics, pseudo_label_statistics

K = 4
COUNTS = torch.tensor([5, 0, 2, 9])


def make_view(rows=60, seed=0):
    """A view with one row in five annotated and one in seven of unknown truth, logits of p and q, and rows used."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, K, (rows,), generator=generator)
    labels = torch.where(torch.arange(rows) % 5 == 0, truth, -1)
    truth[(labels < 0) & (torch.arange(rows) % 7 == 0)] = -1
    view = View(None, labels, torch.zeros(rows).long(), torch.zeros(rows, 3), torch.arange(rows), truth)
    s, z = (torch.randn(rows, K, generator=generator, dtype=torch.float64) for _ in range(2))
    s[:, 3] -= 9  # a class that p names nowhere
    return view, s, z, torch.rand(rows, generator=generator) < 0.6


def part_of(view, rows):
    tensors = {f.name: getattr(view, f.name)[rows] for f in dataclasses.fields(view) if f.name != "inputs"}
    return dataclasses.replace(view, **tensors)


def softmax(row):
    weights = [math.exp(x) for x in row.tolist()]
    return [w / sum(weights) for w in weights]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def slow_ece(rows, truth):
    judged = [(max(p), p.index(max(p)) == int(truth[i])) for i, p in rows.items() if truth[i] >= 0]
    error = 0.0
    for b in range(15):
        inside = [(c, hit) for c, hit in judged if b / 15 < c <= (b + 1) / 15]
        if inside:
            error += len(inside) / len(judged) * abs(mean(c for c, _ in inside) - mean(hit for _, hit in inside))
    return error


def slow_statistics(view, s, z, used):
    rows = [i for i in range(len(s)) if view.labels[i] < 0]
    p, q = {i: softmax(s[i]) for i in rows}, {i: softmax(z[i]) for i in rows}
    expected = {"classes_labelled": len({int(y) for y in view.labels if y >= 0})}
    for letter, dist in (("p", p), ("q", q)):
        top = [d.index(max(d)) for d in dist.values()]
        expected |= {
            f"entropy_{letter}": mean(-sum(x * math.log(x) for x in d) for d in dist.values()),
            f"largest_share_{letter}": max(top.count(k) for k in range(K)) / len(rows),
            f"classes_predicted_{letter}": len(set(top)),
            f"accuracy_{letter}": mean(
                d.index(max(d)) == int(view.truth[i]) for i, d in dist.items() if view.truth[i] >= 0
            ),
            f"ece_{letter}": slow_ece(dist, view.truth),
        }
    for letter, scores in (("p", s), ("q", z)):
        annotated = [(softmax(row), int(y)) for row, y in zip(scores, view.labels, strict=True) if y >= 0]
        expected[f"accuracy_{letter}_annotated"] = mean(d.index(max(d)) == y for d, y in annotated)
    judged = [(p[i].index(max(p[i])), int(view.truth[i])) for i in rows if used[i] and view.truth[i] >= 0]
    named = {k: [k == y for top, y in judged if top == k] for k in range(K)}
    prior = [(int(n) + 1) / (int(COUNTS.sum()) + K) for n in COUNTS]
    mean_p = [mean(d[k] for d in p.values()) for k in range(K)]
    return expected | {
        "pseudo_label_coverage": mean(bool(used[i]) for i in rows),
        "pseudo_label_accuracy": mean(top == y for top, y in judged),
        "pseudo_label_precision": mean(mean(hits) for hits in named.values() if hits),
        "kl_p_q": mean(sum(a * math.log(a / b) for a, b in zip(p[i], q[i], strict=True)) for i in rows),
        "prior_kl": sum(m * math.log(m / r) for m, r in zip(mean_p, prior, strict=True)),
    }


def test_every_scalar_is_what_a_loop_over_rows_gives():
    view, s, z, used = make_view()
    found = pseudo_label_statistics(s, view, used=used, logits=z, label_counts=COUNTS)
    expected = slow_statistics(view, s, z, used)
    assert found.keys() == expected.keys()
    assert found["classes_predicted_p"] == 3
    for name, value in expected.items():
        assert found[name].dim() == 0
        exactness = 1e-7 if name.endswith("_annotated") else 1e-12  # counts alone, of no precision of their own
        assert float(found[name]) == pytest.approx(value, abs=exactness), name


def test_what_was_not_given_is_left_out():
    view, s, z, used = make_view()
    whole = pseudo_label_statistics(s, view, used=used, logits=z, label_counts=COUNTS)
    alone = pseudo_label_statistics(s, view)
    of_q = {name for name in whole if name.endswith("_q")}
    assert alone.keys() == whole.keys() - of_q - {"accuracy_q_annotated", "prior_kl"}
    assert alone["pseudo_label_coverage"] == 1
    assert alone["pseudo_label_accuracy"] == alone["accuracy_p"]
    prediction = prediction_statistics(z, view)
    assert prediction.keys() == (of_q - {"kl_p_q"}) | {"classes_labelled", "accuracy_q_annotated"}
    assert all(torch.equal(value, whole[name]) for name, value in prediction.items())


def test_a_shift_of_the_pseudo_logits_changes_nothing():
    view, s, z, _ = make_view()
    shifted = pseudo_label_statistics(s + 7, view, logits=z)
    for name, value in pseudo_label_statistics(s, view, logits=z).items():
        torch.testing.assert_close(shifted[name], value)


def test_hidden_truth_moves_only_what_says_so():
    view, s, z, _ = make_view()
    blind = dataclasses.replace(view, truth=torch.full_like(view.truth, -1))
    whole = pseudo_label_statistics(s, view, logits=z, label_counts=COUNTS)
    found = pseudo_label_statistics(s, blind, logits=z, label_counts=COUNTS)
    judged = {"accuracy_p", "accuracy_q", "ece_p", "ece_q", "pseudo_label_accuracy", "pseudo_label_precision"}
    assert found.keys() == whole.keys() - judged
    assert all(torch.equal(value, whole[name]) for name, value in found.items())


def test_no_row_used_has_a_coverage_and_no_accuracy():
    view, s, _, used = make_view()
    found = pseudo_label_statistics(s, view, used=torch.zeros_like(used))
    assert found["pseudo_label_coverage"] == 0
    assert "pseudo_label_accuracy" not in found
    assert "accuracy_p" in found


def test_without_an_annotated_row_there_is_no_accuracy_on_them():
    view, s, z, _ = make_view()
    nothing = dataclasses.replace(view, labels=torch.full_like(view.labels, -1))
    for found in (pseudo_label_statistics(s, nothing, logits=z), prediction_statistics(z, nothing)):
        assert found
        assert not any(name.endswith("_annotated") for name in found)


def test_a_view_annotated_everywhere_has_nothing_to_tell():
    view, s, z, _ = make_view()
    full = dataclasses.replace(view, labels=view.truth.clamp(min=0))
    assert pseudo_label_statistics(s, full, logits=z, label_counts=COUNTS) == {}
    assert prediction_statistics(z, full) == {}


@pytest.mark.parametrize("zero", [-1e4, -math.inf])
def test_one_hot_pseudo_labels_stay_finite(zero):
    view, _, z, _ = make_view()
    s = torch.full((60, K), zero, dtype=torch.float64)
    s[:, 1] = 0
    found = pseudo_label_statistics(s, view, logits=z, label_counts=COUNTS)
    assert found["entropy_p"] == 0
    assert found["largest_share_p"] == 1
    assert float(found["kl_p_q"]) == pytest.approx(float(-z.log_softmax(1)[view.labels < 0, 1].mean()))
    assert all(value.isfinite() for value in found.values())


def test_half_precision_is_summed_in_full():
    view, s, z, _ = make_view()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = pseudo_label_statistics(s.bfloat16(), view, logits=z.bfloat16(), label_counts=COUNTS)
    exact = pseudo_label_statistics(s.bfloat16().double(), view, logits=z.bfloat16().double(), label_counts=COUNTS)
    for name, value in found.items():
        assert value.dtype in (torch.float32, torch.int64)
        assert float(value) == pytest.approx(float(exact[name]), abs=1e-5), name


def test_nothing_of_it_carries_a_gradient():
    view, s, z, _ = make_view()
    found = pseudo_label_statistics(s.requires_grad_(), view, logits=z.requires_grad_())
    assert not any(value.requires_grad for value in found.values())


def share_of(rank):
    """Two thirds of the rows and the rest; process 1 has no unannotated row in its second call."""
    view, s, z, used = make_view()
    rows = (slice(0, 40), slice(40, 60))[rank]
    mine = part_of(view, rows)
    both = pseudo_label_statistics(s[rows], mine, used=used[rows], logits=z[rows], label_counts=COUNTS)
    if rank == 1:
        mine = dataclasses.replace(mine, labels=mine.truth.clamp(min=0))
    return {"both": both, "first": pseudo_label_statistics(s[rows], mine), "q": prediction_statistics(z[rows], mine)}


def test_two_processes_tell_of_the_rows_of_both(in_processes):
    view, s, z, used = make_view()
    whole = pseudo_label_statistics(s, view, used=used, logits=z, label_counts=COUNTS)
    later = torch.arange(60) >= 40
    half = dataclasses.replace(view, labels=torch.where(later, view.truth.clamp(min=0), view.labels))
    alone, prediction = pseudo_label_statistics(s, half), prediction_statistics(z, half)
    for result in in_processes(share_of):
        for found, expected in ((result["both"], whole), (result["first"], alone), (result["q"], prediction)):
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                torch.testing.assert_close(found[name], value)
