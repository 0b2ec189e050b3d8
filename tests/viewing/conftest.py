"""One Chromium for all the browser tests of this folder: starting one takes seconds."""

from __future__ import annotations

import pytest
from browser import Browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A ``Browser`` (browser.py) whose tab is whatever the last test left; begin with ``open``."""
    with Browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="session")
def new_browser():
    """The class ``Browser`` itself, for a browser with flags of its own."""
    return Browser
