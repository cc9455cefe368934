"""The Streamlit host: each tab has its own session, on a real server, whatever its script does."""

from __future__ import annotations

import gc
import importlib.util
import inspect
import json
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from langfuse_integration.recording import tracing
from peers.otlp import Receiver, Span

pytestmark = pytest.mark.application

streamlit = pytest.importorskip("streamlit")

from hosts.tabs import ScriptRun, StreamlitApp, Tab  # noqa: E402

APPS = Path(__file__).parent / "apps"
TABS, RUNS = 6, 6
MANY_RUNS = int(os.environ.get("REQUESTS", "10000"))
"""How often the largest test has scripts run, all tabs together."""
USER_HEADERS = "--server.trustedUserHeaders=" + json.dumps({"X-User": "id"})
KNOWS_USERS = hasattr(streamlit, "user")
"""Streamlit 1.40 tells a script no user that a test could choose."""


@pytest.fixture
def serve(receiver: Receiver) -> Iterator[Callable[..., StreamlitApp]]:
    """Start Streamlit servers whose observations go to the receiver."""
    started: list[StreamlitApp] = []

    def start(script: str, *options: str) -> StreamlitApp:
        app = StreamlitApp(APPS / script, receiver.environment(), *options)
        started.append(app)
        return app

    yield start
    for app in started:
        app.close()


@pytest.fixture
def tabs_of() -> Iterator[Callable[..., list[Tab]]]:
    """Open tabs that close with the test."""
    opened: list[Tab] = []

    def tabs(app: StreamlitApp, count: int = 1) -> list[Tab]:
        made = [app.tab({"X-User": f"user-{number}"}) for number in range(count)]
        opened.extend(made)
        return made

    yield tabs
    for tab in opened:
        tab.close()


def in_turns(tabs: list[Tab], runs: int, run: Callable[[Tab, int], None]) -> None:
    """Have all tabs run at the same time, *runs* times, every round beginning together."""
    together = threading.Barrier(len(tabs))

    def one(tab: Tab) -> None:
        for number in range(runs):
            together.wait(60)
            try:
                run(tab, number)
            except BaseException:
                together.abort()
                raise

    with ThreadPoolExecutor(len(tabs)) as pool:
        failures = [done.exception(120) for done in [pool.submit(one, tab) for tab in tabs]]
    failures.sort(key=lambda failure: isinstance(failure, threading.BrokenBarrierError))
    for failure in failures:
        if failure is not None:
            raise failure


def test_the_guides_application_puts_every_tab_in_its_own_session(
    serve: Callable[..., StreamlitApp], tabs_of: Callable[..., list[Tab]], receiver: Receiver
) -> None:
    """6 tabs with 6 runs each, interleaved: 72 of 72 look-ups found the tab's session and user, none another's."""
    app = serve("guide_session_state.py", *([USER_HEADERS] if KNOWS_USERS else []))
    tabs = tabs_of(app, TABS)
    seen: list[list[str]] = []

    def run(tab: Tab, number: int) -> None:
        found = tab.open() if number == 0 else tab.run()
        assert found.errors == []
        seen.append(found.texts)

    in_turns(tabs, RUNS, run)
    assert len(seen) == TABS * RUNS
    assert all(current == f"{session} of {user}" for session, user, current in seen)
    users = {session: user for session, user, _ in seen}
    assert sorted(users.values()) == [f"user-{number}" if KNOWS_USERS else "anonymous" for number in range(TABS)]

    spans = receiver.wait_for(3 * TABS * RUNS)
    assert Counter(span.name for span in spans) == {"streamlit_query": 36, "think": 36, "llama-mcp": 36}
    looked_up = [span for span in spans if span.parent_id is None]
    assert len(looked_up) == 72
    wrong = [span for span in spans if span.name != "streamlit_query" and span.input != _owner(span)]
    assert wrong == []
    assert Counter(span.session_id for span in spans) == dict.fromkeys(users, 3 * RUNS)
    assert {span.session_id: span.user_id for span in spans} == users


def test_the_guides_chat_puts_every_tab_in_its_own_session(
    serve: Callable[..., StreamlitApp], tabs_of: Callable[..., list[Tab]], receiver: Receiver
) -> None:
    """6 tabs ask 6 questions each: every trace is in the session of its tab, and shows the tab's own message count."""
    app = serve("guide_chat.py")
    tabs = tabs_of(app, TABS)
    sessions: dict[Tab, str] = {}
    in_turns(tabs, 1, lambda tab, _: sessions.update({tab: tab.open().texts[-1]}))

    def ask(tab: Tab, number: int) -> None:
        found = tab.run(chat=f"question {number}")
        assert found.errors == []
        assert found.texts[-1] == sessions[tab]

    in_turns(tabs, RUNS, ask)
    spans = receiver.wait_for(2 * TABS * RUNS)
    assert len(set(sessions.values())) == TABS
    assert receiver.trees() == [("chat_message", ("llama-mcp.search",))] * TABS * RUNS
    for session in sessions.values():
        own = [span for span in spans if span.session_id == session]
        calls = [span for span in own if span.name == "llama-mcp.search"]
        assert [call.input for call in calls] == [session] * RUNS
        counts = [_metadata(span, "message_count") for span in own if span.name == "chat_message"]
        assert counts == [1, 3, 5, 7, 9, 11]
        assert {span.user_id for span in own} == {None}


