"""SessionHandler: wherever it stands, everything is recorded once, under the right session."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

from fresh import run_warm
from langchain_runs import search
from langfuse_integration import langfuse_manager
from langfuse_integration.internals import faults
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_langchain import SessionHandler, instrument, uninstrument
from langfuse_integration_langchain import instrumented as is_instrumented
from scripted_chat import ScriptedChat, call

pytestmark = pytest.mark.langchain

TREE = [{"chain RunnableSequence": ["generation ScriptedChat"]}]


@pytest.fixture
def instrumented() -> Iterator[None]:
    instrument()
    instrument()
    yield
    uninstrument()


def chain(**options: Any) -> Any:
    """Return prompt, model and parser."""
    prompt = ChatPromptTemplate.from_messages([("human", "{question}")])
    return prompt | ScriptedChat("Alpacas hum.", **options) | StrOutputParser()


def ask(with_callbacks: list[BaseCallbackHandler] | None = None, runnable: Any = None) -> Any:
    """Ask the chain in alice's session."""
    config: Any = {"callbacks": with_callbacks} if with_callbacks else {}
    with langfuse_manager.session("s-alice", "alice"):
        return (runnable or chain()).invoke({"question": "What do alpacas do?"}, config)


def owners(sessions: RecordedSessions) -> set[tuple[str | None, str | None]]:
    """Return the sessions and users of all that was recorded."""
    return {(found.session_id, found.user_id) for found in sessions.observations}


def test_a_handler_in_the_call_records_the_whole_run(no_open_runs: RecordedSessions) -> None:
    """Root and generation, both in the session, with the real input and output, and no row for prompt or parser."""
    assert ask([SessionHandler()]) == "Alpacas hum."
    trace = no_open_runs.trace()
    assert trace.tree() == TREE
    assert owners(no_open_runs) == {("s-alice", "alice")}
    root, generation = trace.observations
    assert (root.input, root.output) == ({"question": "What do alpacas do?"}, "Alpacas hum.")
    assert generation.input == [{"role": "user", "content": "What do alpacas do?"}]
    assert generation.output == {"role": "assistant", "content": "Alpacas hum."}
    assert all(found.level == "DEFAULT" and found.status_message is None for found in trace.observations)


def test_a_handler_at_a_constructor_records_what_was_constructed(no_open_runs: RecordedSessions) -> None:
    """A model with a handler of its own: its calls are rows, the chain around it is none."""
    ask(runnable=chain(callbacks=[SessionHandler()]))
    assert no_open_runs.trace().tree() == ["generation ScriptedChat"]
    assert owners(no_open_runs) == {("s-alice", "alice")}


def test_a_handler_bound_to_a_chain_records_the_chain(no_open_runs: RecordedSessions) -> None:
    """`with_config(callbacks=...)` is as good as passing it in the call."""
    ask(runnable=chain().with_config(callbacks=[SessionHandler()]))
    assert no_open_runs.trace().tree() == TREE


@pytest.mark.parametrize("many", ["the same twice", "two", "two and one at the constructor"])
def test_several_handlers_record_once(no_open_runs: RecordedSessions, many: str) -> None:
    """One handler passed twice, or several handlers, record one row for each run and leave none open."""
    handler = SessionHandler()
    others = [handler, handler] if many == "the same twice" else [handler, SessionHandler()]
    options = {"callbacks": [SessionHandler()]} if "constructor" in many else {}
    ask(others, chain(**options))
    assert no_open_runs.trace().tree() == TREE


def test_several_handlers_keep_the_parts_of_a_stream_once(no_open_runs: RecordedSessions) -> None:
    """Two handlers are told of each token: an abandoned stream has each word once."""
    from scripted_chat import ScriptedStream

    stream = ScriptedStream("one two three").stream("count", {"callbacks": [SessionHandler(), SessionHandler()]})
    next(stream)
    stream.close()
    assert no_open_runs.trace().one("ScriptedStream").output == {"role": "assistant", "content": "one "}


