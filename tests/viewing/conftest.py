"""One Chromium for all the browser tests of this folder: starting one takes seconds."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("viewing_browser", Path(__file__).parent / "browser.py")
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A ``Browser`` (browser.py) whose tab is whatever the last test left; begin with ``open``."""
    with _module.Browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="session")
def new_browser():
    """The class ``Browser`` itself, for a browser with flags of its own."""
    return _module.Browser
