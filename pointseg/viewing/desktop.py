"""A window on the desktop, drawn by Open3D (extra ``open3d``), with the keys of the web page where both have them."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pointseg.atomic import replacing_file
from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.controls import MODE_KEYS, Controls, Reaction
from pointseg.viewing.drawing import DARK, LIGHT
from pointseg.viewing.splat import oblique_axes, top_axes
from pointseg.viewing.thinning import select_points

_MAX_POINTS = 20_000_000
_SIZE = (1280, 800)
_ZOOM = 0.9  # of Open3D's measure: a room fills the window and nothing of it is cut off
_BALL = 6  # times as wide as a point; half of it is in the surface
_MOST_BALLS = 20_000  # where more points are to be enlarged, there is no room between them to be
_ELSEWHERE = "use --html or --png, or the live view in a browser, instead"
# GLFW's numbers; letters and digits are their ASCII codes. "=" is the key of "+" where that needs shift.
_KEY_CODES = {"+": (61, 334), "-": (45, 333), ",": (44,), ".": (46,), " ": (32,)}


def show(
    cloud: Cloud, classes: Classes, *, mode: str = "", say: Callable[[str], object] = print, folder: Path | None = None
) -> None:
    """Open a window on a cloud and wait until it is closed.

    Args:
        cloud: N points; of more than 20 million an even share is shown, annotated and wrong points first.
        classes: names and colours of the class ids.
        mode: the first colouring; "" for the first the cloud has.
        say: gets the lines the keys answer with.
        folder: where pictures go; the current one by default.

    Raises:
        InputError: if Open3D is not installed or cannot be loaded, there is no display or no window can be opened on
            it, the cloud has no points or not what ``mode`` shows, or ``classes`` does not cover its ids.
    """
    shown = cloud
    if cloud.num_points > _MAX_POINTS:
        selection = select_points(cloud, _MAX_POINTS)
        shown = cloud.take(selection.index)
        say(selection.note)
    controls = Controls(shown, classes, mode)
    check_display()
    window = Window(controls, say=say, folder=folder or Path.cwd())
    say(controls.help())
    window.run()


def check_display() -> None:
    """Refuse to open a window where nobody could see it: Open3D would draw for nobody, without end.

    Raises:
        InputError: on Linux without a display that answers.
    """
    if not sys.platform.startswith("linux") or os.environ.get("WAYLAND_DISPLAY"):
        return
    display = os.environ.get("DISPLAY")
    if not display:
        raise InputError(
            f"there is no display to open a window on (neither DISPLAY nor WAYLAND_DISPLAY is set); {_ELSEWHERE}."
        )
    if not _answers():
        raise InputError(f"the display {display!r} that DISPLAY names does not answer; {_ELSEWHERE}.")


def _answers() -> bool:
    """Whether the X display can be opened; Open3D needs the same library for it."""
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return False
    x11.XOpenDisplay.restype = ctypes.c_void_p
    handle = x11.XOpenDisplay(None)
    if handle:
        x11.XCloseDisplay(ctypes.c_void_p(handle))
    return bool(handle)


def load_open3d() -> Any:
    """The module ``open3d``, which takes seconds to load.

    Raises:
        InputError: if it is not installed or cannot be loaded.
    """
    try:
        import open3d
    except ModuleNotFoundError as error:
        if error.name != "open3d":
            raise InputError(f"Open3D cannot be loaded, {error.name} is missing; {_ELSEWHERE}.") from error
        raise InputError(
            "the desktop window needs Open3D, which is not installed; run pip install 'pointseg[open3d]', or "
            f"{_ELSEWHERE}."
        ) from error
    except (ImportError, OSError) as error:
        raise InputError(f"Open3D cannot be loaded ({' '.join(str(error).split())}); {_ELSEWHERE}.") from error
    return open3d


class Window:
    """A window that shows what ``controls`` say.

    Args:
        controls: the cloud and the state of the view.
        say: gets the lines the keys answer with.
        folder: where pictures go.
        visible: False draws the same without showing a window, for pictures.

    Raises:
        InputError: if Open3D cannot be loaded or cannot make a window.
    """

    def __init__(self, controls: Controls, *, say: Callable[[str], object], folder: Path, visible: bool = True) -> None:
        self._open3d = load_open3d()
        self._controls, self._say, self._folder = controls, say, folder
        self._window = self._open3d.visualization.VisualizerWithKeyCallback()
        title = f"{controls.cloud.name or 'cloud'}: h lists the keys"
        made = self._window.create_window(title, *_SIZE, visible=visible)
        if not made or self._window.get_render_option() is None:
            raise InputError(f"Open3D could not open a window on this display; {_ELSEWHERE}.")
        self._points = self._open3d.geometry.PointCloud()
        self._balls = self._open3d.geometry.TriangleMesh()
        self._first = True
        self._react(Reaction("start", ""))
        for key in f"{MODE_KEYS}coxbstprh,. +-":
            for code in _KEY_CODES.get(key, (ord(key.upper()),)):
                self._window.register_key_callback(code, self._callback(key))

    def run(self) -> None:
        """Show the window until it is closed."""
        try:
            self._window.run()
        finally:
            self.close()

    def close(self) -> None:
        """Give the window back."""
        self._window.destroy_window()

    def press(self, key: str) -> None:
        """Do what a key asks."""
        reaction = self._controls.press(key)
        self._react(reaction)
        if reaction.say:
            self._say(reaction.say)

    def picture(self) -> np.ndarray:
        """What the window shows, (H, W, 3) uint8."""
        self._window.poll_events()
        self._window.update_renderer()
        shown = np.asarray(self._window.capture_screen_float_buffer(True))
        return np.rint(shown * 255).astype(np.uint8)

    def _callback(self, key: str) -> Callable[[Any], bool]:
        def pressed(_: Any) -> bool:
            self.press(key)
            return False  # nothing changed that this method has not updated itself

        return pressed

    def _react(self, reaction: Reaction) -> None:
        if reaction.do in ("points", "start"):
            self._update_points()
        if reaction.do in ("look", "start"):
            self._update_look()
        if reaction.do in ("points", "look", "start"):
            self._update_balls()
        if reaction.do in ("side", "top", "start"):
            self._look_from(reaction.do)
        if reaction.do == "picture":
            self._save_picture()

    def _update_points(self) -> None:
        keep = self._controls.keep()
        vectors = self._open3d.utility.Vector3dVector
        self._window.remove_geometry(self._points, reset_bounding_box=False)
        # Open3D warns at every frame about a geometry without points.
        if keep.any():
            self._points.points = vectors(self._controls.cloud.coord[keep].astype(np.float64))
            self._points.colors = vectors(self._controls.colors()[keep] / 255)
            self._window.add_geometry(self._points, reset_bounding_box=self._first)
            self._first = False

    def _update_balls(self) -> None:
        """Open3D draws all points of a window in one size, so each one to enlarge gets a ball around it."""
        self._window.remove_geometry(self._balls, reset_bounding_box=False)
        chosen = np.flatnonzero(self._controls.enlarged())
        if not 0 < len(chosen) <= _MOST_BALLS:
            return
        coord = self._controls.cloud.coord
        # The window shows about the scene's diagonal at first, and a ball is as large then as a point would be.
        pixel = float(np.linalg.norm(np.ptp(coord, axis=0))) / _SIZE[1]
        ball = self._open3d.geometry.TriangleMesh.create_sphere(_BALL * self._controls.size / 2 * pixel, resolution=6)
        corners, sides = np.asarray(ball.vertices), np.asarray(ball.triangles)
        starts = len(corners) * np.arange(len(chosen))
        vectors = self._open3d.utility.Vector3dVector
        self._balls.vertices = vectors((coord[chosen][:, None] + corners).reshape(-1, 3).astype(np.float64))
        self._balls.triangles = self._open3d.utility.Vector3iVector((starts[:, None, None] + sides).reshape(-1, 3))
        self._balls.vertex_colors = vectors(np.repeat(self._controls.colors()[chosen] / 255, len(corners), axis=0))
        self._window.add_geometry(self._balls, reset_bounding_box=False)

    def _update_look(self) -> None:
        options = self._window.get_render_option()
        options.background_color = np.array((DARK if self._controls.dark else LIGHT).ground) / 255
        options.point_size = self._controls.size
        options.light_on = False  # colours as they are in the legend

    def _look_from(self, where: str) -> None:
        _, up, forward = top_axes() if where == "top" else oblique_axes()
        view = self._window.get_view_control()
        view.set_front(-forward)
        view.set_up(up)
        view.set_lookat(self._points.get_axis_aligned_bounding_box().get_center())
        view.set_zoom(_ZOOM)

    def _save_picture(self) -> None:
        name = re.sub(r"[^\w.-]+", "_", self._controls.cloud.name) or "cloud"
        stem = f"{name}_{self._controls.mode}"
        taken = (self._folder / f"{stem}{'' if n == 1 else f'_{n}'}.png" for n in range(1, 10_000))
        path = next(path for path in taken if not path.exists())
        with replacing_file(path) as unfinished:
            Image.fromarray(self.picture()).save(unfinished, format="PNG")
        self._say(f"saved {path}")
