"""The API against MinkowskiEngine 0.5.4's, recorded in minkowski_engine_api.json; older names; register()."""

import inspect
import json
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

import pointseg.minkowski as ME
from pointseg.errors import InputError
from pointseg.minkowski import enums, names

HERE = Path(__file__)
RECORDED = json.loads(HERE.with_name("minkowski_engine_api.json").read_text())
PAGE = (HERE.parents[2] / "docs" / "engine-api.md").read_text()
MISSING = {
    name
    for cell in re.findall(r"^\| (.*?) \|", PAGE.partition("\n## Missing\n")[2], flags=re.MULTILINE)
    for name in re.findall(r"`([\w.]+)`", cell)
}
TOP = RECORDED.pop("top level")
FACTS = [(module, name) for module, contents in RECORDED.items() for name in contents]


def ours(module: str) -> object:
    if module == "MinkowskiEngineBackend._C":
        return SimpleNamespace(**{k: v for part in names.BACKEND for k, v in vars(part).items()})
    return import_module(f"pointseg.minkowski.{module}")


def arguments(function) -> list[list]:
    """As they are recorded: [name] or [name, default], without self."""
    if function is torch.nn.Module.__init__:
        return []
    listed = []
    for p in inspect.signature(function).parameters.values():
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        listed.append([star + p.name] if p.default is p.empty else [p.name, p.default])
    return listed[1:] if listed and listed[0] == ["self"] else listed


def assert_same_arguments(recorded: list[list], function) -> None:
    actual = arguments(function)
    assert [argument[0] for argument in actual][: len(recorded)] == [argument[0] for argument in recorded]
    # Further arguments, and a default where MinkowskiEngine has none, are fine.
    assert all(len(argument) == 2 for argument in actual[len(recorded) :])
    scope = {**vars(enums), "torch": torch}
    for theirs, mine in zip(recorded, actual, strict=False):
        if len(theirs) == 2:
            assert mine[1] == eval(theirs[1], scope)


@pytest.mark.parametrize(("module", "name"), FACTS, ids=[".".join(fact) for fact in FACTS])
def test_names_arguments_and_defaults(module, name):
    fact, path = RECORDED[module][name], f"{module}.{name}"
    if path in MISSING:
        assert module in ("diagnostics", "utils.torchsummary") or not hasattr(ours(module), name)
        return
    thing = getattr(ours(module), name)
    if "members" in fact:
        assert {member: thing[member].value for member in fact["members"]} == fact["members"]
    if "apply" in fact:
        assert_same_arguments(fact["apply"], thing().apply)
    if "args" in fact:
        assert_same_arguments(fact["args"], thing.__init__ if isinstance(thing, type) else thing)
    for method, recorded in fact.get("methods", {}).items():
        if f"{path}.{method}" in MISSING:
            assert not hasattr(thing, method)
        elif recorded is None:
            assert callable(getattr(thing, method))
        else:
            assert_same_arguments(recorded, getattr(thing, method))
    for attribute in fact.get("properties", []):
        assert isinstance(getattr(thing, attribute, None), property) or attribute in inspect.get_annotations(thing)


def test_the_package_has_every_name_at_its_top():
    short = {path.rpartition(".")[2] for path in MISSING}
    assert [name for name in TOP if not hasattr(ME, name)] == [
        name for name in TOP if name in short - {"print_diagnostics"}
    ]
    assert all(hasattr(ME, name) for name in ME.__all__)


def test_missing_names_are_names_of_the_record():
    known = {f"{module}.{name}" for module, name in FACTS}
    known |= {f"{m}.{n}.{method}" for m, n in FACTS for method in RECORDED[m][n].get("methods", {})}
    assert MISSING
    assert known >= MISSING


def test_a_class_and_a_module_share_a_name():
    from pointseg.minkowski.MinkowskiConvolution import MinkowskiConvolution

    import pointseg.minkowski.MinkowskiOps as me  # noqa: N813

    module = sys.modules["pointseg.minkowski.MinkowskiConvolution"]
    assert ME.MinkowskiConvolution is MinkowskiConvolution is module.MinkowskiConvolution
    assert me.cat is ME.cat
    assert ME.MinkowskiOps is me


def test_older_names():
    assert ME.RegionType.HYPERCUBE is ME.RegionType.HYPER_CUBE
    assert ME.RegionType.HYPERCROSS is ME.RegionType.HYPER_CROSS
    assert ME.clear_global_coords_man is ME.clear_global_coordinate_manager
    with pytest.raises(AttributeError, match="MinkowskiPoolingTranspose replaces it"):
        _ = ME.MinkowskiAvgUnpooling
    with pytest.raises(AttributeError, match=r"has no 'MinkowskiNothing'\.$"):
        _ = ME.MinkowskiNothing
    x = ME.SparseTensor(torch.ones(1, 1), torch.zeros(1, 3, dtype=torch.int32))
    with pytest.raises(AttributeError, match="'coords_man': it is called coordinate_manager"):
        _ = x.coords_man
    assert not hasattr(x, "anything_else")


@pytest.fixture
def imports():
    """Imports made by a test are forgotten after it."""
    before = dict(sys.modules)
    yield
    for name in set(sys.modules) - set(before):
        if name.startswith(("Minkowski", "sparse_matrix_functions")):
            del sys.modules[name]


@pytest.mark.usefixtures("imports")
def test_register_runs_code_written_for_minkowski_engine():
    ME.register()
    ME.register()
    scope: dict = {}
    source = """
import torch
import MinkowskiEngine
import MinkowskiEngine as Engine
import MinkowskiEngine.MinkowskiOps as me
import MinkowskiEngine.MinkowskiFunctional as MEF
from MinkowskiEngine import SparseTensor
from MinkowskiEngine.MinkowskiPooling import MinkowskiAvgPooling
from MinkowskiEngine.MinkowskiSparseTensor import _get_coordinate_map_key
from MinkowskiEngine.modules.resnet_block import BasicBlock, Bottleneck
from MinkowskiEngine.utils.quantization import sparse_quantize
from MinkowskiEngineBackend._C import CoordinateMapKey, RegionType
from MinkowskiTensorField import TensorField

class Net(Engine.MinkowskiNetwork):
    def __init__(self, D):
        super().__init__(D)
        self.block = BasicBlock(2, 2, dimension=D)
    def forward(self, x):
        return MEF.relu(me.cat(self.block(x), x))

out = Net(2)(SparseTensor(torch.ones(3, 2), torch.tensor([[0, 0, 0], [0, 1, 0], [1, 0, 0]])))
"""
    exec(source, scope)
    assert scope["out"].F.shape == (3, 4)
    assert isinstance(scope["out"], ME.SparseTensor)
    assert scope["MinkowskiEngine"] is ME
    assert scope["RegionType"] is ME.RegionType


@pytest.mark.usefixtures("imports")
@pytest.mark.parametrize("name", ["MinkowskiEngine", "MinkowskiEngineBackend", "MinkowskiOps"])
def test_register_refuses_beside_the_real_one(name):
    sys.modules[name] = ModuleType(name)
    before = set(sys.modules)
    with pytest.raises(InputError, match=f"{name} is imported already"):
        ME.register()
    assert set(sys.modules) == before
