"""`diff`: two sessions side by side."""

from __future__ import annotations

import json
from pathlib import Path

from commands import Lfi, assert_safe, record_turn, settle
from langfuse_integration import langfuse_manager
from langfuse_integration.reading.archive import Archive
from langfuse_integration.reading.comparison import Comparison


def record(session: str, steps: list[tuple[str, object, object]]) -> None:
    """Record one turn: a root, and below it tools, each with name, input and output."""
    with langfuse_manager.session(session), langfuse_manager.trace_span("herder", as_type="agent", input="go"):
        for name, value, result in steps:
            with langfuse_manager.trace_span(name, as_type="tool", input=value) as tool:
                tool.update(output=result)


def test_the_same_twice_is_no_difference(lfi: Lfi) -> None:
    """Exit code 0, and a sentence."""
    record_turn("a", "ada")
    record_turn("b", "bob")
    settle()
    text = lfi.ok("diff", "a", "b")
    assert "The sessions did the same, with the same inputs and outputs." in text
    assert json.loads(lfi.ok("diff", "a", "b", "--json"))["changes"] == []


def test_another_answer_on_the_same_path_is_a_change(lfi: Lfi) -> None:
    """Exit code 0: the steps are the same; what differs is named with both values."""
    record_turn("a", answer="Hay.")
    record_turn("b", answer="Straw.")
    settle()
    text = lfi.ok("diff", "a", "b")
    assert_safe(text)
    assert "The path is the same. First at turn 1, step 1: agent herder (changed: output)" in text
    assert "- output Hay." in text
    assert "+ output Straw." in text
    changes = json.loads(lfi.ok("diff", "a", "b", "--json"))["changes"]
    assert [(each["kind"], each["label"], each["differs"]) for each in changes] == [
        ("changed", "agent herder", ["output"]),
        ("changed", "think ChatModel", ["output"]),
    ]


def converse(session: str, prompt: str, question: str, answer: object, name: str = "herder") -> None:
    """Record one model call, with a conversation as its input."""
    messages = [{"role": "system", "content": prompt}, {"role": "user", "content": question}]
    with langfuse_manager.session(session), langfuse_manager.trace_span(name, as_type="generation") as think:
        think.update(input=messages, output=answer)


def test_a_changed_prompt_shows_what_differs_in_it(lfi: Lfi) -> None:
    """The message that differs is shown from near its first difference, not the last one, which is the same."""
    start = "You are an expert of llamas. " * 20
    converse("a", start + "Answer shortly.", "What do they eat?", "Hay.")
    converse("b", start + "Answer at length.", "What do they eat?", "Hay and grass.")
    settle()
    text = lfi.ok("diff", "a", "b")
    assert_safe(text)
    assert text.splitlines()[-5:] == [
        "~ generation herder",
        "  - input ... llamas. Answer shortly.",
        "  + input ... llamas. Answer at length.",
        "  - output Hay.",
        "  + output Hay and grass.",
    ]


def test_what_is_no_text_of_a_message_is_shown_as_well(lfi: Lfi) -> None:
    """A call with another argument, an entry beside the messages, and a value that is none."""
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "search", "args": {"query": "hay"}, "id": "1"}]}
    other = {**call, "tool_calls": [{"name": "search", "args": {"query": "straw"}, "id": "1"}]}
    converse("a", "p", "q", call)
    converse("b", "p", "q", other)
    for session, tools in (("a", ["read"]), ("b", ["write"])):
        value = {"messages": [{"role": "user", "content": "q"}], "tools": tools}
        record(session, [("act", value, None if session == "a" else "done")])
    settle()
    lines = lfi.ok("diff", "a", "b").splitlines()
    assert [line.strip() for line in lines if line.strip()[:1] in "-+" and line.startswith(" ")] == [
        '- output search(query="hay")',
        '+ output search(query="straw")',
        '- input ... "q"}], tools=["read"]',
        '+ input ... "q"}], tools=["write"]',
        "- output none",
        "+ output done",
    ]


