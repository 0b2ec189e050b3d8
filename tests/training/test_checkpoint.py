import hashlib
import json

import pytest
import torch
from torch import nn

from pointseg.errors import InputError
from pointseg.training.checkpoint import (
    load_checkpoint,
    load_weights,
    newest_undamaged,
    require_undamaged,
    save_checkpoint,
    save_weights,
    step_checkpoints,
)


def make(seed=0, kind=torch.optim.AdamW, **settings):
    torch.manual_seed(seed)
    model, method = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), nn.Linear(2, 2)
    optimizer = kind([*model.parameters(), *method.parameters()], lr=0.1, **settings)
    return model, method, optimizer


def step(model, method, optimizer, seed):
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    method(model(x)).square().mean().backward()
    optimizer.step()


def save(folder, trio, number):
    model, method, optimizer = trio
    return save_checkpoint(folder, step=number, model=model, method=method, optimizer=optimizer, state={"best": {}})


@pytest.mark.parametrize("settings", [{}, {"kind": torch.optim.SGD, "momentum": 0.9, "nesterov": True}])
def test_training_goes_on_bit_for_bit(tmp_path, settings):
    straight, first = make(**settings), make(**settings)
    for i in range(6):
        step(*straight, i)
    for i in range(3):
        step(*first, i)
    path = save(tmp_path, first, 3)
    second = make(seed=9, **settings)
    state = load_checkpoint(path, model=second[0], method=second[1], optimizer=second[2])
    assert state["step"] == 3
    for i in range(3, 6):
        step(*second, i)
    for a, b in zip(straight[0].state_dict().values(), second[0].state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_last_two_are_kept_and_half_written_ones_never_count(tmp_path):
    trio = make()
    for number in (1, 2, 999_999, 1_000_000):
        step(*trio, number)
        save(tmp_path, trio, number)
    (tmp_path / ".step_000011.killed.tmp").mkdir()
    assert [p.name for p in step_checkpoints(tmp_path)] == ["step_999999", "step_1000000"]


def test_a_checkpoint_is_safetensors_and_json_only(tmp_path):
    trio = make()
    step(*trio, 0)
    files = sorted(p.name for p in save(tmp_path, trio, 1).iterdir())
    assert files == ["manifest.json", "method.safetensors", "model.safetensors", "optimizer.safetensors", "state.json"]


def test_saving_again_under_the_same_name_replaces(tmp_path):
    model, *_ = make()
    save_weights(tmp_path / "best", model, {"step": 1})
    with torch.no_grad():
        model[0].weight.zero_()
    save_weights(tmp_path / "best", model, {"step": 2})
    assert json.loads((tmp_path / "best" / "state.json").read_text())["step"] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["best"]


def test_damage_and_misfits_are_told(tmp_path):
    trio = make()
    step(*trio, 0)
    path = save(tmp_path, trio, 1)
    with pytest.raises(InputError, match="do not fit this network"):
        load_weights(path / "model.safetensors", nn.Linear(5, 5))
    (path / "optimizer.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"optimizer\.safetensors cannot be read"):
        load_checkpoint(path, model=trio[0], method=trio[1], optimizer=trio[2])
    (path / "state.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(path, model=trio[0], method=trio[1], optimizer=trio[2])


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [cut, flip, lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize(
    "name", ["manifest.json", "method.safetensors", "model.safetensors", "optimizer.safetensors", "state.json"]
)
def test_whatever_is_damaged_the_checkpoint_before_is_used(tmp_path, caplog, name, harm):
    trio = make()
    step(*trio, 0)
    older, newer = save(tmp_path, trio, 1), save(tmp_path, trio, 2)
    assert newest_undamaged(tmp_path) == newer
    assert not caplog.records
    harm(newer / name)
    assert newest_undamaged(tmp_path) == older
    assert len(caplog.messages) == 1
    assert "step_000002 is damaged" in caplog.text
    # Where the manifest itself is wrong, a file that it names may be blamed.
    assert name in caplog.text or name == "manifest.json"
    harm(older / name)
    with pytest.raises(InputError, match=r"all checkpoints .*step_000001, step_000002.*delete them"):
        newest_undamaged(tmp_path)


def test_the_manifest_is_what_other_tools_compute(tmp_path):
    trio = make()
    step(*trio, 0)
    path = save(tmp_path, trio, 1)
    files = json.loads((path / "manifest.json").read_text())["files"]
    others = [p for p in path.iterdir() if p.name != "manifest.json"]
    assert files == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in others}


def test_without_a_checkpoint_there_is_none(tmp_path):
    assert newest_undamaged(tmp_path / "checkpoints") is None


def test_damaged_final_weights_are_refused(tmp_path):
    save_weights(tmp_path / "final", make()[0], {"step": 1})
    require_undamaged(tmp_path / "final")
    flip(tmp_path / "final" / "model.safetensors")
    with pytest.raises(InputError, match=r"final is damaged \(model\.safetensors is not what was written\).*--resume"):
        require_undamaged(tmp_path / "final")
