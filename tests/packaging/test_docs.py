"""Pages point at things that exist, and recipes and commands they name are real."""

import re
from pathlib import Path

import pytest

from pointseg.cli.main import COMMANDS
from pointseg.paths import configs_dir

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
SHIPPED = {path.stem for path in configs_dir().glob("*.yaml")}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_and_pictures_exist(page):
    for target in re.findall(r"\]\(([^):]+)\)", page.read_text()):
        path, _, heading = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not heading or heading in anchors(file), target


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page; a second one of a name ends in -1, which no page here has."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_an_anchor_is_what_github_makes_of_a_heading(tmp_path):
    (tmp_path / "a.md").write_text("# The page (HTML)\n## `pointseg.minkowski`, by-itself\n```\n# a comment\n```\n")
    assert anchors(tmp_path / "a.md") == {"the-page-html", "pointsegminkowski-by-itself"}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_nothing_was_left_to_fill_in(page):
    assert not re.findall(r"^[A-Z_]{4,}$", page.read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_and_recipes_are_real(page):
    text = page.read_text()
    for command in re.findall(r"^pointseg (\w+)", text, flags=re.MULTILINE):
        assert command in COMMANDS
    for recipe in re.findall(r"^pointseg train ([\w.]+) ", text, flags=re.MULTILINE):
        assert recipe in SHIPPED
    for script in re.findall(r"(?:bash|python) (scripts/[\w./]+)", text):
        assert (ROOT / script).is_file(), script
