"""Prototypes against a per-class loop, and the two rules that differ from the released code."""

import numpy as np
import pytest
import torch

from pointseg.methods import ProjectionHead, Prototypes
from pointseg.methods.prototypes import SubPrototypes


def slow_update(value, embedding, labels, momentum):
    value = value.copy()
    for k in range(len(value)):
        members = [e for e, y in zip(embedding, labels, strict=True) if y == k]
        if members:
            value[k] = momentum * value[k] + (1 - momentum) * np.mean(members, axis=0)
    return value


def slow_cosine(embedding, value):
    return [[e @ c / (np.linalg.norm(e) * np.linalg.norm(c)) for c in value] for e in embedding]


def test_updates_and_similarities_follow_the_equations():
    rng = np.random.default_rng(0)
    prototypes = Prototypes(4, 6, momentum=0.9)
    value = np.zeros((4, 6))
    for _ in range(5):
        embedding, labels = rng.normal(size=(30, 6)), rng.integers(-1, 4, size=30)
        value = slow_update(value, embedding, labels, 0.9)
        prototypes.update(torch.tensor(embedding, dtype=torch.float32), torch.tensor(labels))
    np.testing.assert_allclose(prototypes.value, value, rtol=1e-5, atol=1e-6)
    similarity = prototypes.similarity(torch.tensor(embedding, dtype=torch.float32))
    np.testing.assert_allclose(similarity, slow_cosine(embedding, value), atol=1e-5)


def test_the_first_centroid_sets_the_direction_whatever_the_momentum():
    prototypes = Prototypes(2, 3, momentum=0.999)
    embedding = torch.tensor([[3.0, 0.0, 4.0], [0.0, -2.0, 0.0]])
    prototypes.update(embedding, torch.tensor([0, 1]))
    torch.testing.assert_close(prototypes.similarity(embedding).diag(), torch.ones(2))


def test_an_absent_class_keeps_its_prototype():
    prototypes = Prototypes(3, 4)
    prototypes.update(torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, 2]))
    before = prototypes.value.clone()
    prototypes.update(torch.randn(6, 4), torch.tensor([0, 0, -1, -1, 2, 2]))
    assert torch.equal(prototypes.value[1], before[1])
    assert not torch.equal(prototypes.value[0], before[0])


def test_a_class_never_seen_has_no_probability_until_its_first_label():
    prototypes = Prototypes(3, 4)
    embedding = torch.randn(5, 4)
    prototypes.update(embedding, torch.tensor([0, 0, 2, -1, -1]))
    p = prototypes.similarity(embedding).softmax(1)
    assert torch.equal(p[:, 1], torch.zeros(5))
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-6)
    prototypes.update(embedding, torch.tensor([-1, 1, -1, -1, -1]))
    assert (prototypes.similarity(embedding).softmax(1)[:, 1] > 0).all()


def test_prototypes_are_constants_for_the_gradient():
    prototypes = Prototypes(2, 4)
    embedding = torch.randn(5, 4, requires_grad=True)
    prototypes.update(embedding, torch.tensor([0, 1, -1, -1, -1]))
    assert not prototypes.value.requires_grad
    prototypes.similarity(embedding).sum().backward()
    assert embedding.grad is not None


def test_projection_is_two_linear_layers_with_one_batch_norm():
    torch.manual_seed(0)
    head = ProjectionHead(5).double()
    x = torch.randn(9, 5, dtype=torch.float64)
    hidden = x @ head[0].weight.t()
    hidden = (hidden - hidden.mean(0)) / torch.sqrt(hidden.var(0, unbiased=False) + head[1].eps)
    expected = hidden.clamp(min=0) @ head[3].weight.t() + head[3].bias
    torch.testing.assert_close(head(x), expected)
    assert head[0].bias is None


def test_state_survives_a_round_trip():
    prototypes = Prototypes(3, 4)
    prototypes.update(torch.randn(4, 4), torch.tensor([0, 1, -1, -1]))
    other = Prototypes(3, 4)
    other.load_state_dict(prototypes.state_dict())
    assert torch.equal(other.value, prototypes.value)
    assert other.seen.tolist() == [True, True, False]


