"""The files that say what is installed agree with each other."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_environment_yml_has_the_requirements_of_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert [line for line in pip if not line.startswith("-e")] == PROJECT["dependencies"]
    assert "-e ." in pip
    assert f"python{PROJECT['requires-python']}" in environment["dependencies"]


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
