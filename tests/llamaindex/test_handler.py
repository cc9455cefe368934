"""The handler: attached however LlamaIndex allows it, recording once, and gone without a trace."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import llama_index.core
import pytest
from llama_index.core import Settings, set_global_handler
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher

from langfuse_integration import langfuse_manager
from langfuse_integration.recording import ambient
from langfuse_integration.sessions.session import Session
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_llamaindex import SessionHandler, instrument, instrumented, uninstrument
from langfuse_integration_llamaindex.places import current
from llamaindex.scripted import ScriptedLLM

HELLO = [ChatMessage(role="user", content="Hello?")]


@pytest.fixture(autouse=True)
def nothing_attached(recorded: None) -> Iterator[None]:
    """Begin with nothing attached, and leave LlamaIndex's settings as they were."""
    uninstrument()
    before = Settings._callback_manager
    Settings._callback_manager = None
    yield
    Settings._callback_manager = before
    llama_index.core.global_handler = None


@pytest.fixture
def handler() -> Iterator[SessionHandler]:
    """A handler that is detached at the end."""
    made = SessionHandler()
    yield made
    made.detach()


def handlers() -> tuple[list[str], list[str]]:
    """Return the classes of the root dispatcher's handlers."""
    root = get_dispatcher("root")
    return [type(held).__name__ for held in root.span_handlers], [type(held).__name__ for held in root.event_handlers]


def ask(**options: Any) -> None:
    """Make one model call."""
    ScriptedLLM(["Hi."], **options).chat(HELLO)


def test_a_callback_manager_of_the_settings(sessions: RecordedSessions, handler: SessionHandler) -> None:
    """The one line of the documentation switches everything on."""
    Settings.callback_manager = CallbackManager([handler])
    ask()
    ask(callback_manager=Settings.callback_manager)
    assert [found.label for found in sessions.observations] == ["generation ScriptedLLM"] * 2


def test_attached_twice_is_once(sessions: RecordedSessions, handler: SessionHandler) -> None:
    """Two handlers, two attachments and `instrument()` together record everything once."""
    before = handlers()
    second = SessionHandler()
    handler.attach(Settings).attach()
    second.attach(Settings)
    instrument()
    instrument()
    assert handlers() == before
    assert Settings.callback_manager.handlers == [handler, second]
    ask()
    assert len(sessions.observations) == 1
    second.detach()
    uninstrument()
    ask()
    assert len(sessions.observations) == 2


def test_detach_restores_what_was(sessions: RecordedSessions) -> None:
    """The dispatcher, the settings and the look-up of what is current are as if nothing had been."""
    spans, events = list(get_dispatcher("root").span_handlers), list(get_dispatcher("root").event_handlers)
    handler = SessionHandler().attach(Settings)
    handler.detach()
    assert Settings._callback_manager is None
    assert get_dispatcher("root").span_handlers == spans
    assert get_dispatcher("root").event_handlers == events
    assert current not in ambient._sources
    ask()
    assert sessions.observations == []
    handler.detach()
    handler.attach(Settings)
    ask()
    assert len(sessions.observations) == 1
    handler.detach()


def test_a_manager_that_is_there_keeps_its_handlers(sessions: RecordedSessions, handler: SessionHandler) -> None:
    """`attach` adds to it, `detach` takes away only what it added."""
    debug = LlamaDebugHandler(print_trace_on_end=False)
    Settings.callback_manager = CallbackManager([debug])
    handler.attach(Settings)
    assert Settings.callback_manager.handlers == [debug, handler]
    handler.detach()
    assert Settings.callback_manager.handlers == [debug]


def test_the_global_handler(sessions: RecordedSessions, handler: SessionHandler) -> None:
    """LlamaIndex's `global_handler` may be one of ours."""
    llama_index.core.global_handler = handler
    ask(callback_manager=CallbackManager())
    assert len(sessions.observations) == 1
    assert callable(set_global_handler)


def test_the_callbacks_themselves_tell_nothing(handler: SessionHandler) -> None:
    """A callback manager never calls it for an event; its methods do nothing."""
    manager = CallbackManager([handler])
    with manager.as_trace("query"):
        manager.on_event_start("llm", payload={})  # type: ignore[arg-type]
    assert handler.on_event_start("llm", event_id="e") == "e"  # type: ignore[arg-type]
    handler.on_event_end("llm")  # type: ignore[arg-type]
    handler.start_trace()
    handler.end_trace()