def test_a_shared_handler_serves_all_users(no_open_runs: RecordedSessions) -> None:
    """One handler, two users: each run is in the session that is active where it starts."""
    runnable = chain().with_config(callbacks=[SessionHandler()])
    for user in ("alice", "bob", "alice"):
        with langfuse_manager.session(f"s-{user}", user):
            runnable.invoke({"question": user})
    assert [trace.tree() for trace in no_open_runs.of("s-alice").traces] == [TREE, TREE]
    assert [trace.tree() for trace in no_open_runs.of("s-bob").traces] == [TREE]
    assert no_open_runs.of("s-bob").users == ["bob"]
    assert no_open_runs.of("s-alice").users == ["alice"]


def test_without_a_session_nothing_is_guessed(no_open_runs: RecordedSessions) -> None:
    """No session is active and none is named: the rows are untagged."""
    chain().invoke({"question": "x"}, {"callbacks": [SessionHandler()]})
    assert no_open_runs.trace().tree() == TREE
    assert owners(no_open_runs) == {(None, None)}


# -- for the whole process


def test_instrument_records_everything_without_a_handler(no_open_runs: RecordedSessions, instrumented: None) -> None:
    """Called twice it records once: a chain, a bare model and a bare tool."""
    ask()
    with langfuse_manager.session("s-alice", "alice"):
        ScriptedChat("Hm.").invoke("x")
        search.invoke({"query": "wool"})
    assert [trace.tree() for trace in no_open_runs.traces] == [TREE, ["generation ScriptedChat"], ["tool search"]]
    assert owners(no_open_runs) == {("s-alice", "alice")}


@pytest.mark.parametrize("place", ["call", "constructor", "both"])
def test_instrument_goes_with_handlers(no_open_runs: RecordedSessions, instrumented: None, place: str) -> None:
    """A handler in the call, at a constructor or both, besides instrument(): everything once, in one tree."""
    options = {"callbacks": [SessionHandler()]} if place != "call" else {}
    ask([SessionHandler()] if place != "constructor" else None, chain(**options))
    assert no_open_runs.trace().tree() == TREE


def test_uninstrument_ends_it(no_open_runs: RecordedSessions) -> None:
    """After uninstrument() nothing is recorded; before the first instrument() it is harmless."""
    uninstrument()
    instrument()
    uninstrument()
    ask()
    assert no_open_runs.observations == []


def test_one_can_ask_whether_the_process_is_instrumented() -> None:
    """Between instrument() and uninstrument(), however often either is called; a handler of one's own is none."""
    SessionHandler()
    assert not is_instrumented()
    instrument()
    instrument()
    assert is_instrumented()
    uninstrument()
    assert not is_instrumented()


def test_instrument_reaches_bare_threads(no_open_runs: RecordedSessions, instrumented: None) -> None:
    """A thread that starts with an empty context is instrumented, too."""
    import threading

    thread = threading.Thread(target=langfuse_manager.bind(lambda: chain().invoke({"question": "x"})))
    thread.start()
    thread.join()
    assert no_open_runs.trace().tree() == TREE


# -- bound handlers


def test_a_bound_handler_goes_before_the_active_session(no_open_runs: RecordedSessions) -> None:
    """What a handler was bound to holds for the whole tree, tags and metadata included."""
    ask([SessionHandler("s-bob", "bob", tags=["beta"], metadata={"plan": "pro"})])
    assert owners(no_open_runs) == {("s-bob", "bob")}
    root = no_open_runs.trace().roots[0]
    assert root.attributes["langfuse.trace.tags"] == ["beta"]
    assert root.attributes["langfuse.trace.metadata.plan"] == "pro"


