"""The trace in the headers of HTTP requests, for servers that read only those."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_mcp import unwrap_session, wrap_session
from peers.mcp_servers import VERSION, HttpServer, http_server, http_session, text_of

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]

MODES = ["handshake", *(["stateless"] if VERSION == 2 else [])]


@pytest.fixture(scope="module")
def server() -> Iterator[HttpServer]:
    """A server whose tool returns the headers that it was sent."""
    with http_server(setup="handlers:install_headers", env={"PYTHONPATH": str(Path(__file__).parent)}) as running:
        yield running


def connected(mode: str, url: str) -> Any:
    """Return how a session of that kind is opened."""
    if mode == "handshake":
        return http_session(url)
    from mcp import Client

    return Client(url, mode="2026-07-28")


async def received(session: Any) -> dict[str, str]:
    """Return the headers that the server got."""
    headers: dict[str, str] = json.loads(text_of(await session.call_tool("headers", {})))
    return headers


@pytest.mark.parametrize("mode", MODES)
async def test_a_request_has_the_ids_of_its_own_row(mode: str, server: HttpServer, sessions: RecordedSessions) -> None:
    """Twenty calls of two users at once: each request has the ids of its row in its headers, and no user's id."""
    async with connected(mode, server.url) as session:
        wrap_session(session)

        async def calling(user: str) -> tuple[str, dict[str, str]]:
            with langfuse_manager.session(f"session-{user}", f"user-{user}"):
                return user, await received(session)

        results = await asyncio.gather(*(calling(user) for user in "ab" * 10))
    ids = {f"00-{row.trace_id}-{row.id}-01": row.session_id for row in sessions.observations}
    assert len(ids) == 20
    assert sorted(ids) == sorted(headers["traceparent"] for _, headers in results)
    for user, headers in results:
        assert ids[headers["traceparent"]] == f"session-{user}"
        assert headers == {"traceparent": headers["traceparent"], "tracestate": "langfuse-integration=1"}


@pytest.mark.parametrize("mode", MODES)
async def test_who_calls_is_in_the_headers_where_that_is_allowed(
    mode: str, server: HttpServer, sessions: RecordedSessions
) -> None:
    """With `send_identity` the baggage has the session and the user; a session that is not traced sends nothing."""
    async with connected(mode, server.url) as session:
        wrap_session(session, send_identity=True)
        with langfuse_manager.session("session-a", "user-a"):
            headers = await received(session)
            unwrap_session(session)
            assert "langfuse" not in json.dumps(await received(session))
    assert sorted(headers["baggage"].split(",")) == ["session.id=session-a", "user.id=user-a"]
