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
[ "$2" = venv ] && folder="$3" || folder="${0%/bin/python}"
mkdir -p "$folder/bin"
[ "$2" = venv ] && cp "$0" "$folder/bin/python"
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


def try_env(project: Path) -> subprocess.CompletedProcess[str]:
    path = f"{project / 'tools'}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", "source scripts/env.sh; make_env dev"]
    return subprocess.run(command, cwd=project, env={"PATH": path}, capture_output=True, text=True, check=False)


def make_env(project: Path) -> str:
    made = try_env(project)
    assert made.returncode == 0, made.stderr
    return made.stdout


@pytest.fixture
def half_made(project) -> Path:
    """An environment with a python and no pip, and something else in it."""
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "mine").touch()
    shutil.copy(project / "tools" / "python3", project / ".venv" / "bin" / "python")
    return project


def test_an_environment_without_pip_gets_it_and_keeps_the_rest(half_made):
    assert "environment: installing pointseg[dev]" in make_env(half_made)
    assert (half_made / ".venv" / "mine").exists()
    installed = (half_made / ".venv" / "bin" / "pip.log").read_text()
    assert f"--editable {half_made}[dev]" in installed
    assert "is up to date" in make_env(half_made)


def test_a_pip_that_was_cut_short_is_installed_again(half_made):
    python = half_made / ".venv" / "bin" / "python"
    # ensurepip takes it for installed: its metadata are there, its command is not.
    python.write_text(python.read_text().replace("#!/bin/sh\n", '#!/bin/sh\n[ "$2" = ensurepip ] && exit 0\n'))
    assert "environment: installing pointseg[dev]" in make_env(half_made)


def test_where_pip_cannot_be_had_the_environment_is_left_to_its_owner(half_made):
    (half_made / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    made = try_env(half_made)
    assert made.returncode == 1
    assert made.stderr.startswith(f"{half_made}/.venv has no pip, and none can be put into it; delete this folder")
    assert (half_made / ".venv" / "mine").exists()


def test_a_whole_environment_is_kept_when_the_requirements_change(project):
    make_env(project)
    kept = project / ".venv" / "kept"
    kept.touch()
    (project / "pyproject.toml").write_text("# other requirements\n")
    assert "environment: installing pointseg[dev]" in make_env(project)
    assert kept.exists()