HARD_CASES = {
    "plain": 1,
    "asyncio_run": 6,
    "session_set_in_a_task": 1,
    "shared_loop": 1,
    "shared_pool_told_the_first_tab": 1,
    "shared_pool_told_for_each_task": 2,
    "told_thread": 3,
    "bare_thread": 2,
    "detached": 3,
    "block": 3,
    "write_stream": 2,
    "cache_data": 1,
    "cache_resource": 1,
    "rerun": 2,
    "callback": 1,
    "other_session_from_here_on": 1,
}
"""How many observations each case records."""
if importlib.util.find_spec("langchain_core"):
    HARD_CASES["langchain_batch"] = 5
if "async" in str(streamlit.write_stream.__doc__):
    HARD_CASES["write_stream_later"] = 2
if "parallel" in inspect.signature(streamlit.fragment).parameters:
    HARD_CASES["parallel"] = 6


@pytest.mark.application
def test_a_tabs_session_goes_wherever_its_script_goes(
    serve: Callable[..., StreamlitApp], tabs_of: Callable[..., list[Tab]], receiver: Receiver
) -> None:
    """Loops, pools, caches, fragments, callbacks and reruns of 4 tabs at once: none wrong, and missing only where a
    thread was started bare."""
    app = serve("hard_cases/app.py")
    tabs = tabs_of(app, 4)
    ours: dict[Tab, str] = {}
    in_turns(tabs, 1, lambda tab, _: ours.update({tab: tab.open().texts[-1]}))
    orders = {tab: random.Random(number).sample(list(HARD_CASES), len(HARD_CASES)) for number, tab in enumerate(tabs)}

    def work(tab: Tab, number: int) -> None:
        found = tab.run(click=orders[tab][number])
        assert found.errors == [], orders[tab][number]

    in_turns(tabs, len(HARD_CASES), work)
    spans = receiver.wait_for(len(tabs) * sum(HARD_CASES.values()))
    assert _misplaced(spans) == []
    nobody = {span.name for span in spans if span.session_id is None}
    assert nobody == {"bare thread", "told nothing", "detached", "detached thread"}


def test_forms_fragments_and_pages_are_the_tabs(
    serve: Callable[..., StreamlitApp], tabs_of: Callable[..., list[Tab]], receiver: Receiver
) -> None:
    """A form's run, a fragment's own run and another page are in the session of their tab."""
    app = serve("hard_cases/app.py")
    tabs = tabs_of(app, 3)

    def work(tab: Tab, number: int) -> None:
        ours = tab.open().texts[-1]
        assert tab.run(click="fragment", in_fragment=True).errors == []
        assert tab.run(fill={"said": ours}, click="send").errors == []
        assert tab.open("other").texts[-1] == ours

    in_turns(tabs, 1, work)
    spans = receiver.wait_for(9)
    assert Counter(span.name for span in spans) == {"fragment": 3, "form": 3, "other page": 3}
    assert _misplaced(spans) == []


def test_a_run_that_a_newer_one_supersedes_is_not_disturbed(
    serve: Callable[..., StreamlitApp], tabs_of: Callable[..., list[Tab]], receiver: Receiver
) -> None:
    """Recording in a script run that was told to stop raises nothing into it, and stays in its tab's session."""
    app = serve("hard_cases/app.py")
    [tab] = tabs_of(app)
    tab.open()
    tab.begin(click="slow")
    receiver.wait_for(3)
    tab.begin(click="supersede")
    found = tab.finish()
    assert found.errors == []
    assert "not superseded" not in found.texts
    last = {"superseding", "after it was superseded"}
    receiver.wait_until(lambda: last <= {span.name for span in receiver.spans})
    assert {span.name for span in receiver.spans} == {"slow", *last}
    assert _misplaced(receiver.spans) == []


def test_a_lost_connection_keeps_the_tab_and_a_refresh_makes_a_new_one(
    serve: Callable[..., StreamlitApp], tabs_of: Callable[..., list[Tab]], receiver: Receiver
) -> None:
    """A websocket that comes back is the same tab with the same session; a page that is loaded anew is another."""
    app = serve("hard_cases/app.py")
    [tab] = tabs_of(app)
    ours = tab.open().texts[-1]
    tab.reconnect()
    assert tab.run(click="plain").texts[-1] == ours
    [refreshed] = tabs_of(app)
    other = refreshed.open().texts[-1]
    assert other != ours
    refreshed.run(click="plain")
    tab.run(click="logout")
    tab.run(click="plain")
    spans = receiver.wait_for(4)
    assert [span.name for span in spans] == ["plain", "plain", "logged out", "plain"]
    assert _misplaced(spans) == []
    assert len({span.session_id for span in spans} - {None}) == 3


