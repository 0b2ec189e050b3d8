"""Nodes and the two graphs on them, against dense loops written from the equations."""

import numpy as np
import pytest
import torch

from pointseg.methods import graphs, nodes
from pointseg.methods.graphs import propagate_by_class, semantic_graph
from pointseg.methods.nodes import cell_nodes, sampled_nodes, superpoint_nodes
from pointseg.methods.prototypes import ProjectionHead
from pointseg.methods.representation import embed_rows

BATCH = torch.tensor([0] * 9 + [1] * 4 + [3] * 12)
"""Samples of 9, 4, 0 and 12 rows."""


def rows(width=5, seed=0, dtype=torch.float64):
    return torch.randn(len(BATCH), width, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def dense_semantic(features, batch_index, neighbours, coord=None, radius=0.0):
    f, b = features.numpy(), batch_index.numpy()
    n = len(f)
    cosine = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            near = radius == 0 or np.linalg.norm(coord.numpy()[i] - coord.numpy()[j]) <= radius
            if b[i] == b[j] and (near or i == j):
                cosine[i, j] = max(0, f[i] @ f[j] / np.linalg.norm(f[i]) / np.linalg.norm(f[j]))
    kept = np.zeros_like(cosine)
    for i in range(n):
        for j in np.argsort(-cosine[i])[: neighbours + 1]:
            kept[i, j] = cosine[i, j]
    both = kept + kept.T
    degree = both.sum(1)
    return torch.from_numpy(both / np.sqrt(degree[:, None] * degree[None]))


def dense_by_class(features, probability, hard, batch_index):
    n = len(features)
    b = torch.zeros(n, n, dtype=features.dtype)
    for i in range(n):
        for j in range(n):
            if batch_index[i] == batch_index[j] and hard[i] == hard[j]:
                b[i, j] = torch.cosine_similarity(probability[i], probability[j], dim=0).clamp(min=0)
    scale = b.sum(1) ** -0.5
    return (scale[:, None] * b * scale[None]) @ features


@pytest.mark.parametrize("chunk", [3, 2048])
@pytest.mark.parametrize("neighbours", [2, 5, 40])
def test_the_semantic_graph_is_the_dense_one(monkeypatch, chunk, neighbours):
    monkeypatch.setattr(graphs, "CHUNK", chunk)
    features, x = rows(), rows(3, seed=1)
    graph = semantic_graph(features, BATCH, neighbours)
    torch.testing.assert_close(graph.propagate(x), dense_semantic(features, BATCH, neighbours) @ x)


def test_a_radius_keeps_neighbours_near():
    features, x, coord = rows(), rows(3, seed=1), rows(3, seed=2)
    graph = semantic_graph(features, BATCH, 4, coord=coord, radius=1.5)
    expected = dense_semantic(features, BATCH, 4, coord, 1.5) @ x
    torch.testing.assert_close(graph.propagate(x), expected)
    assert not torch.allclose(expected, dense_semantic(features, BATCH, 4) @ x)


def test_equal_and_zero_features_give_finite_graphs_with_loops():
    for features in (torch.ones(len(BATCH), 5), torch.zeros(len(BATCH), 5)):
        graph = semantic_graph(features, BATCH, 3)
        assert (graph.target == torch.arange(len(BATCH))[:, None]).any(1).all()
        assert graph.propagate(rows(3, dtype=torch.float32)).isfinite().all()
    torch.testing.assert_close(graph.propagate(rows()[:, :3]), rows()[:, :3])


def test_class_propagation_is_the_dense_one():
    features, probability = rows(), rows(4, seed=1).softmax(1)
    hard = torch.arange(len(BATCH)) % 3
    moved = propagate_by_class(features, probability, hard, BATCH)
    torch.testing.assert_close(moved, dense_by_class(features, probability, hard, BATCH))


def test_gradients_of_both_hops():
    probability, hard = rows(4, seed=1).softmax(1), torch.arange(len(BATCH)) % 3
    graph = semantic_graph(rows(seed=2), BATCH, 3)
    x = rows(2).requires_grad_()
    assert torch.autograd.gradcheck(graph.propagate, x)
    assert torch.autograd.gradcheck(lambda f: propagate_by_class(f, probability, hard, BATCH), x)


def test_the_adjacencies_are_constants():
    features, probability = rows().requires_grad_(), rows(4, seed=1).softmax(1).requires_grad_()
    hard = torch.arange(len(BATCH)) % 3
    assert not semantic_graph(features, BATCH, 3).propagate(rows(2)).requires_grad
    assert not propagate_by_class(rows(2), probability, hard, BATCH).requires_grad


def test_cells_are_those_of_a_dictionary():
    coord = torch.rand(len(BATCH), 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    made = cell_nodes(coord, BATCH, 0.8)
    cells = {}
    for i, (b, place) in enumerate(zip(BATCH.tolist(), ((coord - coord.amin(0)) / 0.8).floor().tolist(), strict=True)):
        cells.setdefault((b, *place), []).append(i)
    assert len(made.batch_index) == len(cells)
    x = rows(2)
    spread = made.spread(made.pool(x))
    labels = torch.arange(len(BATCH)) % 3 - 1
    majority = made.spread(made.majority(labels, 2)[:, None])[:, 0]
    for (b, *_), members in cells.items():
        assert set(made.batch_index[made.node[members]].tolist()) == {b}
        counts = [(labels[members] == k).sum().item() for k in range(2)]
        for i in members:
            torch.testing.assert_close(spread[i], x[members].mean(0))
            assert majority[i] == -1 if max(counts) == 0 else counts[majority[i]] == max(counts)
    assert (made.batch_index.diff() >= 0).all()


def test_pooling_passes_gradients_to_every_row_of_a_node():
    made = cell_nodes(torch.rand(len(BATCH), 3, generator=torch.Generator().manual_seed(0)), BATCH, 0.7)
    assert torch.autograd.gradcheck(made.pool, rows(2).requires_grad_())


@pytest.mark.parametrize("chunk", [2, 2048])
def test_sampled_nodes_take_annotated_rows_first_and_others_follow_the_likest(monkeypatch, chunk):
    monkeypatch.setattr(nodes, "CHUNK", chunk)
    order = torch.randperm(len(BATCH), generator=torch.Generator().manual_seed(3))
    batch, features = BATCH[order], rows()
    preferred = torch.zeros(len(batch), dtype=torch.bool)
    preferred[torch.nonzero(batch == 3)[:3, 0]] = True
    made = sampled_nodes(features, batch, preferred, 5, torch.Generator().manual_seed(0))
    assert torch.bincount(made.batch_index).tolist() == [5, 4, 0, 5]
    chosen = torch.nonzero(made.share > 0)[:, 0]
    assert set(torch.nonzero(preferred)[:, 0].tolist()) <= set(chosen.tolist())
    assert sorted(made.node[chosen].tolist()) == list(range(14))
    torch.testing.assert_close(made.spread(made.pool(features))[chosen], features[chosen])
    for i in range(len(batch)):
        rivals = [j for j in chosen.tolist() if batch[j] == batch[i]]
        likest = max(rivals, key=lambda j: torch.cosine_similarity(features[i], features[j], dim=0))
        assert made.node[i] == made.node[likest]
    again = sampled_nodes(features, batch, preferred, 5, torch.Generator().manual_seed(1))
    assert not torch.equal(again.node, made.node)
    labels = torch.where(preferred, 2, -1)
    assert (made.spread(made.majority(labels, 4)[:, None])[preferred, 0] == 2).all()


def test_superpoints_part_what_a_cell_would_mix():
    generator = torch.Generator().manual_seed(0)
    coord = torch.rand(400, 3, generator=generator) * torch.tensor([2.0, 2.0, 0.02])
    kind = (coord[:, 0] > 0.9).long()
    features = torch.eye(2)[kind] + 0.05 * torch.randn(400, 2, generator=generator)
    batch = torch.arange(400) // 200
    made, cells = superpoint_nodes(coord, batch, features, 0.5), cell_nodes(coord, batch, 0.5)
    assert (made.batch_index[made.node] == batch).all()
    assert len(made.batch_index) <= len(cells.batch_index)
    assert torch.bincount(made.node).min() > 0

    def mixed(n):
        return (n.spread(n.majority(kind, 2)[:, None])[:, 0] != kind).float().mean()

    assert mixed(made) < 0.2 * mixed(cells)


def test_one_row_is_a_graph():
    one = torch.zeros(1, dtype=torch.int64)
    x = torch.ones(1, 3)
    torch.testing.assert_close(semantic_graph(x, one, 20).propagate(x), x)
    torch.testing.assert_close(propagate_by_class(x, x / 3, one, one), x)
    made = superpoint_nodes(x, one, x, 0.4)
    torch.testing.assert_close(made.pool(x), x)


def test_the_likest_node_is_found_in_fp32_under_autocast():
    torch.manual_seed(0)
    features, index = 5 + torch.randn(3000, 16), torch.zeros(3000, dtype=torch.long)
    drawn = (features, index, torch.zeros(3000, dtype=torch.bool), 200)
    plain = sampled_nodes(*drawn, torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = sampled_nodes(*drawn, torch.Generator().manual_seed(0))
    assert torch.equal(cast.node, plain.node)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def same_gradients(function, x):
    weight = torch.randn_like(function(x))
    gradients = [torch.autograd.grad((function(x) * weight).sum(), x)[0] for _ in range(8)]
    return all(torch.equal(gradient, gradients[0]) for gradient in gradients)


@pytest.mark.threads
@pytest.mark.usefixtures("two_threads")
def test_gradients_of_spreading_and_of_a_hop_are_the_same_every_time():
    torch.manual_seed(0)
    node = torch.randint(0, 500, (60_000,))
    spread = nodes.Nodes(node, torch.ones(60_000), torch.zeros(500, dtype=torch.long)).spread
    assert same_gradients(spread, torch.randn(500, 13, requires_grad=True))
    graph = semantic_graph(torch.randn(2048, 16), torch.zeros(2048, dtype=torch.long))
    assert same_gradients(graph.propagate, torch.randn(2048, 13, requires_grad=True))


@pytest.mark.threads
@pytest.mark.usefixtures("two_threads")
def test_gradients_of_rows_embedded_more_than_once_are_the_same_every_time():
    torch.manual_seed(0)
    head, rows = ProjectionHead(16, 64), torch.randint(0, 5000, (13, 256))
    assert same_gradients(lambda x: embed_rows(head, x, rows), torch.randn(5000, 16, requires_grad=True))