@pytest.mark.parametrize("random", [False, True])
def test_unseen_classes_have_cosine_zero_when_not_masked(random):
    prototypes = Prototypes(3, 4, mask_unseen=False, random=random)
    embedding = torch.randn(5, 4)
    prototypes.update(embedding, torch.tensor([0, 0, 2, -1, -1]))
    assert (prototypes.similarity(embedding)[:, 1] == 0).all()


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def slow_sub_update(classes, embedding, labels, n, momentum):
    """One step of ``classes``, a list of vectors for each class: start what can be started, then move the nearest."""
    for k, vectors in enumerate(classes):
        rows = [e for e, y in zip(embedding, labels, strict=True) if y == k]
        if not rows:
            continue
        anchors = [v / np.linalg.norm(v) for v in vectors]
        while len(anchors) < n:
            nearest = [max((cosine(r, a) for a in anchors), default=-np.inf) for r in rows]
            if min(nearest) >= 1 - 1e-4:
                break
            anchors.append(rows[int(np.argmin(nearest))])
        vectors += [np.zeros(embedding.shape[1]) for _ in range(len(anchors) - len(vectors))]
        own = [int(np.argmax([cosine(r, a) for a in anchors])) for r in rows]
        for j in range(len(vectors)):
            mine = [r for r, o in zip(rows, own, strict=True) if o == j]
            if mine:
                vectors[j] = momentum * vectors[j] + (1 - momentum) * np.mean(mine, axis=0)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_several_prototypes_follow_a_loop_over_classes(n):
    rng = np.random.default_rng(n)
    prototypes, classes = SubPrototypes(3, 5, n, momentum=0.7).double(), [[], [], []]
    for step in range(6):
        embedding, labels = rng.normal(size=(14, 5)), rng.integers(-1, 2 + (step > 1), size=14)
        labels[labels == 1] = 1 if step % 2 else -1
        slow_sub_update(classes, embedding, labels, n, 0.7)
        prototypes.update(torch.tensor(embedding), torch.tensor(labels))
        for k, vectors in enumerate(classes):
            assert prototypes.sub_seen[k].sum() == len(vectors)
            np.testing.assert_allclose(prototypes.sub_value[k, : len(vectors)], np.reshape(vectors, (-1, 5)), rtol=1e-9)
    similarity = prototypes.similarity(torch.tensor(embedding))
    expected = [[max(cosine(e, v) for v in vectors) for vectors in classes] for e in embedding]
    np.testing.assert_allclose(similarity, expected, rtol=1e-9)


def test_one_sub_prototype_is_a_prototype():
    torch.manual_seed(0)
    one, several = Prototypes(3, 4, 0.8), SubPrototypes(3, 4, 1, 0.8)
    for _ in range(3):
        embedding, labels = torch.randn(20, 4), torch.randint(-1, 3, (20,))
        one.update(embedding, labels)
        several.update(embedding, labels)
    torch.testing.assert_close(several.value, one.value)
    torch.testing.assert_close(several.similarity(embedding), one.similarity(embedding))


def test_a_class_with_one_direction_starts_one_sub_prototype():
    prototypes = SubPrototypes(2, 3, 4)
    row = torch.tensor([1.0, 2.0, 3.0])
    prototypes.update(torch.stack([row, 2 * row, 3 * row, -row]), torch.tensor([0, 0, 0, -1]))
    assert prototypes.sub_seen.sum(1).tolist() == [1, 0]
    assert prototypes.seen.tolist() == [True, False]
    similarity = prototypes.similarity(row[None])
    torch.testing.assert_close(similarity[0, 0], torch.tensor(1.0))
    assert similarity[0, 1].item() == -1e4


def test_the_gradient_goes_through_the_nearest_sub_prototype():
    prototypes = SubPrototypes(1, 2, 2)
    prototypes.update(torch.eye(2), torch.tensor([0, 0]))
    embedding = torch.tensor([[0.9, 0.1]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(prototypes.double().similarity, embedding)
    prototypes.similarity(embedding).sum().backward()
    assert embedding.grad[0, 1] < 0 < embedding.grad[0, 0]


def test_a_zero_embedding_has_a_finite_gradient():
    prototypes = Prototypes(2, 3)
    prototypes.update(torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))
    embedding = torch.zeros(2, 3, requires_grad=True)
    prototypes.similarity(embedding).sum().backward()
    assert torch.isfinite(embedding.grad).all()


def test_centroids_are_fp32_under_autocast():
    torch.manual_seed(0)
    embedding, labels = torch.randn(500, 16), torch.randint(-1, 3, (500,))
    plain, cast = Prototypes(3, 16), Prototypes(3, 16)
    plain.update(embedding, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast.update(embedding, labels)
    assert torch.equal(cast.value, plain.value)
