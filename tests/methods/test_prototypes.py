"""Prototypes against a per-class loop, and the two rules that differ from the released code."""

import numpy as np
import torch

from pointseg.methods import ProjectionHead, Prototypes


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
