"""The files that say what is installed agree with each other."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import yaml

from pointseg.cli import doctor

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_environment_yml_has_the_requirements_of_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert [line for line in pip if not line.startswith("-e")] == PROJECT["dependencies"]
    assert "-e ." in pip
    assert f"python{PROJECT['requires-python']}" in environment["dependencies"]


NAMED = {"yaml": "PyYAML", "PIL": "pillow", "sklearn": "scikit-learn", "lazrs": "laspy"}
"""Distributions that are not called what is imported; lazrs is an extra of laspy."""


def test_everything_imported_is_required_or_an_extra_and_the_doctor_looks_for_it():
    required = {re.match(r"[\w-]+", line)[0] for line in PROJECT["dependencies"]}
    extras = {re.match(r"[\w-]+", line)[0] for lines in PROJECT["optional-dependencies"].values() for line in lines}
    imported = set()
    for path in (path for folder in ("pointseg", "data_prep") for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.partition(".")[0])
    others = {NAMED.get(name, name) for name in imported - sys.stdlib_module_names - {"pointseg", "data_prep"}}
    assert others - required - extras == set()
    assert set(doctor.REQUIRED) == required
    assert set(doctor.OPTIONAL) <= extras


def test_type_checkers_are_told_that_the_package_is_typed():
    assert (ROOT / "pointseg" / "py.typed").is_file()
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "pointseg" in wheel["packages"]


def test_the_pinned_torch_is_one_exact_version_that_pyproject_allows():
    pins = (ROOT / "scripts" / "constraints.txt").read_text()
    pinned = tuple(int(part) for part in re.search(r"^torch==(\d+)\.(\d+)\.\d+$", pins, re.MULTILINE).groups())
    least = next(line for line in PROJECT["dependencies"] if line.startswith("torch"))
    assert pinned >= tuple(int(part) for part in re.fullmatch(r"torch>=(\d+)\.(\d+)", least).groups())


def test_scripts_install_torch_first_and_only_by_that_pin():
    script = (ROOT / "scripts" / "env.sh").read_text()
    assert script.index("install_torch") < script.index("--editable")
    assert not re.search(r"torch==\d", script)


def test_licence_is_apache():
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]
