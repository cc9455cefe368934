"""A journal, a viewer of it on a port of its own, and a real Chromium."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

import photographs
from langfuse_integration.viewer.app import application
from peers.waiting import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

REBOUND = "rebound.test"
"""A name elsewhere that has been pointed here, as a page of an attacker would."""
WIDTH, HEIGHT = 1240, 860


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The journal's file."""
    return tmp_path / "journal.sqlite3"


@pytest.fixture
def viewer(journal: Path) -> Iterator[str]:
    """The address of a viewer of the test's journal."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(application(journal), log_level="error", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]), name="viewer")
    thread.start()
    until(lambda: server.started)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(60)
    listening.close()
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The machine's Chromium."""
    # Per module: while Playwright's loop runs in this thread, no test with a loop of its own could.
    with photographs.chromium(f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1") as browser:
        yield browser


def _keep_warnings(complaints: list[str]) -> Callable[[Any], None]:
    """Return a listener that keeps the errors and warnings of the console in *complaints*."""

    def keep(message: Any) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    return keep


@pytest.fixture
def opened(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page in its own context: `opened(address, javascript=..., dark=...)`; a complaint fails the test."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def make(
        address: str, *, javascript: bool = True, dark: bool = False, width: int = WIDTH, complains: bool = False
    ) -> Page:
        context = chromium.new_context(
            color_scheme="dark" if dark else "light",
            java_script_enabled=javascript,
            viewport={"width": width, "height": HEIGHT},
        )
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page_complaints = [] if complains else complaints
        page.on("pageerror", lambda error: page_complaints.append(str(error)))
        page.on("console", _keep_warnings(page_complaints))
        page.on("dialog", lambda dialog: page_complaints.append(f"dialog: {dialog.message}") or dialog.dismiss())
        page.goto(address)
        return page

    yield make
    for context in contexts:
        context.close()
    assert complaints == []
