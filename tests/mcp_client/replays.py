"""Recording an application of MCP servers, and replaying it where there are none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import recorded_sessions, replay
from langfuse_integration.testing_kit.replay import session_file
from langfuse_integration.testing_kit.replay.recording import recording_of
from langfuse_integration_mcp import instrument
from peers.mcp_servers import http_session, stdio_parameters, stdio_session

GONE = "http://127.0.0.1:9/mcp"
"""An address where nobody listens."""


class Wire:
    """How an application reaches the server: for real, and as in the replay, where there is none."""

    def __init__(self, kind: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._kind = kind
        self._url = url
        self._monkeypatch = monkeypatch

    def connect(self, **options: Any) -> Any:
        """Return a block with an initialised session."""
        return http_session(self._url, **options) if self._kind == "http" else stdio_session(**options)

    @property
    def address(self) -> Any:
        """The URL, or the parameters of the process."""
        return self._url if self._kind == "http" else stdio_parameters()

    def cut(self) -> None:
        """Let no process start, and no address answer."""
        self._url = GONE

        async def refused(*positional: Any, **named: Any) -> None:
            raise AssertionError("a process is started")

        self._monkeypatch.setattr(asyncio, "create_subprocess_exec", refused)
        self._monkeypatch.setattr("anyio.open_process", refused)


async def record(application: Callable[[], Awaitable[Any]], path: Path) -> tuple[Any, Any]:
    """Run *application* in a session, write its file, and return what it returned and the tree of its rows."""
    instrument()
    with recorded_sessions() as sessions:
        with langfuse_manager.session("s-1", user_id="u-1"):
            answer = await application()
        seen = sessions.of("s-1")
    session_file.write(recording_of(seen), path)
    return answer, [trace.tree() for trace in seen.traces]


async def again(application: Callable[[], Awaitable[Any]], path: Path) -> tuple[Any, Any]:
    """Replay it; return the same."""
    with replay(path) as session:
        answer = await application()
        seen = session.recorded.of("s-1")
    return answer, [trace.tree() for trace in seen.traces]
