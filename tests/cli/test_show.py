"""`show`: a session replayed as text."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from rich.cells import cell_len

from commands import Lfi, assert_safe, normalised, record_turn, settle
from langfuse_integration import langfuse_manager
from langfuse_integration.reading.archive import Archive
from peers.waiting import until

TURN = """\
chat-1
user ada, 1 trace, 4 observations
DAY TIME to TIME (TIME)
1,220 tokens in, 21 out, no errors

── 1 ─ CLOCK ────────────────────────────────  TIME  1,220 in    21 out
ada           What do llamas eat?
herder        Hay.

agent    herder  TIME
├─ think 1  llama-1  TIME    120 in     9 out
│  calls    search(query="food")
├─ act 1    MCP llama-mcp.search  TIME
│  in       query="food"
│  out      feeding.md: hay
└─ think 2  llama-1  TIME  1,100 in    12 out
   says     Hay.
"""

GUIDE = """\
session-123
user user-456, 3 traces, 3 observations
DAY TIME to TIME (TIME)
no errors

── 1 ─ CLOCK ────────────────────────────────  TIME
span     user_query  TIME

── 2 ─ CLOCK ────────────────────────────────  TIME
user-456      user input
assistant     agent thought

think    think  TIME
in       user input
out      agent thought

── 3 ─ CLOCK ────────────────────────────────  TIME
tool     MCP llama-mcp  TIME
in       search query
out      search results
"""


def test_a_session_reads_as_conversation_and_tree(lfi: Lfi) -> None:
    """The whole text of one turn: who, when, what was said, what was thought and done, times and tokens."""
    record_turn("chat-1", "ada")
    settle()
    text = lfi.ok("show", "chat-1")
    assert_safe(text)
    assert normalised(text) == TURN


def test_what_the_guide_traces_by_hand_reads_as_well(lfi: Lfi) -> None:
    """The guide's quick start gives three traces of one observation each, in the order of the calls."""
    langfuse_manager.set_session("session-123", user_id="user-456")
    with langfuse_manager.trace_span("user_query"):
        pass
    langfuse_manager.trace_agent_step(step_type="think", input_data="user input", output_data="agent thought")
    langfuse_manager.trace_mcp_call(server_name="llama-mcp", query="search query", response="search results")
    langfuse_manager.clear_session()
    settle()
    assert normalised(lfi.ok("show", "session-123")) == GUIDE


def test_traces_stand_in_the_order_of_their_starts(lfi: Lfi) -> None:
    """A trace that ends later but started first comes first."""
    with langfuse_manager.session("chat-1"):
        first = langfuse_manager.trace_span("first")
        second = langfuse_manager.trace_span("second")
        outer = first.__enter__()
        langfuse_manager.bind(lambda: None)()
        with langfuse_manager.detached(), langfuse_manager.session("chat-1"):
            pass
        outer.finish()
        first.__exit__(None, None, None)
        with second:
            pass
    settle()
    shown = json.loads(lfi.ok("show", "chat-1", "--json"))
    assert [trace["name"] for trace in shown["traces"]] == ["first", "second"]


def test_an_error_stands_where_it_happened(lfi: Lfi) -> None:
    """A failed act says ERROR and what went wrong, right under the call, and the head counts it."""
    record_turn("chat-1", "ada", error="tool_error: no such document")
    settle()
    lines = normalised(lfi.ok("show", "chat-1")).split("\n")
    place = lines.index("├─ act 1    MCP llama-mcp.search  ERROR  TIME")
    assert lines[place + 1] == "│  error    tool_error: no such document"
    assert lines[3] == "1,220 tokens in, 21 out, 1 error"


def test_costs_have_a_column_where_there_are_any(lfi: Lfi) -> None:
    """With costs, each think, the trace and the session say theirs, still in 80 columns."""
    record_turn("chat-1", "ada", cost=0.0125)
    settle()
    text = lfi.ok("show", "chat-1")
    assert_safe(text)
    assert "21 out, $0.0250, no errors" in text
    assert [line.split()[-1] for line in text.split("\n") if "$" in line] == ["errors", "$0.0250", "$0.0125", "$0.0125"]


def test_the_newest_session_is_shown_without_a_name(lfi: Lfi) -> None:
    """`show` alone replays the session in which something was started last."""
    record_turn("older")
    record_turn("newer")
    settle()
    assert lfi.ok("show").startswith("newer\n")


def test_the_beginning_of_an_id_is_enough(lfi: Lfi) -> None:
    """A beginning that fits one session stands for it; one that is itself an id means that one."""
    record_turn("chat-1")
    record_turn("chat-10")
    record_turn("other")
    settle()
    assert lfi.ok("show", "oth").startswith("other\n")
    assert lfi.ok("show", "chat-1").startswith("chat-1\n")


