"""One client shared by users A and B, opened by A: nobody's callback is ever tagged as the opener's.

Over stdio every callback runs in the context of whoever opened the connection; over HTTP some do. These are the cases
that an in-process test cannot show.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_mcp import wrap_session
from peers.mcp_servers import VERSION, ClientSide
from peers.waiting import until_async

from .conftest import WIRES, Connect, connecting

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]


def active() -> tuple[str | None, str | None]:
    """Return the session and the user that the application sees here."""
    return langfuse_manager.current_session_id, langfuse_manager.current_user_id


@pytest.fixture(params=WIRES)
def shared(request: pytest.FixtureRequest) -> Connect:
    """A connection of the handshake era, not wrapped yet."""
    return connecting(request.param, request)


ASKS: list[tuple[str, dict[str, Any], str]] = [
    ("ask", {"question": "Which?"}, "elicitation/create"),
    ("sample", {"prompt": "Go on"}, "sampling/createMessage"),
    ("roots", {}, "roots/list"),
    ("log", {"text": "hear"}, "notifications/message"),
]


@pytest.mark.parametrize(("tool", "arguments", "method"), ASKS)
async def test_what_a_server_asks_is_on_the_callers_account(
    shared: Connect, sessions: RecordedSessions, tool: str, arguments: dict[str, Any], method: str
) -> None:
    """A opens the connection, B calls: elicitation, sampling, roots and logs see B, and so does what they record."""
    client = ClientSide(probe=lambda: (active(), _recorded(method)))
    with langfuse_manager.session("session-a", "user-a"), langfuse_manager.trace_span("opening"):
        connection = shared(**client.callbacks())
        session = await connection.__aenter__()
    wrap_session(session, server_name="tools")
    with langfuse_manager.session("session-b", "user-b"):
        await session.call_tool(tool, arguments)
        await until_async(lambda: client.seen)
    await connection.__aexit__(None, None, None)
    [(seen, _, (identity, _))] = client.seen
    assert (seen, identity) == (method, ("session-b", "user-b"))
    inner = _trace_with(sessions, method)
    label = {"ask": "span tools.elicitation", "sample": "span tools.sampling"}.get(tool)
    below: list[Any] = [{label: [f"span {method}"]}] if label else [f"span {method}"]
    assert inner.tree() == [{f"tool tools.{tool}": below}]
    assert {found.session_id for found in inner.observations} == {"session-b"}
    assert {found.user_id for found in inner.observations} == {"user-b"}
    assert sessions.of("session-a").traces[0].tree() == ["span opening"]
    assert len(sessions.traces) == 2


async def test_progress_arrives_in_the_callers_session(shared: Connect, sessions: RecordedSessions) -> None:
    """A opens the connection, A and B call at once with progress: each notification is of its own caller."""
    seen: list[tuple[str, str | None]] = []

    async def call(session: Any, name: str) -> None:
        async def note(done: float, total: float | None, message: str | None) -> None:
            seen.append((name, langfuse_manager.current_session_id))
            with langfuse_manager.trace_span(f"progress {name}"):
                pass

        with langfuse_manager.session(f"session-{name}", f"user-{name}"):
            await session.call_tool("slow", {"seconds": 0.04}, progress_callback=note)

    with langfuse_manager.session("session-opener"):
        connection = shared()
        session = await connection.__aenter__()
    wrap_session(session, server_name="tools")
    await asyncio.gather(call(session, "a"), call(session, "b"))
    await connection.__aexit__(None, None, None)
    assert sorted(seen) == [(name, f"session-{name}") for name in "aaaabbbb"]
    for name in "ab":
        [trace] = sessions.of(f"session-{name}").traces
        assert trace.tree() == [{"tool tools.slow": [f"span progress {name}"] * 4}]
        assert {found.user_id for found in trace.observations} == {f"user-{name}"}
    assert sessions.of("session-opener").traces == []


async def test_calls_of_two_users_in_flight_make_the_question_nobodys_or_its_callers(
    shared: Connect, sessions: RecordedSessions, request: pytest.FixtureRequest
) -> None:
    """While A's call is in flight, B's makes the server ask: B when the answer is certain, else untagged; never A."""
    client = ClientSide(probe=active)
    began = asyncio.Event()

    async def note(done: float, total: float | None, message: str | None) -> None:
        began.set()

    async def call_of_a() -> None:
        with langfuse_manager.session("session-a", "user-a"):
            await session.call_tool("slow", {"seconds": 60}, progress_callback=note)

    with langfuse_manager.session("session-a", "user-a"):
        connection = shared(**client.callbacks())
        session = await connection.__aenter__()
    wrap_session(session, server_name="tools")
    calling = asyncio.create_task(call_of_a())
    await began.wait()
    with langfuse_manager.session("session-b", "user-b"):
        for tool, arguments, _ in ASKS:
            await session.call_tool(tool, arguments)
        await until_async(lambda: len(client.seen) == len(ASKS))
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    await connection.__aexit__(None, None, None)
    identities = {method: identity for method, _, identity in client.seen}
    nobody, caller = (None, None), ("session-b", "user-b")
    assert set(identities.values()) <= {nobody, caller}
    if VERSION == 2:
        # A server of mcp 2 sends the ids of the request that it handles along with its own.
        assert identities["sampling/createMessage"] == identities["elicitation/create"] == caller
    assert sessions.of("session-a").traces[0].tree() == ["tool tools.slow"]
    assert len(sessions.of("session-a").traces) == 1
    for found in sessions.of(None).observations:
        assert found.name in ("tools.sampling", "tools.elicitation")


async def test_several_calls_of_one_session_are_certain(shared: Connect, sessions: RecordedSessions) -> None:
    """Three calls of the same session are in flight: what the server asks belongs to that session."""
    client = ClientSide(probe=active)
    with langfuse_manager.session("session-a"):
        connection = shared(**client.callbacks())
        session = await connection.__aenter__()
    wrap_session(session, server_name="tools")
    with langfuse_manager.session("session-b", "user-b"):
        await asyncio.gather(*(session.call_tool(tool, arguments) for tool, arguments, _ in ASKS[:3]))
    await connection.__aexit__(None, None, None)
    assert [identity for _, _, identity in client.seen] == [("session-b", "user-b")] * 3
    assert {found.session_id for found in sessions.observations} == {"session-b"}


async def test_twenty_sessions_at_once_do_not_mix(everywhere: Connect, sessions: RecordedSessions) -> None:
    """24 calls of 24 sessions over one connection: every row is in its own session, with its own answer."""

    async def call(session: Any, n: int) -> None:
        with langfuse_manager.session(f"session-{n}", f"user-{n}"):
            await asyncio.sleep(0)
            await session.call_tool("echo", {"text": f"text {n}"})

    with langfuse_manager.session("session-opener", "user-opener"):
        async with everywhere() as session:
            await asyncio.gather(*(call(session, n) for n in range(24)))
    assert len(sessions.observations) == 24
    for n in range(24):
        [found] = sessions.of(f"session-{n}").observations
        assert (found.user_id, found.input, found.output) == (f"user-{n}", {"text": f"text {n}"}, f"text {n}")


def _recorded(method: str) -> None:
    with langfuse_manager.trace_span(method):
        pass


def _trace_with(sessions: RecordedSessions, name: str) -> Any:
    [trace] = [trace for trace in sessions.traces if trace.named(name)]
    return trace
