"""Class queries against an implementation with loops over samples, heads, queries and rows."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pointseg.errors import InputError
from pointseg.methods.class_queries import ClassQueries, SampleRows

CLASSES, WIDTH = 4, 8
GOLDEN = Fraction(633, 1024)


def generator(**settings):
    torch.manual_seed(0)
    return ClassQueries(CLASSES, WIDTH, **{"layers": 2, "heads": 2, "temperature": 0.5, **settings}).double()


def ragged(sizes=(13, 4, 9), seed=0):
    """Features and the sample of each row, rows of all samples shuffled."""
    rng = torch.Generator().manual_seed(seed)
    batch_index = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    shuffled = batch_index[torch.randperm(len(batch_index), generator=rng)]
    return torch.randn(len(shuffled), WIDTH, generator=rng, dtype=torch.float64), shuffled


def no_labels(batch_index):
    return torch.full_like(batch_index, -1)


def slow_keys(rows, limit, step):
    taken = min(len(rows), limit)
    phase = (step * GOLDEN) % 1
    return [rows[math.floor((j + phase) * Fraction(len(rows), taken))] for j in range(taken)]


def slow_norm(x, norm):
    x = (x - x.mean()) / np.sqrt(((x - x.mean()) ** 2).mean() + norm.eps)
    return x * norm.weight.detach().numpy() + norm.bias.detach().numpy()


def slow_linear(x, layer):
    return layer.weight.detach().numpy() @ x + (0 if layer.bias is None else layer.bias.detach().numpy())


def slow_projection(features, head):
    hidden = np.stack([slow_linear(f, head[0]) for f in features])
    hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + head[1].eps)
    return np.stack([slow_linear(np.maximum(h, 0), head[3]) for h in hidden])


def slow_layer(query, keys, layer, width, heads):
    """One query through one decoder layer."""
    asked = slow_linear(slow_norm(query, layer.norm_query), layer.query)
    told = [slow_linear(slow_norm(key, layer.norm_key), layer.key_value) for key in keys]
    size = width // heads
    attended = np.zeros(width)
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        scores = np.array([asked[part] @ t[:width][part] / math.sqrt(size) for t in told])
        share = np.exp(scores - scores.max())
        share /= share.sum()
        attended[part] = sum(a * t[width:][part] for a, t in zip(share, told, strict=True))
    query = query + slow_linear(attended, layer.out)
    hidden = np.maximum(slow_linear(slow_norm(query, layer.norm_ffn), layer.ffn[0]), 0)
    return query + slow_linear(hidden, layer.ffn[2])


def slow_forward(module, features, batch_index, limit, step, heads):
    embedding = slow_projection(features.numpy(), module.projection)
    result = np.zeros((len(embedding), len(module.queries)))
    for sample in sorted(set(batch_index.tolist())):
        rows = [i for i, b in enumerate(batch_index.tolist()) if b == sample]
        keys = [embedding[i] for i in slow_keys(rows, limit, step)]
        for k, start in enumerate(module.queries.detach().numpy()):
            query = start
            for layer in module.layers:
                query = slow_layer(query, keys, layer, embedding.shape[1], heads)
            for i in rows:
                cosine = embedding[i] @ query / (np.linalg.norm(embedding[i]) * np.linalg.norm(query))
                result[i, k] = cosine / module.temperature
    return result


@pytest.mark.parametrize(("limit", "step"), [(100, 0), (5, 0), (5, 7), (1, 3)])
def test_equals_the_loops(limit, step):
    module = generator(max_keys=limit)
    features, batch_index = ragged()
    s, queries = module(features, batch_index, no_labels(batch_index), step)
    assert queries.shape == (3, CLASSES, WIDTH)
    np.testing.assert_allclose(s.detach(), slow_forward(module, features, batch_index, limit, step, 2), rtol=1e-9)


def test_gradients_reach_features_and_queries():
    module = generator(layers=1, max_keys=3)
    features, batch_index = ragged((5, 3))
    labels = no_labels(batch_index)

    def run(features, queries):
        replaced = {"queries": queries}
        return torch.func.functional_call(module, replaced, (features, batch_index, labels))[0]

    inputs = (features.requires_grad_(), module.queries.detach().clone().requires_grad_())
    assert torch.autograd.gradcheck(run, inputs)


def test_all_parameters_take_part():
    module = generator()
    features, batch_index = ragged()
    s, _ = module(features, batch_index, no_labels(batch_index))
    (s**2).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_keys_are_spread_over_a_large_sample_and_complete_for_a_small_one():
    _, batch_index = ragged((1000, 7))
    rows = SampleRows.of(batch_index)
    members = [(batch_index == sample).nonzero()[:, 0] for sample in range(2)]
    used = set()
    for step in range(40):
        index, valid = rows.keys(64, step)
        assert index.shape == (2, 64)
        assert index[1][valid[1]].tolist() == members[1].tolist()
        place = torch.searchsorted(members[0], index[0])
        assert torch.equal(members[0][place], index[0])
        gaps = place.diff()
        assert valid[0].all()
        assert gaps.min() >= 15
        assert gaps.max() <= 16
        used.update(place.tolist())
    assert len(used) > 600


def test_keys_are_a_function_of_the_step_alone():
    _, batch_index = ragged((50, 60))
    rows = SampleRows.of(batch_index)
    state = torch.get_rng_state()
    assert torch.equal(rows.keys(8, 3)[0], SampleRows.of(batch_index).keys(8, 3)[0])
    assert not torch.equal(rows.keys(8, 3)[0], rows.keys(8, 4)[0])
    assert torch.equal(torch.get_rng_state(), state)
    large = SampleRows(torch.arange(2_000_000), [2_000_000])
    assert large.keys(8192, 10**7)[0].max() < 2_000_000


def test_the_order_of_rows_does_not_matter():
    module = generator()
    features, batch_index = ragged()
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(1))
    s, _ = module(features, batch_index, no_labels(batch_index))
    shuffled, _ = module(features[order], batch_index[order], no_labels(batch_index))
    torch.testing.assert_close(shuffled, s[order])


def test_samples_do_not_see_each_other():
    module = generator().eval()
    features, batch_index = ragged()
    changed = torch.where((batch_index == 1)[:, None], features + 3, features)
    labels = no_labels(batch_index)
    s, queries = module(features, batch_index, labels)
    other, other_queries = module(changed, batch_index, labels)
    torch.testing.assert_close(other[batch_index != 1], s[batch_index != 1])
    torch.testing.assert_close(other_queries[[0, 2]], queries[[0, 2]])
    assert (other_queries[1] - queries[1]).abs().max() > 1e-3
    assert (queries[0] - queries[2]).abs().max() > 1e-3


def test_a_number_without_rows_between_samples_is_harmless():
    module = generator()
    features, batch_index = ragged()
    gap = torch.where(batch_index > 0, batch_index + 2, batch_index)
    expected, _ = module(features, batch_index, no_labels(batch_index))
    assert SampleRows.of(gap).keys(5, 0)[1].sum(1).tolist() == [5, 1, 1, 4, 5]
    s, _ = module(features, gap, no_labels(batch_index))
    torch.testing.assert_close(s, expected)
    s.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())


def test_queries_start_at_the_first_centroids_and_stay_the_optimisers_after_that():
    module = generator(from_labels=True)
    before = module.queries.detach().clone()
    features, batch_index = ragged()
    labels = no_labels(batch_index)
    labels[torch.tensor([2, 5, 7])] = torch.tensor([1, 1, 3])
    module(features, batch_index, labels)
    embedding = slow_projection(features.numpy(), module.projection)
    for k, members in ((1, [2, 5]), (3, [7])):
        centroid = np.mean([embedding[i] for i in members], axis=0)
        expected = centroid / np.linalg.norm(centroid) * math.sqrt(WIDTH)
        np.testing.assert_allclose(module.queries[k].detach(), expected, rtol=1e-9)
    assert torch.equal(module.queries[[0, 2]], before[[0, 2]])
    assert module.placed.tolist() == [False, True, False, True]
    placed = module.queries.detach().clone()
    labels[:3] = torch.tensor([0, 1, 3])
    restored = generator(from_labels=True)
    restored.load_state_dict(module.state_dict())
    for each in (module, restored):
        each(*ragged(seed=5), labels)
        assert torch.equal(each.queries[1:], placed[1:])
        assert not torch.equal(each.queries[0], placed[0])


def test_random_queries_and_evaluation_ignore_the_labels():
    features, batch_index = ragged()
    labels = batch_index % CLASSES
    for module in (generator(), generator(from_labels=True).eval()):
        before = module.queries.detach().clone()
        module(features, batch_index, labels)
        assert torch.equal(module.queries, before)


def test_settings_do_what_they_say():
    features, batch_index = ragged()
    labels = no_labels(batch_index)
    base, queries = generator()(features, batch_index, labels)
    torch.testing.assert_close(generator(temperature=0.1)(features, batch_index, labels)[0], base * 5)
    assert len(generator(layers=3).layers) == 3
    # The same weights, shared out among more heads.
    four = generator(heads=4)(features, batch_index, labels)[1]
    assert (four - queries).abs().max() > 1e-6
    with pytest.raises(InputError, match=r"heads is 3; .* 8 feature channels .* divisor of 8"):
        ClassQueries(CLASSES, WIDTH, heads=3)


def test_all_is_fp32_under_autocast():
    module = generator().float()
    features, batch_index = ragged()
    labels = no_labels(batch_index)
    features = features.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        s, queries = module(features, batch_index, labels)
    expected, _ = module(features.float(), batch_index, labels)
    assert s.dtype == queries.dtype == torch.float32
    torch.testing.assert_close(s, expected, rtol=1e-5, atol=1e-6)


def test_statistics_by_hand():
    module = generator()
    features, batch_index = ragged()
    adapted = module(features, batch_index, no_labels(batch_index))[1].detach()
    statistics = module.statistics(adapted)
    base = module.queries.detach()
    pairs = [
        float(F.cosine_similarity(sample[a], sample[b], dim=0))
        for sample in adapted
        for a in range(CLASSES)
        for b in range(CLASSES)
        if a != b
    ]
    shifts = [1 - float(F.cosine_similarity(q, base[k], dim=0)) for sample in adapted for k, q in enumerate(sample)]
    assert float(statistics["query_cosine_max"]) == pytest.approx(max(pairs))
    assert float(statistics["query_cosine_mean"]) == pytest.approx(np.mean(pairs))
    assert float(statistics["query_shift"]) == pytest.approx(np.mean(shifts))
    assert not any(value.requires_grad for value in statistics.values())
