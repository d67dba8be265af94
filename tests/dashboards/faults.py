"""What is wrong with a page as it is drawn, and pictures of it; for any test that drives a browser.

Load it through a fixture (tests are imported by path). Playwright's synchronous interface is used from one thread of
its own (``Browsing``), so that it and asyncio tests do not meet.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

T = TypeVar("T")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
FRAMED = "() => /[0-9]/.test(document.getElementById('k-on')?.textContent ?? '')"
STILL = ".pw-blink { animation: none !important }"
_FAULTS = (Path(__file__).parent / "faults.js").read_text("utf-8")


def chromium() -> str | None:
    """Path of the browser, None when this machine has none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def faults(page: Page) -> list[str]:
    """Everything clipped, overlapping, under 12 px, outside the window, sticking out of its box, too small to touch."""
    found: list[str] = page.evaluate(_FAULTS)
    return found


@dataclass
class Shot:
    """An open page and what it did besides being drawn."""

    page: Page
    errors: list[str] = field(default_factory=list)
    """Console errors and warnings, uncaught exceptions, failed answers, requests to another origin."""

    def go(self, url: str, ready: str = "#main", settle_s: float = 0.2) -> None:
        """Open ``url`` and wait until ``ready`` is there, the first frame is painted and the fonts are there."""
        self.page.goto(url, wait_until="commit")
        self.page.wait_for_selector(ready, timeout=60_000)
        self.page.wait_for_function(FRAMED, timeout=60_000)
        self.page.evaluate("document.fonts.ready.then(() => null)")
        self.page.wait_for_timeout(1000 * settle_s)

    def wrong(self) -> list[str]:
        """Faults of the drawing and everything that went wrong."""
        return faults(self.page) + self.errors

    def picture(self, file: Path) -> None:
        """Keep a picture of the window."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self.page.add_style_tag(content=STILL)
        self.page.screenshot(path=str(file))


class Browsing:
    """One headless Chromium in one thread."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "browser")
        self._playwright: Any = None
        self._browser: Browser | None = None

    def do(self, work: Callable[[Browser], T]) -> T:
        """Run ``work`` in the browser's thread and wait for it."""
        return self._thread.submit(lambda: work(self._open())).result()

    def close(self) -> None:
        """Close the browser and end the thread."""

        def end() -> None:
            if self._browser is not None:
                self._browser.close()
                self._playwright.stop()

        self._thread.submit(end).result()
        self._thread.shutdown()

    def _open(self) -> Browser:
        if self._browser is None:
            self._playwright = sync_playwright().start()
            self._browser = self._playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        browser = self._browser
        assert browser is not None
        return browser


@contextmanager
def shoot(
    browser: Browser, url: str, *, width: int = 1920, height: int = 1080, ready: str = "#main", settle_s: float = 0.2
) -> Iterator[Shot]:
    """Open ``url`` in a window of its own, wait until ``ready`` is there and the fonts are, and watch what it does."""
    context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="no-preference")
    context.set_default_timeout(120_000)
    page = context.new_page()
    shot, home = Shot(page), urlsplit(url).netloc
    page.on(
        "console",
        lambda m: shot.errors.append(f"console {m.type}: {m.text}") if m.type in {"error", "warning"} else None,
    )
    page.on("pageerror", lambda e: shot.errors.append(f"exception: {e}"))
    page.on("request", lambda r: shot.errors.append(f"fetched {r.url}") if _elsewhere(r.url, home) else None)
    page.on("response", lambda r: shot.errors.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    try:
        shot.go(url, ready, settle_s)
        yield shot
    finally:
        context.close()


def _elsewhere(url: str, home: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme not in {"data", "blob"} and parts.netloc != home
