"""The examples as they stand, in a real browser: three people talk at once, and each session is one's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hosts.serving import Uvicorn
from hosts.tabs import StreamlitApp
from peers.otlp import Receiver, Span
from peers.spans import APP_ROOT
from photographs import photograph

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.langchain, pytest.mark.mcp]

EXAMPLES = Path(__file__).parents[2] / "examples"
PEOPLE = ("ada", "bob", "cleo")
QUESTIONS = ("Would a llama guard my sheep against dogs?", "How much can it carry on a long trek in the mountains?")
ASKED = len(PEOPLE) * len(QUESTIONS)

People = Callable[[str], "Page"]


def session_told(page: Page, user: str) -> str:
    """Return the id of the session that the page says it is in."""
    told = page.get_by_text(re.compile(f"^{user}, in session chat-")).inner_text()
    return told.rsplit(" ", 1)[1]


def settled(receiver: Receiver, roots: int) -> list[Span]:
    """Return all spans once so many roots have come, and with them everything below."""

    def come() -> int:
        return sum(span.parent_id is None or bool(span.attributes.get(APP_ROOT)) for span in receiver.spans)

    receiver.wait_until(lambda: come() >= roots, 60, f"{roots} traces")
    return receiver.spans


AGENT = ["generation", "tool llama-mcp.search", "generation", "tool llama-mcp.read", "generation"]


def what(span: Span) -> str:
    """Return a row's type, and its name where that is not the model's."""
    return "generation" if span.type == "generation" else f"{span.type} {span.name}"


def assert_own_sessions(spans: list[Span], sessions: dict[str, str], receiver: Receiver, tree: object) -> None:
    """Each person's session has this person's questions, whole traces, and nothing of the others."""
    assert len(set(sessions.values())) == len(PEOPLE)
    assert {span.session_id for span in spans} == set(sessions.values())
    for user, session in sessions.items():
        own = [span for span in spans if span.session_id == session]
        assert {span.user_id for span in own} == {user}
        traces = {span.trace_id for span in own}
        assert len(traces) == len(QUESTIONS)
        assert [span for span in spans if span.trace_id in traces and span.session_id != session] == []
    assert receiver.trees(what) == [tree] * ASKED
    assert receiver.doubled() == {}


@pytest.mark.application
def test_three_people_talk_to_the_streamlit_chat(people: People, receiver: Receiver, tmp_path: Path) -> None:
    """Interleaved in three windows: every trace whole, in the session and under the user of its own window."""
    environment = {**receiver.environment(), "LANGFUSE_INTEGRATION_JOURNAL": str(tmp_path / "app.sqlite3")}
    with StreamlitApp(EXAMPLES / "streamlit_chat" / "app.py", environment) as app:
        pages = {user: people(f"{app.url}/?user={user}") for user in PEOPLE}
        sessions = {user: session_told(page, user) for user, page in pages.items()}
        for number, question in enumerate(QUESTIONS, start=1):
            for page in pages.values():
                page.get_by_test_id("stChatInputTextArea").fill(question)
                page.get_by_test_id("stChatInputTextArea").press("Enter")
            for page in pages.values():
                page.wait_for_function(
                    "count => { const said = document.querySelectorAll('[data-testid=stChatMessage]');"
                    " return said.length === count && said[count - 1].innerText.includes('llama') }",
                    arg=2 * number,
                )
        for user, page in pages.items():
            assert session_told(page, user) == sessions[user]
        photograph(pages["ada"], "streamlit-chat")
        spans = settled(receiver, ASKED)
    tree = ("span chat_message", ("agent librarian", *((row,) for row in AGENT)))
    assert_own_sessions(spans, sessions, receiver, tree)
    messages = [span for span in spans if span.name == "chat_message"]
    assert sorted((span.user_id, span.input) for span in messages) == sorted((u, q) for u in PEOPLE for q in QUESTIONS)


@pytest.mark.application
def test_three_people_talk_to_the_fastapi_chat(people: People, receiver: Receiver, tmp_path: Path) -> None:
    """Interleaved, with streamed answers: every trace whole, in the session and under the user of its own log-in."""
    environment = {**receiver.environment(), "LANGFUSE_INTEGRATION_JOURNAL": str(tmp_path / "app.sqlite3")}
    with Uvicorn("app:app", environment, where=EXAMPLES / "fastapi_chat") as app:
        pages = {user: people(app.url) for user in PEOPLE}
        for user, page in pages.items():
            page.get_by_placeholder("Your name").fill(user)
            page.get_by_text("Log in").click()
        sessions = {user: session_told(page, user) for user, page in pages.items()}
        for number, question in enumerate(QUESTIONS, start=1):
            for page in pages.values():
                page.get_by_placeholder("What would you like to know?").fill(question)
                page.get_by_text("Ask", exact=True).click()
            for page in pages.values():
                page.wait_for_function(
                    "count => document.querySelectorAll('.agent').length === count "
                    "&& !document.querySelector('#chat button').disabled",
                    arg=number,
                )
        for page in pages.values():
            assert page.locator(".tool").all_inner_texts()[0] == "search(llama guard sheep against dog)"
            assert "llama" in page.locator(".agent").last.inner_text()
        photograph(pages["ada"], "fastapi-chat")
        spans = settled(receiver, ASKED)
    assert_own_sessions(spans, sessions, receiver, ("agent librarian", *((row,) for row in AGENT)))