@pytest.mark.slow
def test_what_is_held_of_a_tab_leaves_with_it(
    serve: Callable[..., StreamlitApp], tabs_of: Callable[..., list[Tab]]
) -> None:
    """After 180 tabs were opened and closed, at most the 128 that Streamlit keeps for reconnection are in memory."""
    app = serve("hard_cases/app.py")

    def visit(_: int) -> str:
        with app.tab() as tab:
            return tab.open().texts[-1]

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(visit, range(180)))) == 180
    [last] = tabs_of(app)
    last.open()
    held = int(last.run(click="tabs held").texts[-2])
    assert held <= 128 + 1 + 4


def test_applications_under_apptest_are_kept_apart(receiver: Receiver) -> None:
    """AppTest calls every application "test session id": each still has its own session, and nothing of it is left."""
    from streamlit.testing.v1 import AppTest

    def script() -> None:
        import streamlit as st

        from langfuse_integration import langfuse_manager

        if "ours" not in st.session_state:
            st.session_state.ours = (
                f"test-{id(st.session_state._state if hasattr(st.session_state, '_state') else object())}"
            )
            st.session_state.runs = 0
        st.session_state.runs += 1
        if "name" in st.session_state and st.session_state.runs == 1:
            langfuse_manager.set_session(st.session_state.name)
        st.text(langfuse_manager.current_session_id)

    def run(test: AppTest) -> str:
        test.run(timeout=30)
        assert not test.exception
        return str(test.text[0].value)

    gc.collect()
    before = _tabs_held()
    tests = [AppTest.from_function(script) for _ in range(3)]
    for number, test in enumerate(tests[:2]):
        test.session_state["name"] = f"app-{number}"
    for _ in range(3):
        assert [run(test) for test in tests] == ["app-0", "app-1", "None"]
    assert _tabs_held() == before + 3
    del test, tests
    gc.collect()
    assert _tabs_held() == before


def test_without_the_hook_the_tab_is_looked_up_on_touch(
    serve: Callable[..., StreamlitApp], tabs_of: Callable[..., list[Tab]], receiver: Receiver
) -> None:
    """Where Streamlit's script start cannot be hooked, the guide's application still has 0 wrong and 0 missing."""
    app = serve("guide_without_hook.py")
    tabs = tabs_of(app, 3)
    seen: list[ScriptRun] = []
    in_turns(tabs, 3, lambda tab, number: seen.append(tab.run() if number else tab.open()))
    assert all(run.errors == [] and run.texts[0] == "hook: False" for run in seen)
    spans = receiver.wait_for(27)
    assert [span for span in spans if span.name != "streamlit_query" and span.input != _owner(span)] == []
    assert len({span.session_id for span in spans}) == 3


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_run_of_ten_thousand_is_wrong_missing_or_an_error(
    serve: Callable[..., StreamlitApp], tabs_of: Callable[..., list[Tab]], receiver: Receiver
) -> None:
    """Of 10,000 runs in 50 tabs, which log in and out at random, no row is wrong, missing, doubled or an error."""
    tabs = tabs_of(serve("many_runs.py"), 50)
    expected: list[tuple[str, str | None, str | None, str]] = []

    def visit(number: int) -> None:
        dice, tab, who, session = random.Random(number), tabs[number], f"u{number}", None
        tab.open()
        for _ in range(MANY_RUNS // 50):
            click = dice.choice([None, None, None, "log in", "log out"])
            found = tab.run(fill={"who": who}, click=click)
            session = {"log in": f"tab-of-{who}", "log out": None}.get(click or "", session)
            assert (found.errors, found.texts) == ([], [str(session)])
            placed = (session, who if session else None, "UNSET")
            expected.extend((f"{work} of {who}", *placed) for work in ("script", "thread"))

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(visit, number) for number in range(50)]:
            done.result()
    spans = receiver.wait_for(len(expected), 600)
    assert Counter((span.name, span.session_id, span.user_id, span.status) for span in spans) == Counter(expected)


def _owner(span: Span) -> str:
    return f"{span.session_id} of {span.user_id}"


def _misplaced(spans: list[Span]) -> list[tuple[str, str, str | None, str | None]]:
    """Return the observations that are not in the session that their input names."""
    return [
        (span.name, span.input, span.session_id, span.user_id)
        for span in spans
        if (span.session_id or "nobody") != span.input
        or span.user_id != (f"user of {span.session_id}" if span.session_id else None)
    ]


def _metadata(span: Span, key: str) -> object:
    return json.loads(str(span.attributes[f"langfuse.observation.metadata.{key}"]))


def _tabs_held() -> int:
    from langfuse_integration.hosts.streamlit import StreamlitHost

    tracing.store.current()
    [host] = [host for host in tracing.store._hosts if isinstance(host, StreamlitHost)]
    return len(host)
