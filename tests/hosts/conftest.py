"""Fixtures of the hosts' tests: a Redis server, browsers, and no owner that a test leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from hosts.redis_server import RedisServer
from machine import need_program

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis server of the test's own."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The machine's Chromium."""
    path = need_program("chromium")
    from playwright.sync_api import sync_playwright

    from photographs import FLAGS

    # Per module: while Playwright's loop runs in this thread, no test with a loop of its own could.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def people(chromium: Browser) -> Iterator[Callable[[str], Page]]:
    """Open an address as one person more, in a browser window that shares nothing with the others'."""
    contexts: list[Any] = []

    def open_as_another(address: str) -> Page:
        context = chromium.new_context(viewport={"width": 900, "height": 700})
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.goto(address)
        return page

    yield open_as_another
    for context in contexts:
        context.close()
