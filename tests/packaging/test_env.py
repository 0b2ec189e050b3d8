"""``scripts/env.sh`` with a python of shell, so that nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PYTHON = r"""#!/bin/sh
[ "$1" = -c ] && exit 0
for folder; do :; done
case " $* " in *" -m venv "*--clear*) rm -rf "$folder" ;; esac
mkdir -p "$folder/bin"
cp "$0" "$folder/bin/python"
printf '#!/bin/sh\necho "$@" >>"$0.log"\n' >"$folder/bin/pip"
chmod +x "$folder/bin/pip"
"""


@pytest.fixture
def project(tmp_path) -> Path:
    """What the script needs of the project, and a python3 that comes first on PATH."""
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/env.sh", "scripts/constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "python3").write_text(PYTHON)
    (tmp_path / "tools" / "python3").chmod(0o755)
    return tmp_path


def make_env(project: Path) -> str:
    path = f"{project / 'tools'}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", "source scripts/env.sh; make_env dev"]
    made = subprocess.run(command, cwd=project, env={"PATH": path}, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return made.stdout


def test_an_environment_that_was_cut_short_is_made_anew(project):
    half = project / ".venv" / "lib" / "pip" / "half"
    half.mkdir(parents=True)
    (project / ".venv" / "bin").mkdir()
    shutil.copy(project / "tools" / "python3", project / ".venv" / "bin" / "python")
    assert "environment: making" in make_env(project)
    assert not half.exists()
    installed = (project / ".venv" / "bin" / "pip.log").read_text()
    assert f"--editable {project}[dev]" in installed
    assert "is up to date" in make_env(project)


def test_a_whole_environment_is_kept_when_the_requirements_change(project):
    make_env(project)
    kept = project / ".venv" / "kept"
    kept.touch()
    (project / "pyproject.toml").write_text("# other requirements\n")
    assert "environment: installing pointseg[dev]" in make_env(project)
    assert kept.exists()
