"""The page that compares two sessions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from commands import record_turn
from langfuse_integration import langfuse_manager
from web import get


def states(page: str) -> list[str]:
    """Return the state of each place on a page."""
    return re.findall(r'<td class="state">([^<]*)</td>', page)


@pytest.mark.usefixtures("journal")
def test_two_sessions_stand_side_by_side(viewer: str) -> None:
    """A failed call shows as changed with both outputs; what is the same around it is there, too, with links."""
    record_turn("chat-a", "ada")
    record_turn("chat-b", "ada", error="gone")
    langfuse_manager.flush()
    page = get(viewer + "/compare?a=chat-a&b=chat-b").text
    assert "changed" in states(page)
    assert "gone" in page
    assert page.count('href="/sessions/chat-b?open=') == len([state for state in states(page) if state != "only left"])


@pytest.mark.usefixtures("journal")
def test_the_same_sessions_say_so(viewer: str) -> None:
    """Nothing but one line of skipped places, and all of them with `all`."""
    record_turn("chat-a", "ada")
    langfuse_manager.flush()
    page = get(viewer + "/compare?a=chat-a&b=chat-a").text
    assert "Both did the same" in page
    assert (states(page), "4 steps the same" in page) == ([], True)
    assert states(get(viewer + "/compare?a=chat-a&b=chat-a&all=1").text) == ["same"] * 4


@pytest.mark.usefixtures("journal")
def test_a_step_that_only_one_session_has_stands_alone(viewer: str) -> None:
    """Its other side is empty, and hostile names are escaped."""
    for session_id, names in (("chat-a", ("one", "two")), ("chat-b", ("one", "<script>alert(1)</script>", "two"))):
        with langfuse_manager.session(session_id), langfuse_manager.trace_span("turn"):
            for name in names:
                with langfuse_manager.trace_span(name):
                    pass
    langfuse_manager.flush()
    page = get(viewer + "/compare?a=chat-a&b=chat-b").text
    assert states(page) == ["same", "same", "only right", "same"]
    assert "<script>alert" not in page
    assert "The paths part" in page


@pytest.mark.parametrize(
    "query", ["", "?a=chat", "?a=chat-a&b=", "?a=chat-a&b=nothing", "?a=&b=chat-a", "?a=%00&b=%F0"]
)
def test_what_names_no_session_is_not_found(query: str, viewer: str, journal: Path) -> None:
    """An unknown or ambiguous id is a page with status 404 that names it."""
    record_turn("chat-a")
    record_turn("chat-b")
    langfuse_manager.flush()
    assert journal.exists()
    assert get(viewer + "/compare" + query).status_code == 404