def test_an_ambiguous_beginning_lists_the_sessions(lfi: Lfi) -> None:
    """Two sessions that begin alike: exit code 1, and both are named."""
    record_turn("chat-1")
    record_turn("chat-2")
    settle()
    done = lfi("show", "chat")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "Several sessions begin with chat: say which one.\n  chat-2\n  chat-1\n"


def test_an_unknown_session_is_a_sentence(lfi: Lfi, journal: Path) -> None:
    """Exit code 1, what lists the sessions, and the nearest."""
    record_turn("chat-1")
    settle()
    near = lfi("show", "chet-1")
    assert (near.returncode, near.stdout) == (1, "")
    assert near.stderr.endswith("lists them. The nearest are chat-1.\n")
    done = lfi("show", "nope\x1b[2J")
    assert done.returncode == 1
    assert done.stderr == (
        f"No session nope\\x1b[2J is in the journal {journal}: `langfuse-integration sessions` lists them.\n"
    )


def test_everything_is_shown_in_full(lfi: Lfi) -> None:
    """--full shows whole payloads, wrapped, with ids, parameters, usage and metadata; without it a line of each."""
    long = "Hay, and water. " * 60
    record_turn("chat-1", "ada", answer=long)
    with langfuse_manager.session("chat-1"), langfuse_manager.trace_span("call", as_type="generation") as call:
        call.update(model="m", model_parameters={"temperature": 0.5}, input={"a": {"b": [1, "x"]}}, metadata={"k": "v"})
    settle()
    brief, text = lfi.ok("show", "chat-1"), lfi.ok("show", "chat-1", "--full")
    assert_safe(text)
    assert brief.count("Hay, and water.") < 30
    assert text.count("water.") == 3 * 60
    assert "with     temperature=0.5" in text
    assert "meta     k=v" in text
    assert 'in       {\n           "a": {\n             "b": [\n               1,\n               "x"' in text
    assert "tokens   input=120, output=9" in text


def test_json_is_the_whole_session(lfi: Lfi) -> None:
    """--json gives sums, traces and observations, parents first, with inputs and outputs as values."""
    record_turn("chat-1", "ada", cost=0.5)
    settle()
    shown = json.loads(lfi.ok("show", "chat-1", "--json"))
    assert (shown["session_id"], shown["users"], shown["errors"], shown["cost_usd"]) == ("chat-1", ["ada"], 0, 1.0)
    assert shown["tokens"] == {"input": 1220, "output": 21, "total": 1241}
    (trace,) = shown["traces"]
    agent, think, act, answer = trace["observations"]
    assert (agent["type"], agent["name"], agent["user_id"]) == ("agent", "herder", "ada")
    assert [each["depth"] for each in trace["observations"]] == [0, 1, 1, 1]
    assert answer["output"] == {"role": "assistant", "content": "Hay."}
    assert think["metadata"]["step_type"] == "think"
    assert act["input"] == {"query": "food"}
    assert act["parent_id"] == agent["id"]
    assert agent["duration_s"] >= 0


def test_what_strangers_wrote_is_shown_and_not_obeyed(lfi: Lfi) -> None:
    """Escape sequences, markup, direction marks, line breaks in names: written out, in every kind of output."""
    evil = "\x1b]0;owned\x07\x1b[2J[bold]x[/bold]\u202e\x9b31m\r\nnext\ud800"
    with langfuse_manager.session("chat-1", "eve[/]"), langfuse_manager.trace_span(evil, as_type="agent") as span:
        span.set_attribute("user.id", evil)
        span.update(input=evil, output={evil: evil}, metadata={evil: evil}, level="ERROR", status_message=evil)
        with langfuse_manager.trace_span(evil, as_type="generation") as think:
            think.update(
                model=evil, output={"role": evil, "content": evil, "tool_calls": [{"name": evil, "args": evil}]}
            )
        langfuse_manager.trace_mcp_call(evil, evil, evil, tool=evil)
    settle()
    for options in (["show"], ["show", "--full"], ["show", "--json"], ["sessions"], ["sessions", "--json"]):
        text = lfi.ok(*options)
        assert_safe(text, 80 if "--json" not in options else 10_000)
        if "--json" not in options:
            assert r"\x1b]0;owned\x07\x1b[2J[bold]x[/bold]" in text or options == ["sessions"]
    assert json.loads(lfi.ok("show", "--json"))["traces"][0]["observations"][0]["input"].startswith("\x1b]0;owned")


def test_wide_characters_keep_the_columns(lfi: Lfi) -> None:
    """Characters of two columns are counted as two."""
    record_turn("chat-1", "龍馬" * 10, question="日本語の質問" * 40, answer="はい、" * 100)
    settle()
    text = lfi.ok("show")
    assert_safe(text)
    assert max(cell_len(line) for line in text.split("\n")) <= 80


