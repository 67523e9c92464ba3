"""A headless browser through chromedriver's W3C protocol, without a client library."""

import base64
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)
ANSWER_SECONDS = 120


def missing_browser() -> str | None:
    """Why no browser can be started here, or None."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(missing)} not found; .ci/run installs them" if missing else None


class Browser:
    """One window. Use as a context manager.

    Args:
        profile: an empty folder for the browser's own files.
        switches: of Chromium, besides ``SWITCHES``.
    """

    def __init__(self, profile: Path, *switches: str) -> None:
        self._profile = profile
        self._switches = switches

    def __enter__(self) -> "Browser":
        self._driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            self._address = f"http://127.0.0.1:{self._port()}"
            capabilities = {
                "goog:loggingPrefs": {"browser": "ALL"},
                "goog:chromeOptions": {
                    "binary": shutil.which("chromium"),
                    "args": [*SWITCHES, *self._switches, f"--user-data-dir={self._profile}"],
                },
            }
            answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
            self._session = f"/session/{answer['sessionId']}"
        except BaseException:
            self._driver.kill()
            self._driver.wait()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._call("DELETE", self._session)
        finally:
            self._driver.terminate()
            self._driver.communicate()

    def open(self, page: Path, *, width: int, height: int) -> None:
        """Load a local page in a window of that size."""
        self.visit(page.resolve().as_uri(), width=width, height=height)

    def visit(self, address: str, *, width: int, height: int) -> None:
        """Load a page of a server in a window of that size."""
        self._call("POST", f"{self._session}/window/rect", {"width": width, "height": height})
        self._call("POST", f"{self._session}/url", {"url": address})

    def reload(self) -> None:
        """Load the page again."""
        self._call("POST", f"{self._session}/refresh", {})

    def click(self, x: int, y: int) -> None:
        """Press and release the mouse at a place in the window, pixels."""
        move = {"type": "pointerMove", "duration": 0, "x": x, "y": y, "origin": "viewport"}
        press = [{"type": "pointerDown", "button": 0}, {"type": "pause", "duration": 50}]
        steps = [move, *press, {"type": "pointerUp", "button": 0}]
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": steps}
        self._call("POST", f"{self._session}/actions", {"actions": [mouse]})

    def press(self, keys: str) -> None:
        """Type into what has the focus; W3C codes stand for special keys."""
        steps = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call("POST", f"{self._session}/actions", {"actions": [{"type": "key", "id": "keys", "actions": steps}]})

    def run(self, script: str) -> Any:
        """The value that a script returns; one that returns a promise is waited for."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    def dark(self, wanted: bool) -> None:
        """Pretend that the user prefers dark pages."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if wanted else "light"}]
        self.command("Emulation.setEmulatedMedia", {"features": features})

    def command(self, name: str, parameters: dict[str, Any]) -> None:
        """A command of Chromium's developer tools."""
        self._call("POST", f"{self._session}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 4) -> None:
        """Press the mouse at one place of the window, move it to another, let it go; pixels."""
        places = [tuple(a + (b - a) * i / steps for a, b in zip(start, end, strict=True)) for i in range(steps + 1)]
        kinds = ["mousePressed", *["mouseMoved"] * steps, "mouseReleased"]
        for kind, (x, y) in zip(kinds, [places[0], *places[1:], places[-1]], strict=True):
            held = {"button": "left", "buttons": 1, "clickCount": 1}
            command = {"cmd": "Input.dispatchMouseEvent", "params": {"type": kind, "x": x, "y": y, **held}}
            self._call("POST", f"{self._session}/goog/cdp/execute", command)

    def messages(self) -> list[str]:
        """What the page has written to the console, errors of loading among it."""
        return [entry["message"] for entry in self._call("POST", f"{self._session}/se/log", {"type": "browser"})]

    def screenshot(self) -> bytes:
        """A PNG of the window."""
        return base64.b64decode(self._call("GET", f"{self._session}/screenshot"))

    def _port(self) -> int:
        assert self._driver.stdout is not None
        for line in self._driver.stdout:
            found = re.search(r"started successfully on port (\d+)", line)
            if found:
                return int(found[1])
        raise RuntimeError("chromedriver did not start")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._address + path, data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
                return json.loads(answer.read())["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise RuntimeError(json.loads(error.read())["value"]["message"].splitlines()[0]) from None
