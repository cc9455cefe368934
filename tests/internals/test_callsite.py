"""The application's line that a message names."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import NoReturn

import pytest

from langfuse_integration.internals.callsite import callsite

HERE = Path(__file__)


def forbidden() -> NoReturn:
    raise RuntimeError("a blocking call in an event loop")


async def asked() -> str | None:
    return callsite()


def test_a_line_is_told_from_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the working directory a path is relative to it, elsewhere it is whole."""
    monkeypatch.chdir(HERE.parent)
    assert (callsite() or "").startswith("test_callsite.py:")
    monkeypatch.chdir("/")
    assert (callsite() or "").startswith(str(HERE.relative_to("/")))


@pytest.mark.parametrize("shell", [str(HERE.parent), None])
def test_nothing_blocks_in_an_event_loop(shell: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an event loop forbids blocking calls, as `langgraph dev` does, the line is told all the same."""
    monkeypatch.setattr(os, "getcwd", forbidden)
    if shell is None:
        monkeypatch.delenv("PWD", raising=False)
    else:
        monkeypatch.setenv("PWD", shell)
    assert (asyncio.run(asked()) or "").startswith("test_callsite.py:" if shell else f"{HERE}:")