def test_what_a_bound_handler_leaves_open_is_taken_from_the_active_session(no_open_runs: RecordedSessions) -> None:
    """A handler bound only to a user or to tags takes the rest from the active session."""
    ask([SessionHandler(user_id="carol")])
    ask([SessionHandler(tags=["beta"])])
    assert owners(no_open_runs) == {("s-alice", "carol"), ("s-alice", "alice")}
    assert no_open_runs.traces[1].roots[0].attributes["langfuse.trace.tags"] == ["beta"]


def test_a_session_without_a_user_takes_no_other_sessions_user(no_open_runs: RecordedSessions) -> None:
    """Bound to another session only: that session's user is not known, and not that of the active one."""
    ask([SessionHandler("s-other")])
    assert owners(no_open_runs) == {("s-other", None)}


def test_a_bound_handler_at_a_constructor_counts_beside_another(
    no_open_runs: RecordedSessions, instrumented: None
) -> None:
    """The process is instrumented, a model bound to a session: its calls are in that, the rest in the active one."""
    ask(runnable=chain(callbacks=[SessionHandler("s-model")]))
    assert no_open_runs.trace().tree() == TREE
    root, generation = no_open_runs.trace().observations
    assert (root.session_id, generation.session_id) == ("s-alice", "s-model")


def test_of_two_bound_handlers_the_first_counts(no_open_runs: RecordedSessions) -> None:
    """Two bindings contradict each other: the first one in the list holds, for the whole tree."""
    ask([SessionHandler("s-1"), SessionHandler("s-2")])
    assert owners(no_open_runs) == {("s-1", None)}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"session_id": " "}, ValueError),
        ({"session_id": "x" * 201}, ValueError),
        ({"user_id": 7}, TypeError),
        ({"tags": "beta"}, TypeError),
        ({"metadata": ["x"]}, TypeError),
    ],
)
def test_a_handler_refuses_what_langfuse_could_not_group_by(options: Any, error: type[Exception]) -> None:
    """Blank, too long, or no text: the reason is raised where the handler is made."""
    with pytest.raises(error):
        SessionHandler(**options)


# -- the run's own metadata


def test_the_metadata_of_a_root_names_its_session(no_open_runs: RecordedSessions) -> None:
    """The Langfuse SDK's metadata keys name session, user and tags; they are no metadata of the rows."""
    named = {"langfuse_session_id": "s-meta", "langfuse_user_id": "dora", "langfuse_tags": ["beta"], "plan": "pro"}
    with langfuse_manager.session("s-alice", "alice"):
        chain().invoke({"question": "x"}, {"callbacks": [SessionHandler()], "metadata": named})
    assert owners(no_open_runs) == {("s-meta", "dora")}
    root, generation = no_open_runs.trace().observations
    assert root.metadata == {"plan": "pro"}
    assert "plan" not in generation.metadata
    assert root.attributes["langfuse.trace.tags"] == ["beta"]


def test_a_user_in_the_metadata_leaves_the_session(no_open_runs: RecordedSessions) -> None:
    """A user in the metadata leaves the active session in place."""
    with langfuse_manager.session("s-alice", "alice"):
        chain().invoke({"question": "x"}, {"callbacks": [SessionHandler()], "metadata": {"langfuse_user_id": "dora"}})
    assert owners(no_open_runs) == {("s-alice", "dora")}


def test_unusable_metadata_is_left_out(no_open_runs: RecordedSessions, caplog: pytest.LogCaptureFixture) -> None:
    """A blank id in the metadata changes nothing but one warning: the application's call goes through."""
    with langfuse_manager.session("s-alice", "alice"):
        chain().invoke({"question": "x"}, {"callbacks": [SessionHandler()], "metadata": {"langfuse_session_id": ""}})
    assert owners(no_open_runs) == {("s-alice", "alice")}
    assert "session_id '' is blank" in caplog.text


