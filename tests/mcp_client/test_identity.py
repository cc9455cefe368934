"""What reaches a server in `_meta`: the trace always, the session and the user only where that is allowed."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import unquote

import pytest
from opentelemetry import baggage
from opentelemetry import context as context_api

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_mcp import instrument, wrap_session
from peers.mcp_servers import memory_session, stdio_session, text_of

from .conftest import MODERN, VERSION, WIRES, Connect, connecting, traced

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]


async def received(session: Any, **options: Any) -> dict[str, Any]:
    """Return the `_meta` that the server got with a call."""
    return dict(json.loads(text_of(await session.call_tool("meta", {}, **options))) or {})


def ids_of(sessions: RecordedSessions, name: str = "tools.meta") -> list[str]:
    """Return the traceparent of every row of that name."""
    return [f"00-{found.trace_id}-{found.id}-01" for found in sessions.observations if found.name == name]


async def test_a_server_gets_the_trace_and_nobodys_name(everywhere: Connect, sessions: RecordedSessions) -> None:
    """A server gets only the row's ids by default, and what the application sends itself is kept."""
    async with everywhere() as session:
        with langfuse_manager.session("session-a", "user-a"):
            meta = await received(session, meta={"mine": "kept"})
    assert [meta["traceparent"]] == ids_of(sessions)
    assert meta["mine"] == "kept"
    assert "baggage" not in meta
    assert "session-a" not in json.dumps(meta)
    assert "user-a" not in json.dumps(meta)


@pytest.mark.parametrize("how", [*WIRES, *(MODERN if VERSION == 2 else [])])
async def test_an_allowed_server_gets_session_and_user(
    how: str, request: pytest.FixtureRequest, sessions: RecordedSessions
) -> None:
    """With send_identity the baggage has `session.id` and `user.id`, beside what the application has put there."""
    token = context_api.attach(baggage.set_baggage("tenant", "llamas"))
    async with traced(connecting(how, request), server_name="tools", send_identity=True)() as session:
        with langfuse_manager.session("session ä", "user-a"):
            meta = await received(session)
    context_api.detach(token)
    assert [meta["traceparent"]] == ids_of(sessions)
    entries = dict(entry.split("=", 1) for entry in meta["baggage"].split(","))
    assert {key: unquote(value.replace("+", " ")) for key, value in entries.items()} == {
        "tenant": "llamas",
        "session.id": "session ä",
        "user.id": "user-a",
    }


async def test_what_an_outer_service_says_of_the_user_stays_here(connect: Connect, sessions: RecordedSessions) -> None:
    """Identity that came in as baggage does not go out to a server that may not know it; other baggage does."""
    context = context_api.get_current()
    for key in ("session.id", "user.id", "langfuse_session_id", "langfuse_user_id", "tenant"):
        context = baggage.set_baggage(key, f"the-{key}", context)
    token = context_api.attach(context)
    async with connect() as session:
        meta = await received(session)
    context_api.detach(token)
    assert "the-session.id" not in json.dumps(meta)
    assert "the-user.id" not in json.dumps(meta)
    assert "langfuse" not in meta.get("baggage", "")


async def test_names_decide_who_may_know(sessions: RecordedSessions) -> None:
    """`servers` is an allow-list of names: of two servers one gets the identity."""
    instrument(servers=["trusted"])
    with langfuse_manager.session("session-a", "user-a"):
        async with stdio_session("trusted") as trusted, stdio_session("stranger") as stranger:
            known, unknown = await received(trusted), await received(stranger)
    assert known["baggage"] == "session.id=session-a,user.id=user-a"
    assert "baggage" not in unknown
    assert [found.name for found in sessions.observations] == ["trusted.meta", "stranger.meta"]


async def test_everybody_may_know_when_told_so(sessions: RecordedSessions) -> None:
    """`instrument(send_identity=True)` sends the identity to every server; without a session there is none."""
    instrument(send_identity=True)
    async with memory_session() as session:
        with langfuse_manager.session("session-a"):
            assert (await received(session))["baggage"] == "session.id=session-a"
        assert "baggage" not in await received(session)


async def test_each_of_many_calls_sends_its_own_ids(everywhere: Connect, sessions: RecordedSessions) -> None:
    """30 calls of 30 sessions at once: the server sees 30 different rows, each with the session it belongs to."""

    async def call(n: int) -> str:
        with langfuse_manager.session(f"session-{n}"):
            return str((await received(session))["traceparent"])

    async with everywhere() as session:
        wrap_session(session, server_name="tools", send_identity=True)
        sent = await asyncio.gather(*(call(n) for n in range(30)))
    rows = {f"00-{found.trace_id}-{found.id}-01": found.session_id for found in sessions.observations}
    assert [rows[traceparent] for traceparent in sent] == [f"session-{n}" for n in range(30)]


async def test_other_requests_carry_the_trace_too(sessions: RecordedSessions) -> None:
    """A resource, a prompt and a listing send the ids of their rows, whatever parameters they have."""
    from mcp import types

    from peers.mcp_tools import lowlevel, make_server

    seen: list[Any] = []
    server = make_server()
    _watch(lowlevel(server), seen)
    async with memory_session(server) as session:
        wrap_session(session, server_name="tools")
        with langfuse_manager.trace_span("around"):
            await session.list_tools()
            await session.list_prompts(params=types.PaginatedRequestParams())
            await session.get_prompt("greet", {"name": "Luna"})
    rows = [found for found in sessions.observations if found.metadata.get("mcp_server")]
    assert [found.name for found in rows] == ["tools.list_tools", "tools.list_prompts", "tools.get_prompt"]
    assert seen == [f"00-{found.trace_id}-{found.id}-01" for found in rows]


def _watch(server: Any, seen: list[Any]) -> None:
    """Note the traceparent of every request that reaches *server* once a session has begun."""
    if VERSION == 2:

        async def middleware(ctx: Any, call_next: Any) -> Any:
            if ctx.method.split("/")[0] in ("tools", "prompts"):
                seen.append((ctx.meta or {}).get("traceparent"))
            return await call_next(ctx)

        server.middleware.insert(0, middleware)
        return
    for kind, handler in list(server.request_handlers.items()):

        async def handle(request: Any, handler: Any = handler) -> Any:
            seen.append(getattr(request.params.meta, "traceparent", None))
            return await handler(request)

        server.request_handlers[kind] = handle
