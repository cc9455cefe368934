"""Blocks of generators that overlap: whatever the order of their ends, nothing of them stays."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Generator
from contextvars import copy_context

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions, recorded_sessions


def streaming(name: str, *, inner: str | None = None) -> Generator[str]:
    """Two steps in a session and a span of one name; *inner* is set as a session in between."""
    with langfuse_manager.session(f"s-{name}", name), langfuse_manager.trace_span(f"span {name}"):
        if inner:
            langfuse_manager.set_session(inner)
        yield "first"
        yield "second"


async def streaming_async(name: str) -> AsyncGenerator[str]:
    async with langfuse_manager.session(f"s-{name}", name), langfuse_manager.trace_span(f"span {name}"):
        yield "first"
        yield "second"


def record_outside() -> None:
    with langfuse_manager.trace_span("outside"):
        pass


def assert_nothing_stays(sessions: RecordedSessions, session: str | None = None) -> None:
    """What is recorded now is a root, in the caller's session."""
    assert langfuse_manager.current_session_id == session
    assert langfuse_manager.current_observation is None
    record_outside()
    (row,) = [row for row in sessions.observations if row.name == "outside"]
    assert (row.session_id, row.parent_id) == (session, None)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("inner", [None, "s-inner"])
def test_overlapping_blocks_may_end_in_any_order(
    sessions: RecordedSessions, order: tuple[int, ...], inner: str | None
) -> None:
    """Three streams that overlap leave neither session nor span, in whichever order they end."""
    streams = [streaming(name, inner=inner) for name in ("a", "b", "c")]
    for stream in streams:
        next(stream)
    for number in order:
        streams[number].close()
    assert_nothing_stays(sessions)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_overlapping_async_blocks_may_end_in_any_order(sessions: RecordedSessions, order: tuple[int, ...]) -> None:
    """Three async generators that overlap in one task leave neither session nor span, in whichever order they end."""

    async def run() -> None:
        streams = [streaming_async(name) for name in ("a", "b", "c")]
        for stream in streams:
            await anext(stream)
        for number in order:
            await streams[number].aclose()
        assert_nothing_stays(sessions)

    asyncio.run(run())


def test_the_caller_s_session_and_span_come_back(sessions: RecordedSessions) -> None:
    """After streams that overlapped, the caller's own block is the active one again."""
    with langfuse_manager.session("s-caller"), langfuse_manager.trace_span("caller") as caller:
        first, second = streaming("a"), streaming("b")
        next(first)
        next(second)
        first.close()
        second.close()
        record_outside()
        assert langfuse_manager.current_observation is caller
    (row,) = [row for row in sessions.observations if row.name == "outside"]
    assert (row.session_id, row.parent_id) == ("s-caller", caller.id)
    assert langfuse_manager.current_session_id is None


def test_a_block_that_is_still_open_stays_active(sessions: RecordedSessions) -> None:
    """The end of an earlier block takes nothing from a later one that is open."""
    first, second = streaming("a"), streaming("b")
    next(first)
    next(second)
    first.close()
    assert langfuse_manager.current_session_id == "s-b"
    record_outside()
    second.close()
    (outside,) = [row for row in sessions.observations if row.name == "outside"]
    (below,) = [row for row in sessions.observations if row.name == "span b"]
    assert (outside.session_id, outside.parent_id) == ("s-b", below.id)


def test_a_session_that_the_caller_set_in_between_ends_with_the_block_around_it(sessions: RecordedSessions) -> None:
    """What the caller sets while both streams are open goes when the later one ends."""
    first, second = streaming("a"), streaming("b")
    next(first)
    next(second)
    langfuse_manager.set_session("s-between")
    first.close()
    assert langfuse_manager.current_session_id == "s-between"
    second.close()
    assert_nothing_stays(sessions)


def test_work_that_outlives_a_block_stays_in_it(sessions: RecordedSessions) -> None:
    """A context that was copied inside of two blocks keeps their session and span, whatever ends outside of it."""

    def work() -> None:
        with langfuse_manager.session("s-own"), langfuse_manager.trace_span("own"):
            pass
        assert langfuse_manager.current_session_id == "s-b"
        record_outside()

    with langfuse_manager.trace_span("request"):
        first, second = streaming("a"), streaming("b")
        next(first)
        next(second)
        copied = copy_context()
        first.close()
        second.close()
        copied.run(work)
    (outside,) = [row for row in sessions.observations if row.name == "outside"]
    (below,) = [row for row in sessions.observations if row.name == "span b"]
    assert (outside.session_id, outside.parent_id) == ("s-b", below.id)


def test_a_copied_context_keeps_the_block_that_ended_outside_of_it(sessions: RecordedSessions) -> None:
    """A task that was started in an earlier block and opens one of its own comes back to the earlier one's session."""
    first = streaming("a")
    next(first)
    copied = copy_context()
    second = streaming("b")
    next(second)
    first.close()
    second.close()

    def work() -> str | None:
        with langfuse_manager.session("s-own"):
            pass
        return langfuse_manager.current_session_id

    assert copied.run(work) == "s-a"
    assert_nothing_stays(sessions)


@settings(max_examples=150, deadline=None, database=None)
@given(steps=st.lists(st.tuples(st.sampled_from(["open", "close", "set", "step"]), st.integers(0, 3)), max_size=25))
def test_any_interleaving_of_streams_ends_where_it_began(steps: list[tuple[str, int]]) -> None:
    """Streams that are opened, advanced and closed in any order leave the caller as it was."""
    with recorded_sessions() as sessions:
        streams: dict[int, Generator[str]] = {}
        for what, number in steps:
            if what == "open" and number not in streams:
                streams[number] = streaming(str(number))
                next(streams[number])
            elif what == "close" and number in streams:
                streams.pop(number).close()
            elif what == "step" and number in streams:
                if next(streams[number], None) is None:
                    del streams[number]
            elif what == "set" and streams:
                langfuse_manager.set_session(f"set-{number}")
        for stream in streams.values():
            stream.close()
        assert_nothing_stays(sessions)