def test_uninstrument_without_instrument_does_nothing() -> None:
    """A call of `uninstrument` without `instrument`, or a second one, does nothing."""
    before = handlers()
    uninstrument()
    uninstrument()
    assert handlers() == before


def test_one_can_ask_whether_the_process_is_instrumented(handler: SessionHandler) -> None:
    """Between instrument() and uninstrument(), however often either is called; a handler of one's own is none."""
    assert not instrumented()
    instrument()
    instrument()
    assert instrumented()
    uninstrument()
    assert not instrumented()


# -- bound to a session


def test_a_bound_handler_goes_before_the_active_session(sessions: RecordedSessions) -> None:
    """What it was bound to is on everything, with tags and metadata."""
    handler = SessionHandler("bound", "u-9", tags=["vip"], metadata={"plan": "pro"}).attach(Settings)
    with langfuse_manager.session("active", "u-1"):
        ask()
    handler.detach()
    (row,) = sessions.observations
    assert (row.session_id, row.user_id) == ("bound", "u-9")
    assert row.attributes["langfuse.trace.tags"] == ["vip"]
    assert handler.bound_session == Session("bound", "u-9", tags=["vip"], metadata={"plan": "pro"})


def test_a_handler_bound_for_one_component(sessions: RecordedSessions) -> None:
    """A component's own callback manager counts before that of the settings; others have the active session."""
    ours = SessionHandler("ours").attach(Settings)
    theirs = SessionHandler("theirs")
    ask(callback_manager=CallbackManager([theirs]))
    ask()
    ours.detach()
    theirs.detach()
    assert [row.session_id for row in sessions.observations] == ["theirs", "ours"]


def test_after_the_last_bound_handler_nobody_is_bound(sessions: RecordedSessions, handler: SessionHandler) -> None:
    """A handler that is detached binds nothing any more."""
    bound = SessionHandler("bound").attach(Settings)
    bound.detach()
    with langfuse_manager.session("active"):
        ask()
    assert sessions.observations[0].session_id == "active"


@pytest.mark.parametrize("session_id", ["", "  ", "x" * 201, "a\nb"])
def test_an_id_that_langfuse_could_not_group_by(session_id: str) -> None:
    """A handler with an invalid session id raises at once and attaches nothing."""
    before = handlers()
    with pytest.raises(ValueError, match="session_id"):
        SessionHandler(session_id)
    assert handlers() == before


# -- our own faults


def test_a_fault_of_ours_is_logged_and_changes_nothing(
    sessions: RecordedSessions,
    handler: SessionHandler,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """LlamaIndex swallows it without a word: ours says once what failed."""
    from langfuse_integration_llamaindex import spans

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("our own mistake")

    monkeypatch.setattr(spans, "enter", broken)
    answer = ScriptedLLM(["Hi."]).chat(HELLO)
    ScriptedLLM(["Hi."]).chat(HELLO)
    assert answer.message.content == "Hi."
    failures = [record for record in caplog.records if "failed while" in record.getMessage()]
    assert len(failures) == 1
    assert "starting an observation of LlamaIndex" in failures[0].getMessage()
    assert sessions.observations == []
    caplog.clear()


def test_importing_does_nothing() -> None:
    """No handler is attached and no worker runs until a handler is made."""
    code = (
        "import threading, langfuse_integration_llamaindex\n"
        "from llama_index.core.instrumentation import get_dispatcher\n"
        "print(len(get_dispatcher('root').span_handlers), [t.name for t in threading.enumerate()])"
    )
    printed = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "1 ['MainThread']"


def test_without_llama_index_the_extra_is_named() -> None:
    """The import says what to install."""
    code = (
        "import sys, importlib.util\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name.startswith('llama_index') else found(name, *a)\n"
        "import langfuse_integration_llamaindex"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert printed.returncode == 1
    assert "llama-index-core is not installed: pip install 'langfuse-integration[llamaindex]'" in printed.stderr
