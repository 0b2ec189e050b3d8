"""The page of a scene, of two side by side, or of a live server: one HTML text that asks no other host for anything.

The page's own JavaScript (``page/``) draws with WebGL2. In a file the points are inside, in base64; a live page fetches
them, scene by scene, from the server it came from.
"""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any

from pointseg.atomic import replacing_file
from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.colors import MODES
from pointseg.viewing.payload import MAX_POINTS, pack_scene

_PAGE = Path(__file__).parent / "page"
_SCRIPTS = (
    *("state.js", "data.js", "paint.js", "camera.js", "scene.js", "address.js"),
    *("panel.js", "classes.js", "picked.js", "hands.js"),
)
_LIVE_SCRIPTS = ("remote.js", "scenes.js")  # the only ones that speak to a network
_LAST_SCRIPT = "app.js"  # starts the page


def scene_html(
    path: str | Path,
    cloud: Cloud,
    classes: Classes,
    max_points: int = MAX_POINTS,
    *,
    mode: str = "",
    dark: bool = False,
) -> Path:
    """Write a scene as one HTML file that any browser with WebGL2 opens, offline.

    The page shows every colouring the cloud has data for; scores and counts are those of the whole cloud, also when
    only ``max_points`` of it are in the page (annotated and wrong points are kept first, and the page says so).

    Args:
        path: the file; written under a temporary name and renamed.
        cloud: N points.
        classes: names and colours of the class ids.
        max_points: the largest number of points in the page; up to 18 bytes each before compression.
        mode: the colouring to begin with, of ``MODES``; the first that the cloud has if empty.
        dark: begin with a dark background.

    Returns:
        The path written.

    Raises:
        InputError: if the cloud has no points, ``classes`` does not cover its ids, ``max_points`` is below 1, there is
            no such mode or the folder is absent.
    """
    path = _checked(path)
    header, payload = pack_scene(cloud, classes, max_points)
    return _write(path, cloud.name, header | {"start": _start(mode, dark)}, _base64(payload))


def pair_html(
    path: str | Path,
    clouds: tuple[Cloud, Cloud],
    sources: tuple[str, str],
    classes: Classes,
    max_points: int = MAX_POINTS // 2,
    *,
    mode: str = "",
    dark: bool = False,
) -> Path:
    """Write two clouds of one scene as one HTML file that shows them side by side with one camera.

    Args:
        path: the file; written under a temporary name and renamed.
        clouds: in the same frame, once each one's offset is added.
        sources: what tells the two apart, such as the names of two runs.
        classes: names and colours of the class ids of both.
        max_points: the largest number of points of each cloud in the page.
        mode: the colouring to begin with, as in ``scene_html``.
        dark: begin with a dark background.

    Returns:
        The path written.

    Raises:
        InputError: as ``scene_html``, for either cloud.
    """
    path = _checked(path)
    packed = [pack_scene(cloud, classes, max_points) for cloud in clouds]
    headers = [header | {"source": source} for (header, _), source in zip(packed, sources, strict=True)]
    payload = ",".join(_base64(payload) for _, payload in packed)
    return _write(path, clouds[0].name, {"pair": headers, "start": _start(mode, dark)}, payload)


def live_page(clouds: list[dict[str, Any]], *, title: str = "pointseg", mode: str = "", dark: bool = False) -> str:
    """The page that a live server sends; it fetches ``clouds/<id>/header.json`` and ``clouds/<id>/points.bin``.

    Args:
        clouds: ``{"id": int, "name": str, "source": str, "place": str}`` each, in the order they are listed; clouds of
            one place share camera and box.
        title: of the browser's tab until a scene is shown.
        mode: the colouring to begin with, as in ``scene_html``.
        dark: begin with a dark background.

    Raises:
        InputError: if there is no such mode.
    """
    header = {"live": True, "clouds": clouds, "start": _start(mode, dark)}
    return fill_page(title, header, "", live=True)


def fill_page(title: str, header: dict[str, Any], payload: str, *, live: bool = False) -> str:
    """The page's text; nothing in ``title`` or ``header`` can end a tag or a script."""
    text = json.dumps(header, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    scripts = (*_SCRIPTS, *(_LIVE_SCRIPTS if live else ()), _LAST_SCRIPT)
    values = {
        "title": html.escape(title),
        "connect": "connect-src 'self'; " if live else "",
        "style": (_PAGE / "page.css").read_text(encoding="utf-8"),
        "script": "\n".join((_PAGE / name).read_text(encoding="utf-8") for name in scripts),
        "header": text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"),
        "payload": payload,
    }
    pieces = (_PAGE / "page.html").read_text(encoding="utf-8").split("{{")
    # Filled piece by piece, so that a value that happens to hold {{...}} is left as it is.
    filled = [pieces[0]]
    for piece in pieces[1:]:
        key, _, rest = piece.partition("}}")
        filled += [values[key], rest]
    return "".join(filled)


def _start(mode: str, dark: bool) -> dict[str, Any]:
    """What the page begins with where its address does not say."""
    if mode and mode not in MODES:
        raise InputError(f"there is no colouring {mode!r}; allowed are {', '.join(MODES)}.")
    return {"mode": mode or None, "dark": dark}


def _checked(path: str | Path) -> Path:
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} of the page {path.name} does not exist; make it first.")
    return path


def _base64(payload: bytes) -> str:
    return base64.b64encode(payload).decode("ascii")


def _write(path: Path, name: str, header: dict[str, Any], payload: str) -> Path:
    page = fill_page(name or path.stem, header, payload)
    with replacing_file(path) as unfinished:
        unfinished.write_text(page, encoding="utf-8", newline="\n")
    return path
