"""A small client of Chromium's DevTools protocol: open a page, use it like a hand does, look at it.

Spoken over the pipe of ``--remote-debugging-pipe``, so there is no port, no dependency, and Chromium ends by itself
when this process does, however that comes about.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
SIZE = (900, 700)  # pixels of the window
_FLAGS = [
    *["--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
    *["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"],
    *["--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe"],
]
_CODES = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "PageUp": 33, "PageDown": 34} | {
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
}
_TEXTS = {"Enter": "\r"}
_MODIFIERS = {"alt": 1, "ctrl": 2, "meta": 4, "shift": 8}
_BUTTONS = {"none": 0, "left": 1, "right": 2, "middle": 4}


class Browser:
    """Headless Chromium with one tab; a context manager. Skips the test where there is no Chromium.

    Attributes:
        console_errors: what pages wrote to the console as errors, and exceptions nothing caught, since ``open``.
        requests: addresses that the page asked for since ``open``, its own included.
    """

    def __init__(self, tmp_path: Path, *flags: str, size: tuple[int, int] = SIZE) -> None:
        if CHROMIUM is None:
            pytest.skip("no Chromium on this machine (apt-get install chromium)")
        self.console_errors: list[str] = []
        self.requests: list[str] = []
        self._size, self._number, self._session = size, 0, ""
        self._answers: dict[int, dict[str, Any]] = {}
        self._rest = b""
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        own = [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={size[0]},{size[1]}", *flags, "about:blank"]
        # Chromium speaks on descriptors 3 and 4; only a shell can put them there.
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", CHROMIUM, *_FLAGS, *own],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End Chromium with all its helpers."""
        for end in (self._out, self._in):
            os.close(end)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def open(self, url: str) -> None:
        """Load a page afresh, also when only what is after ``#`` differs; returns when it has loaded."""
        self.call("Page.navigate", url="about:blank")
        self.wait_for("location.href === 'about:blank' && document.readyState === 'complete'")
        self.eval("1")
        self.console_errors.clear()
        self.requests.clear()
        self.call("Page.navigate", url=url)
        self.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'")

    def show(self, url: str) -> dict[str, str]:
        """``open`` one of the project's pages and wait until its points are drawn; the body's ``data-`` attributes."""
        self.open(url)
        self.wait_for("document.body.dataset.state === 'ready'")
        return self.data()

    def data(self) -> dict[str, str]:
        """The ``data-`` attributes of the page's body, where the project's page writes its state."""
        return self.eval("({...document.body.dataset})")

    def text(self, selector: str) -> str:
        """What the first element that a CSS selector finds says."""
        return self.eval(f"document.querySelector({json.dumps(selector)}).innerText")

    def eval(self, script: str) -> Any:
        """The value of a JavaScript expression, promises awaited; it must be possible as JSON."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{script}: {_exception(answer['exceptionDetails'])}")
        return answer["result"].get("value")

    def wait_for(self, script: str, seconds: float = 90) -> Any:
        """Ask again and again until the expression is true; its value."""
        end = time.monotonic() + seconds
        while not (value := self.eval(script)):
            if time.monotonic() > end:
                raise AssertionError(f"not true within {seconds} s: {script}; errors: {self.console_errors}")
            time.sleep(0.03)
        return value

    def key(self, key: str, modifiers: str = "") -> None:
        """Press and release a key, by its name or character; ``modifiers`` like "shift" or "ctrl shift"."""
        code = _CODES.get(key, ord(key.upper()) if len(key) == 1 else 0)
        about = {"key": key, "windowsVirtualKeyCode": code, "modifiers": _bits(modifiers)}
        if key.isdigit():
            about["code"] = f"Digit{key}"
        text = _TEXTS.get(key, key if len(key) == 1 else "")
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def click(self, x: float, y: float, button: str = "left", modifiers: str = "", count: int = 1) -> None:
        """Click at a pixel of the window; ``count=2`` for a double click."""
        self._mouse("mouseMoved", x, y, "none", modifiers)
        for number in range(1, count + 1):
            self._mouse("mousePressed", x, y, button, modifiers, number)
            self._mouse("mouseReleased", x, y, button, modifiers, number)

    def click_on(self, selector: str) -> None:
        """Click the middle of the first element that a CSS selector finds."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.eval(f"{element}.scrollIntoView({{block: 'nearest'}})")
        x, y, width, height = self.eval(
            f"(({{x, y, width, height}}) => [x, y, width, height])({element}.getBoundingClientRect())"
        )
        x, y = x + width / 2, y + height / 2
        self.click(x, y)

    def drag(
        self, start: tuple[float, float], end: tuple[float, float], button: str = "left", modifiers: str = ""
    ) -> None:
        """Press at one pixel, move to another in four steps, release."""
        self._mouse("mouseMoved", *start, "none", modifiers)
        self._mouse("mousePressed", *start, button, modifiers, 1)
        for part in (0.25, 0.5, 0.75, 1.0):
            x, y = (a + part * (b - a) for a, b in zip(start, end, strict=True))
            self._mouse("mouseMoved", x, y, button, modifiers)
        self._mouse("mouseReleased", *end, button, modifiers, 1)

    def wheel(self, x: float, y: float, delta: float) -> None:
        """Turn the wheel over a pixel; a positive ``delta`` is towards the user."""
        self.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=delta)

    def screenshot(self) -> np.ndarray:
        """(height, width, 3) uint8 RGB of the window as it is after the next frame."""
        self.eval("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
        data = self.call("Page.captureScreenshot", format="png")["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))

    @staticmethod
    def share(picture: np.ndarray, color: tuple[int, int, int], off: int = 3) -> float:
        """Share of pixels close to a colour: the card's and the file's roundings differ by a step or two."""
        return float((np.abs(picture.astype(int) - np.asarray(color)) <= off).all(axis=2).mean())

    def resize(self, width: int, height: int, scale: float = 1) -> None:
        """Give the page another size in CSS pixels, and ``scale`` pixels of the screen to each."""
        about = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **about)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol and its answer."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 120
        while number not in self._answers:
            self._receive(end, method)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def _attach(self) -> None:
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.resize(*self._size)

    def _mouse(self, kind: str, x: float, y: float, button: str, modifiers: str, count: int = 0) -> None:
        held = 0 if kind == "mouseReleased" else _BUTTONS[button]
        about = {"button": button, "buttons": held, "clickCount": count, "modifiers": _bits(modifiers)}
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **about)

    def _receive(self, end: float, method: str) -> None:
        ready, *_ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
        data = os.read(self._in, 1 << 20) if ready else b""
        if not data:
            raise AssertionError(f"Chromium {'ended' if ready else 'did not answer'} during {method}")
        *whole, self._rest = (self._rest + data).split(b"\0")
        for message in map(json.loads, whole):
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self._note(message["method"], message["params"])

    def _note(self, event: str, params: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.console_errors.append(_exception(params["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.console_errors.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
        elif event == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.console_errors.append(params["entry"]["text"])


def _bits(modifiers: str) -> int:
    return sum(_MODIFIERS[name] for name in modifiers.split())


def _exception(details: dict[str, Any]) -> str:
    return str(details.get("exception", {}).get("description") or details.get("text"))
