"""A real browser on the real front, store and engine; a fit worker's part is played by hand."""

import re
import shutil
from collections.abc import Iterator

import pytest
from anyio.from_thread import BlockingPortal
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from engine.server.services import Services
from tests.server.page.acting import PATIENCE_MS, OpenPage
from tests.server.serving import serving

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Not for the session: Playwright's event loop would be in the way of tests that start their own.
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no Chromium found under the names {', '.join(NAMES)}; apt install chromium")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        # As root, as in a container, Chromium has no sandbox.
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


@pytest.fixture
def url(services: Services, portal: BlockingPortal) -> Iterator[str]:
    with serving(services, portal) as url:
        yield url


@pytest.fixture
def open_page(browser: Browser, url: str) -> Iterator[OpenPage]:
    """Open the page as a browser of its own; in the end none has asked others for anything, nor complained."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []
    strangers: list[str] = []

    def open(place: str = "", complains: str = "", **options: object) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: complaints.append(message.text) if _is_bad(message.type, message.text, complains) else None,
        )
        page.on("request", lambda request: strangers.append(request.url) if _is_stranger(request.url, url) else None)
        page.goto(f"{url}/{place}")
        return page

    yield open
    for context in contexts:
        context.close()
    assert complaints == [] and strangers == []


def _is_bad(kind: str, text: str, expected: str) -> bool:
    return kind in ("error", "warning") and not (expected and re.search(expected, text))


def _is_stranger(requested: str, url: str) -> bool:
    return not requested.startswith((url, "blob:", "data:"))