def test_a_deep_trace_keeps_its_names_readable(lfi: Lfi) -> None:
    """Two thousand levels fit in 80 columns, the innermost name is still there, and JSON has them all."""
    with langfuse_manager.session("deep"):
        spans = [langfuse_manager.trace_span(f"level-{depth}") for depth in range(2_000)]
        for span in spans:
            span.__enter__()
        for span in reversed(spans):
            span.__exit__(None, None, None)
    settle()
    text = lfi.ok("show", "deep", "--full")
    assert_safe(text)
    assert "span     level-1999" in text
    short = lfi.ok("show", "deep")
    assert_safe(short)
    assert len(short.splitlines()) == 200
    assert "\n\nCut after 200 lines: --full shows all;" in short
    (trace,) = json.loads(lfi.ok("show", "deep", "--json"))["traces"]
    assert [each["depth"] for each in trace["observations"]] == list(range(2_000))


def test_a_narrow_terminal_is_respected(lfi: Lfi) -> None:
    """COLUMNS sets the width."""
    record_turn("chat-1", "ada", question="What do llamas eat? " * 10)
    settle()
    assert_safe(lfi.ok("show", COLUMNS="60"), 60)


def test_an_output_without_lines_and_dots_gets_plain_ones(lfi: Lfi) -> None:
    """In ASCII the tree is drawn with ASCII, and what cannot be written is written out."""
    record_turn("chat-1", "ada", question="Was frißt ein Lama?" + " x" * 300)
    settle()
    text = lfi.ok("show", PYTHONUTF8="0", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert text.isascii()
    assert "|- act 1    MCP llama-mcp.search" in text
    assert r"Was fri\xdft ein Lama?" in text


def test_colours_are_for_terminals(lfi: Lfi) -> None:
    """There are none in a pipe; FORCE_COLOR brings them, NO_COLOR takes them away even then."""
    record_turn("chat-1", "ada")
    settle()
    assert "\x1b[" not in lfi.ok("show")
    assert "\x1b[" in lfi.ok("show", FORCE_COLOR="1", TERM="xterm-256color")
    assert "\x1b[3" not in lfi.ok("show", FORCE_COLOR="1", TERM="xterm-256color", NO_COLOR="1")


def test_what_belongs_to_no_session_can_be_seen(lfi: Lfi) -> None:
    """--no-session shows the traces made outside of sessions, and only those."""
    with langfuse_manager.detached(), langfuse_manager.trace_span("before_login"):
        pass
    record_turn("chat-1")
    settle()
    text = lfi.ok("show", "--no-session")
    assert text.startswith("no session\nno user, 1 trace, 1 observation\n")
    assert "before_login" in text


def test_a_session_and_none_exclude_each_other(lfi: Lfi) -> None:
    """`show ID --no-session` is wrong usage."""
    done = lfi("show", "x", "--no-session")
    assert done.returncode == 2
    assert "exclude each other" in done.stderr


def test_several_users_in_one_session_stand_out(lfi: Lfi) -> None:
    """A session id used for two users is a mix-up, and the head says so."""
    record_turn("chat-1", "ada")
    record_turn("chat-1", "bob")
    settle()
    assert "USERS MIXED: ada, bob, 2 traces" in lfi.ok("show")


RUNS = """
import sys, time
from langfuse_integration import langfuse_manager
with langfuse_manager.session("run-1", "ada"), langfuse_manager.trace_span("long_run"):
    with langfuse_manager.trace_span("done_already"):
        pass
    time.sleep(120)
"""


def test_what_runs_is_shown_as_running_and_what_died_as_never_ended(lfi: Lfi, journal: Path) -> None:
    """An open root is in the replay, with what is done below it; once its process is killed, it never ended."""
    process = subprocess.Popen([sys.executable, "-c", RUNS], env=dict(os.environ))
    try:
        until(lambda: _observations(journal) == 2, 60, "an open root and a finished child")
        running = normalised(lfi.ok("show", "run-1"))
        listed = lfi.ok("sessions")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert "1 observation not ended" in running
    assert running.endswith("span     long_run  running\n└─ span     done_already  TIME\n")
    assert listed.split("\n")[1].endswith("open")
    assert "span     long_run  never ended\n└─" in lfi.ok("show", "run-1")
    (trace,) = json.loads(lfi.ok("show", "run-1", "--json"))["traces"]
    assert trace["observations"][0]["finished"] is False


def _observations(journal: Path) -> int:
    with Archive(journal) as archive:
        return sum(summary.observations for summary in archive.sessions())


def test_a_part_of_a_session_is_shown_alone(lfi: Lfi) -> None:
    """--turn, --errors, --slowest, --agent, --grep and --step show what they name and nothing else."""
    record_turn("chat-1", "ada")
    record_turn("chat-1", "ada", question="And dogs?", error="tool_error: gone")
    settle()
    assert "And dogs?" not in lfi.ok("show", "--turn", "1")
    second = lfi.ok("show", "--turn", "2")
    assert "And dogs?" in second
    assert "── 1 " not in second
    assert "Nothing went wrong." in lfi.ok("show", "--turn", "1", "--errors")
    errors = normalised(lfi.ok("show", "--errors"))
    assert "wrong    failed, recovered: tool_error: gone\n         ID herder > llama-mcp.search" in errors
    assert "think" not in errors
    steps = lfi.ok("show", "--grep", "DOGS")
    assert [line.split()[0] for line in steps.splitlines() if "herder" in line and "user" not in line] == ["agent"]
    assert "llama-mcp" not in steps
    assert "No step matches." in lfi.ok("show", "--grep", "cattle")
    assert lfi.ok("show", "--agent", "Herder").count("think ") == 4
    assert "No step matches." in lfi.ok("show", "--agent", "writer")
    assert [part in lfi.ok("show", "--slowest") for part in ("── 1 ─", "── 2 ─", "── 3 ─")] == [True, True, False]
    observation = json.loads(lfi.ok("show", "--json"))["traces"][1]["observations"][2]
    step = lfi.ok("show", "--step", observation["id"][:10])
    assert f"id       {observation['id']}" in " ".join(step.split("\n")) or observation["id"] in step
    assert "meta     mcp_server=llama-mcp" in step
    assert "And dogs?" not in step


def test_a_turn_or_step_that_is_not_there_is_refused(lfi: Lfi) -> None:
    """The exit code is 1, nothing is printed but the nearest, and hostile text does not reach the terminal."""
    record_turn("chat-1", "ada")
    settle()
    first = json.loads(lfi.ok("show", "--json"))["traces"][0]["observations"][0]["id"]
    turn, step = lfi("show", "--turn", "3"), lfi("show", "--step", first[:8] + "\x1b[31mzz")
    assert (turn.returncode, turn.stdout, turn.stderr) == (1, "", "There is no turn 3: the last one is 1.\n")
    assert (step.returncode, step.stdout) == (1, "")
    assert first in step.stderr
    assert "\x1b" not in step.stderr


def test_json_has_the_problems_and_the_conversation(lfi: Lfi) -> None:
    """What went wrong and what was said are data too, each problem with its path."""
    record_turn("chat-1", "ada", error="tool_error: gone")
    settle()
    (trace,) = json.loads(lfi.ok("show", "--json"))["traces"]
    (problem,) = trace["problems"]
    assert problem.pop("trace_id") == trace["id"]
    assert problem.pop("observation_id") == trace["observations"][2]["id"]
    assert problem == {
        "kind": "failed",
        "message": "tool_error: gone",
        "outcome": "recovered",
        "times": 1,
        "path": ["agent herder", "tool search"],
    }
    assert [(each["role"], each["text"]) for each in trace["conversation"]] == [
        ("user", "What do llamas eat?"),
        ("assistant", "Hay."),
    ]


def test_repeated_steps_are_folded(lfi: Lfi) -> None:
    """Forty times the same two steps: the first two and the last are shown, the loop is named, --full shows all."""
    with langfuse_manager.session("loop"), langfuse_manager.trace_span("herder", as_type="agent", input="go"):
        for number in range(40):
            with langfuse_manager.trace_span("Model", as_type="generation", input=[number]) as think:
                think.update(output={"role": "assistant", "content": f"thought {number}"})
            langfuse_manager.trace_mcp_call("llama-mcp", {"query": "hay"}, "nothing", tool="search")
    settle()
    text = lfi.ok("show")
    assert "generation and llama-mcp.search repeated 37 more times (74 steps)" in text
    assert text.count("MCP llama-mcp.search") == 3
    assert "wrong    repeated 40 times: called 40 times with the same arguments" in text
    assert lfi.ok("show", "--full").count("MCP llama-mcp.search") == 40


def test_a_failed_call_keeps_its_tool_and_level_in_a_narrow_terminal(lfi: Lfi) -> None:
    """A server's long name gives way before the tool's name and the word ERROR do."""
    with langfuse_manager.session("narrow"), langfuse_manager.trace_span("read_text_file", as_type="tool") as span:
        span.update(
            level="ERROR",
            status_message="no such file",
            metadata={"mcp_server": "secure-filesystem-server", "mcp_tool": "read_text_file"},
        )
    settle()
    (row,) = [line for line in lfi.ok("show").splitlines() if line.startswith("tool ")]
    assert "read_text_file  ERROR" in row
    assert "MCP secure-f" in row