def test_what_is_different_in_every_run_is_no_difference(lfi: Lfi) -> None:
    """Ids and times are not compared; beside them a difference is found, and shown without them."""
    runs = {"a": "3b241101-e2bb-4255-8caf-4136c566a962", "b": "9e107d9d-372b-4e2a-8d42-f0b1d1c2a3b4"}
    ids = {"a": "bb2779bb35818a953c9e3e3669b0135b", "b": "0cc175b9c0f1b6a831c399e269772661"}
    for session, run_id in runs.items():
        record(session, [("ask", {"run": run_id}, {"interrupts": [{"id": ids[session], "value": "ok?"}]})])
    settle()
    assert "The sessions did the same" in lfi.ok("diff", "a", "b")
    assert json.loads(lfi.ok("diff", "a", "b", "--json"))["changes"] == []
    for session, run_id in runs.items():
        record(session, [("ask", {"run": run_id, "to": session}, None)])
    settle()
    [change] = json.loads(lfi.ok("diff", "a", "b", "--json"))["changes"]
    assert (change["turn"], change["differs"]) == (2, ["input"])
    text = lfi.ok("diff", "a", "b")
    assert not any(each in text for each in runs.values())


def test_paths_that_part_are_exit_code_1(lfi: Lfi) -> None:
    """A step that one session has and the other has not, and a further turn, are named where they are."""
    record("a", [("search", "hay", "no"), ("read", "a.md", "A"), ("answer", "x", "y")])
    record("b", [("search", "hay", "no"), ("answer", "x", "y")])
    record("b", [("search", "more", "no")])
    settle()
    done = lfi("diff", "a", "b")
    assert done.returncode == 1
    assert_safe(done.stdout)
    assert "The paths part. First at turn 1, step 3: tool read (removed)" in done.stdout
    assert "-   tool read" in done.stdout
    assert "+   tool search" in done.stdout
    found = json.loads(lfi("diff", "a", "b", "--json").stdout)
    assert found["same_path"] is False
    assert [(each["kind"], each["turn"], each["step"], each["label"]) for each in found["changes"]] == [
        ("removed", 1, 3, "tool read"),
        ("added", 2, 1, "agent herder"),
        ("added", 2, 2, "tool search"),
    ]
    assert found["first_divergence"]["left_id"] is not None
    assert found["first_divergence"]["right_id"] is None


def test_an_unknown_session_is_a_sentence(lfi: Lfi) -> None:
    """Exit code 2, which is not that of paths that part, and the sessions' list is named."""
    record_turn("a")
    settle()
    done = lfi("diff", "a", "nowhere")
    assert done.returncode == 2
    assert "No session nowhere is in the journal" in done.stderr


def test_a_journal_that_cannot_be_read_is_no_difference(lfi: Lfi, journal: Path) -> None:
    """Exit code 2 as well: nothing was compared."""
    journal.write_bytes(b"no database" * 1_000)
    done = lfi("diff", "a", "b")
    assert (done.returncode, done.stdout) == (2, "")
    assert str(journal) in done.stderr


def test_a_beginning_of_several_sessions_is_no_difference(lfi: Lfi) -> None:
    """Exit code 2, and the sessions are named."""
    record_turn("chat-1")
    record_turn("chat-2")
    settle()
    done = lfi("diff", "chat", "chat-1")
    assert done.returncode == 2
    assert "Several sessions begin with chat" in done.stderr


def test_long_sessions_are_compared(journal: Path) -> None:
    """Thousands of the same steps with one other in the middle: that one is found, and nothing else."""
    steps: list[tuple[str, object, object]] = [("search", "hay", "no")] * 1_500
    record("a", steps)
    record("b", [*steps[:700], ("read", "a.md", "A"), *steps[700:]])
    settle()
    with Archive(journal) as archive:
        comparison = Comparison(archive.replay("a"), archive.replay("b"))
    (change,) = comparison.changes
    assert (change.kind, change.number) == ("added", 702)
    assert not comparison.same_path
