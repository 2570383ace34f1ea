"""A real browser without a window: Debian's chromium, driven over two pipes by the DevTools protocol."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 60.0  # seconds for an answer
EDGE = 14  # pixels around the picture of an element
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader", "--hide-scrollbars",
    "--remote-debugging-pipe", "--no-first-run", "--disable-extensions", "--disable-background-networking",
)  # fmt: skip
START = """
import os, sys
from fcntl import F_DUPFD, fcntl
for number, source in zip((3, 4), [fcntl(int(each), F_DUPFD, 10) for each in sys.argv[1:3]]):
    os.dup2(source, number)
os.execv(sys.argv[3], sys.argv[3:])
"""  # the protocol wants its pipes under the numbers 3 and 4


def chromium() -> str | None:
    """The browser's program; None if there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One page at a time. `errors`: what its console complained of; `requests`: the addresses that it asked for."""

    def __init__(self, write: int, read: int) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._write, self._read = write, read
        self._rest = b""
        self._asked = 0
        self._session = ""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(
        self, address: str, *, width: int = 1400, height: int = 900, dark: bool = False, offline: bool = False
    ) -> None:
        """Load a page at this size (pixels) and colour scheme."""
        self.errors.clear()
        self.requests.clear()
        self._call(
            "Network.emulateNetworkConditions", offline=offline, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )
        self.scheme(dark)
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self._call("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def scheme(self, dark: bool) -> None:
        """Switch between light and dark."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[feature])

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, awaited."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Wait until a JavaScript expression holds."""
        end = time.monotonic() + PATIENCE
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, f"still not so after {PATIENCE:g} s: {condition}; {self.errors}"
            time.sleep(0.02)

    def picture(self, *, whole: bool = True, part: str = "") -> bytes:
        """A PNG of the page, of the part in view, or of the element that the CSS selector `part` names."""
        if whole or part:
            found = f"document.querySelector({json.dumps(part or 'html')}).getBoundingClientRect()"
            left, top, width, height = self.run(
                f"(({{x, y, width, height}}) => [x + scrollX, y + scrollY, width, height])({found})"
            )
            edge = EDGE if part else 0
            clip = {"x": left - edge, "y": top, "width": width + 2 * edge, "height": height + edge, "scale": 1}
            return b64decode(self._call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"])
        return b64decode(self._call("Page.captureScreenshot")["data"])

    def printed(self) -> bytes:
        """The page as the browser prints it, a PDF."""
        return b64decode(self._call("Page.printToPDF")["data"])

    def _call(self, method: str, **parameters: Any) -> Any:
        self._asked += 1
        message = {"id": self._asked, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE
        while True:
            answer = self._message(end)
            if answer.get("id") == self._asked:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _message(self, end: float) -> Any:
        while b"\0" not in self._rest:
            assert select.select([self._read], [], [], max(0.0, end - time.monotonic()))[0], "the browser is silent"
            more = os.read(self._read, 1 << 20)
            assert more, "the browser has ended"
            self._rest += more
        first, _, self._rest = self._rest.partition(b"\0")
        return json.loads(first)

    def _note(self, told: Any) -> None:
        what = told.get("params", {})
        if told.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(what["exceptionDetails"]))
        elif told.get("method") == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning", "assert"):
            self.errors.append(json.dumps(what["args"]))
        elif told.get("method") == "Log.entryAdded" and what["entry"]["level"] == "error":
            self.errors.append(f"{what['entry']['text']} {what['entry'].get('url', '')}")
        elif told.get("method") == "Network.requestWillBeSent":
            self.requests.append(what["request"]["url"])


@contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """A browser that keeps its files in `folder`."""
    program = chromium()
    assert program is not None
    (theirs_in, write), (read, theirs_out) = os.pipe(), os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", START, str(theirs_in), str(theirs_out), program, *FLAGS, f"--user-data-dir={folder}"],
        pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(write, read)
    finally:
        os.close(write)  # it ends when nobody can write to it any more
        os.close(read)
        try:
            process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