def test_a_thread_id_is_no_session(no_open_runs: RecordedSessions) -> None:
    """LangGraph's thread id is kept as metadata; it groups nothing by itself."""
    agent = create_agent(ScriptedChat("Hm."), [search])
    config: Any = {"callbacks": [SessionHandler()], "configurable": {"thread_id": "t-1"}}
    agent.invoke({"messages": [("user", "x")]}, config)
    assert owners(no_open_runs) == {(None, None)}
    assert no_open_runs.trace().roots[0].metadata == {"thread_id": "t-1"}


def test_tags_and_metadata_stand_where_they_were_given(no_open_runs: RecordedSessions) -> None:
    """A runnable's own tags and metadata are on its row, those of the call on the root's, and neither repeated."""
    step = RunnableLambda(lambda text: text, name="step").with_config(tags=["inner"], metadata={"depth": 1})
    config: Any = {"callbacks": [SessionHandler()], "tags": ["outer"], "metadata": {"plan": "pro"}, "run_name": "top"}
    (step | RunnableLambda(lambda text: text, name="next")).invoke("x", config)
    trace = no_open_runs.trace()
    assert trace.tree() == [{"chain top": ["chain step", "chain next"]}]
    assert [found.metadata for found in trace.observations] == [
        {"plan": "pro", "tags": ["outer"]},
        {"depth": 1, "tags": ["inner"]},
        {},
    ]


def test_a_handler_can_be_copied_and_sent_elsewhere(no_open_runs: RecordedSessions) -> None:
    """A deep copy, and one that went through pickle, record as the first one does."""
    handler = SessionHandler("s-bound", "bob", tags=["beta"], metadata={"plan": "pro"})
    for made in (copy.deepcopy(handler), pickle.loads(pickle.dumps(handler))):
        ask([made])
    assert [trace.tree() for trace in no_open_runs.traces] == [TREE, TREE]
    assert owners(no_open_runs) == {("s-bound", "bob")}


def test_a_handler_that_another_process_gets_knows_what_runs_there() -> None:
    """Where no other handler was ever made, the code inside of a run finds its observation."""
    sent = pickle.dumps(SessionHandler("s-bound"))
    said = run_warm(f"""
        import pickle
        from langchain_core.tools import tool
        from langfuse_integration import langfuse_manager

        @tool
        def look(where: str) -> str:
            "Look."
            return langfuse_manager.current_observation.name

        print(look.invoke({{"where": "here"}}, {{"callbacks": [pickle.loads({sent!r})]}}))
    """)
    assert said == "look\n"


# -- our own faults


def test_our_fault_never_reaches_the_application(
    no_open_runs: RecordedSessions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Something in the handler breaks: the call answers as ever, one warning says so, and the rest is recorded."""
    faults.strict = False
    monkeypatch.setattr("langfuse_integration_langchain.agents.may_think", lambda *given: 1 / 0)
    assert ask([SessionHandler()]) == "Alpacas hum."
    assert ask([SessionHandler()]) == "Alpacas hum."
    assert [trace.tree() for trace in no_open_runs.traces] == [TREE, TREE]
    warnings = [record.getMessage() for record in caplog.records if record.name == "langfuse_integration"]
    assert warnings == ["langfuse-integration failed while starting a LangChain run; tracing only is affected"]


def test_under_the_strict_switch_our_faults_raise(monkeypatch: pytest.MonkeyPatch, sessions: RecordedSessions) -> None:
    """In our own tests LangChain may not swallow what the handler raises."""
    monkeypatch.setattr("langfuse_integration_langchain.agents.may_think", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ask([SessionHandler()])


def test_a_tool_of_an_agent_is_recorded_with_its_agent(no_open_runs: RecordedSessions, instrumented: None) -> None:
    """The smallest agent, instrumented: think, act, think."""
    agent = create_agent(ScriptedChat(call("search", {"query": "wool"}), "Done."), [search], name="helper")
    with langfuse_manager.session("s-alice", "alice"):
        agent.invoke({"messages": [("user", "x")]})
    assert no_open_runs.trace().tree() == [
        {"agent helper": ["generation ScriptedChat", "tool search", "generation ScriptedChat"]}
    ]
