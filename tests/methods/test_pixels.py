"""Methods on images: every one learns from flattened pixels, and the example of the documentation runs as it stands."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from pointseg.errors import InputError
from pointseg.methods import METHODS, Batch, Task, View

DOCS = Path(__file__).parents[2] / "docs" / "methods.md"
SETTINGS = {
    "mllc": {"contrast_start": 0.0},
    "query_erda": {"query_init": "centroids"},
    "u2pl": {"rep_dim": 8, "bank_size": 64, "keys_per_class": 8},
}


class PixelNet(nn.Module):
    """(B, 3, H, W) -> features (B H W, 8) and logits (B H W, 4)."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, images):
        features = self.body(images)
        return flattened(features), flattened(self.head(features))


def flattened(maps):
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def pixel_batch(step):
    """Two images of 12 x 10 pixels, one pixel in nine annotated; the strong view is mirrored and noisy."""
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(2, 3, 12, 10, generator=generator)
    labels = torch.full((2, 12, 10), -1)
    labels[:, ::3, ::3] = torch.randint(0, 4, (2, 4, 4), generator=generator)
    row = torch.arange(240)
    across, down = row % 10, row % 120 // 10
    weak = View(
        inputs=images,
        labels=labels.flatten(),
        batch_index=row // 120,
        coord=torch.stack((across, down, torch.zeros_like(row)), 1).float(),
        row_id=row % 120,
        truth=torch.full_like(row, -1),
    )
    weak_row = row.view(2, 12, 10).flip(2).flatten()
    noisy = images.flip(3) + 0.1 * torch.randn(2, 3, 12, 10, generator=generator)
    strong = dataclasses.replace(weak, inputs=noisy, labels=weak.labels[weak_row], row_id=weak.row_id[weak_row])
    return Batch(weak=weak, strong=strong, weak_row=weak_row, step=step, steps=10)


def build(name):
    torch.manual_seed(0)
    net = PixelNet()
    method_class = METHODS[name]
    task = Task(num_classes=4, feature_dim=8, label_counts=torch.full((4,), 8))
    method = method_class(method_class.Config(**SETTINGS.get(name, {})), task)
    method.prepare(net)
    return net, method


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_network_and_own_layers_on_pixels(name):
    net, method = build(name)
    trained = {n: p for part in (net, method) for n, p in part.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(trained.values(), lr=0.1)
    moved = dict.fromkeys(trained, False)
    for step in (8, 9):
        terms = method.loss(net, pixel_batch(step))
        assert terms.total.isfinite()
        assert all(value.isfinite().all() for key, value in terms.log.items() if key != "prototype_drift_class")
        optimizer.zero_grad()
        terms.total.backward()
        for n, p in trained.items():
            if p.grad is not None:
                assert p.grad.isfinite().all(), n
                moved[n] |= bool((p.grad != 0).any())
        optimizer.step()
        method.after_step(net)
    assert [n for n, reached in moved.items() if not reached] == []
    with torch.no_grad():
        _, scored = method.evaluated(net).eval()(pixel_batch(0).weak.inputs)
    assert scored.shape == (240, 4)
    assert scored.isfinite().all()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("label", [255, 4, -2])
def test_a_label_of_no_class_is_refused_in_words(name, label):
    net, method = build(name)
    batch = pixel_batch(9)
    labels = torch.where(torch.arange(240) == 239, label, batch.weak.labels)
    with pytest.raises(InputError, match=rf"label is {label}; it must be a class, 0 to 3, or -1 for not annotated"):
        method.loss(net, dataclasses.replace(batch, weak=dataclasses.replace(batch.weak, labels=labels)))


def test_the_documented_example_runs_as_it_stands(tmp_path, monkeypatch):
    section = DOCS.read_text().split("\n## Elsewhere\n")[1]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {}
    exec(compile(code, str(DOCS), "exec"), names)
    method, model, optimizer = names["method"], names["model"], names["optimizer"]
    trained = [*model.parameters(), *method.parameters()]
    assert len(trained) == 4 + 5  # the network's, the projection's
    assert all(optimizer.state[p]["exp_avg"].any() for p in trained)
    right = names["scored"](names["images"])[1].argmax(1) == names["images"].argmax(1).flatten()
    assert right.float().mean() > 0.5
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    fresh = type(method)(method.config, names["task"])
    fresh.load_state_dict(saved["method"])
    assert all(torch.equal(value, method.state_dict()[n].cpu()) for n, value in fresh.state_dict().items())
