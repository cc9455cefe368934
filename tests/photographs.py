"""Photographs of pages, for the documents and to be looked at; taken where a folder for them is named."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machine import need_program

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

IMAGES = "LANGFUSE_INTEGRATION_IMAGES"
"""Set to a folder, the pages are photographed into it."""
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@contextmanager
def chromium(*flags: str) -> Generator[Browser]:
    """Run the machine's Chromium."""
    path = need_program("chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS.split(), *flags])
        yield browser
        browser.close()


def photograph(page: Page, name: str, **options: Any) -> None:
    """Keep what the page looks like, where that was asked for.

    Args:
        options: of Playwright's `Page.screenshot`.
    """
    if folder := os.environ.get(IMAGES):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.mouse.move(0, 0)
        page.wait_for_timeout(500)
        page.screenshot(path=str(Path(folder) / f"{name}.png"), animations="disabled", **options)
