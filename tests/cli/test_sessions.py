"""`sessions`: the list, its filters and its forms."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from commands import COMMAND, Lfi, assert_safe, record_turn, settle
from langfuse_integration import langfuse_manager


def listed(text: str) -> list[str]:
    """Return the first column."""
    return [line.split("  ")[0] for line in text.splitlines()[1:]]


def test_the_newest_comes_first(lfi: Lfi) -> None:
    """Sessions stand in the order of what was started in them last, with a header."""
    for session in ("first", "second", "first"):
        record_turn(session, "ada")
    settle()
    lines = lfi.ok("sessions").splitlines()
    assert lines[0].split() == ["SESSION", "USER", "LAST", "TRACES", "STEPS", "TOKENS", "TIME"]
    first, second = (re.split(" {2,}", line) for line in lines[1:])
    assert (first[0], first[1], first[3], first[4], first[5]) == ("first", "ada", "2", "8", "2,482")
    assert (second[0], second[1], second[3], second[4], second[5]) == ("second", "ada", "1", "4", "1,241")


def test_filters_narrow_the_list(lfi: Lfi) -> None:
    """Filters by user, text in payloads, errors and age hold together; an empty list says so and is no error."""
    record_turn("chat-1", "ada", question="Was frisst ein Lama? Äpfel!")
    record_turn("chat-2", "bob", error="tool_error: gone")
    record_turn("chat-3", "bob")
    settle()
    assert listed(lfi.ok("sessions", "--user", "bob")) == ["chat-3", "chat-2"]
    assert listed(lfi.ok("sessions", "--text", "ÄPFEL")) == ["chat-1"]
    assert listed(lfi.ok("sessions", "--text", "llama-mcp")) == ["chat-3", "chat-2", "chat-1"]
    assert listed(lfi.ok("sessions", "--errors")) == ["chat-2"]
    assert listed(lfi.ok("sessions", "--errors", "--user", "bob", "--since", "1h")) == ["chat-2"]
    assert listed(lfi.ok("sessions", "--since", "2020-01-01")) == ["chat-3", "chat-2", "chat-1"]
    none = lfi("sessions", "--errors", "--user", "ada")
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "No session matches.\n")
    assert lfi("sessions", "--since", "2999-01-01T10:00").stderr == "No session matches.\n"


def test_since_counts_the_end_of_what_happened(lfi: Lfi) -> None:
    """A session that ended before the time is left out, one that went on after it is kept."""
    record_turn("before")
    settle()
    time.sleep(0.02)
    between = time.time()
    record_turn("after")
    settle()
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(between)) + f".{int(between % 1 * 1e6):06}"
    assert listed(lfi.ok("sessions", "--since", moment)) == ["after"]


@pytest.mark.parametrize("text", ["generation", "langfuse.observation", "step_type", "DEFAULT"])
def test_the_search_finds_only_what_people_see(lfi: Lfi, text: str) -> None:
    """Names of attributes and words that every row has are no hits."""
    record_turn("chat-1")
    settle()
    assert lfi("sessions", "--text", text).stderr == "No session matches.\n"


def test_text_is_found_across_json_escapes(lfi: Lfi) -> None:
    """A quotation mark or a line break in a payload is found as it was written."""
    record_turn("chat-1", answer='He said "hay",\nthen left.')
    record_turn("chat-2")
    settle()
    assert listed(lfi.ok("sessions", "--text", 'said "hay"')) == ["chat-1"]
    assert listed(lfi.ok("sessions", "--text", '"hay",\nthen')) == ["chat-1"]


def test_a_long_list_comes_in_pages(lfi: Lfi) -> None:
    """--limit and --offset page; the command says when there is more."""
    for number in range(5):
        record_turn(f"chat-{number}")
    settle()
    done = lfi("sessions", "-n", "2")
    assert listed(done.stdout) == ["chat-4", "chat-3"]
    assert done.stderr == "There are more: --offset 2 shows the next ones.\n"
    assert listed(lfi.ok("sessions", "-n", "2", "--offset", "4")) == ["chat-0"]


def test_json_is_an_array_of_sessions(lfi: Lfi) -> None:
    """--json gives every number, and ids in full; without sessions it is an empty array."""
    assert json.loads(lfi.ok("sessions", "--json")) == []
    long = "s" * 200
    record_turn(long, "ada", cost=0.25)
    settle()
    (found,) = json.loads(lfi.ok("sessions", "--json"))
    assert found.pop("started") <= found.pop("ended")
    assert found.pop("duration_s") > 0
    assert found == {
        "session_id": long,
        "users": ["ada"],
        "traces": 1,
        "observations": 4,
        "still_open": 0,
        "tokens": {"input": 1220, "output": 21, "total": 1241},
        "cost_usd": 0.5,
        "cost_computed": False,
        "cost_partial": False,
        "errors": 0,
        "scores": [],
    }


def test_long_and_strange_names_fit(lfi: Lfi) -> None:
    """The longest ids, wide characters, markup and many users in one session: 80 columns, remarks at the end."""
    record_turn("s" * 200, "u" * 200, error="x", cost=12345.678)
    record_turn("長" * 100, "用户" * 30)
    for user in ("[red]ada[/red]", "bob", "eve"):
        record_turn("[bold]shared[/bold]", user)
    settle()
    text = lfi.ok("sessions")
    assert_safe(text)
    assert "[bold]shar" in text
    assert "3 users" in text
    assert "1 err" in text
    assert_safe(lfi.ok("sessions", COLUMNS="200"), 120)


def test_what_belongs_to_no_session_is_mentioned(lfi: Lfi) -> None:
    """Traces made outside of sessions are counted on standard error, so that nobody misses them."""
    with langfuse_manager.detached(), langfuse_manager.trace_span("before_login"):
        pass
    record_turn("chat-1")
    settle()
    done = lfi("sessions")
    assert listed(done.stdout) == ["chat-1"]
    assert done.stderr == "1 trace without a session: `langfuse-integration show --no-session`.\n"


def test_an_empty_journal_says_what_to_do(lfi: Lfi, journal: Path) -> None:
    """No file yet: exit code 0 and a sentence that names the file and the next command; nothing is made."""
    done = lfi("sessions")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"The journal {journal} holds no sessions yet: `langfuse-integration demo` makes two.\n"
    assert not journal.exists()
    assert "holds no sessions yet" in lfi("show").stderr


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"LANGFUSE_INTEGRATION_JOURNAL": "off"}, "The journal is switched off by LANGFUSE_INTEGRATION_JOURNAL"),
        ({"LANGFUSE_TRACING_ENABLED": "false"}, "Tracing is switched off by LANGFUSE_TRACING_ENABLED"),
        (
            {"LANGFUSE_PUBLIC_KEY": "pk", "LANGFUSE_SECRET_KEY": "sk", "LANGFUSE_BASE_URL": "http://127.0.0.1:9"},
            "Langfuse at http://127.0.0.1:9 has what was recorded",
        ),
    ],
)
def test_an_empty_journal_says_why(lfi: Lfi, environment: dict[str, str], sentence: str) -> None:
    """Switched off, or delivered to Langfuse: the sentence is another one."""
    assert sentence in lfi("sessions", **environment).stderr


def test_a_file_that_is_no_journal_is_a_sentence(lfi: Lfi, journal: Path) -> None:
    """Exit code 1, the file's name and the setting; no traceback, and the file stays as it is."""
    journal.write_text("this is no database, but long enough to be looked at as if it were one. " * 40)
    for command in ("sessions", "show", "tail", "export x"):
        done = lfi(*command.split())
        assert done.returncode == 1
        assert done.stderr.startswith(f"The journal {journal} cannot be read (file is not a database)")
        assert "Traceback" not in done.stderr
    assert journal.read_text().startswith("this is no database")


def test_a_reader_that_goes_away_is_no_fault(lfi: Lfi) -> None:
    """`sessions | head -1` ends quietly."""
    for number in range(30):
        record_turn(f"chat-{number}")
    settle()
    done = subprocess.run(
        ["sh", "-c", f"{COMMAND[0]} sessions --json -n 30 | head -c 20"],
        env=lfi.environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=True,
    )
    assert done.stdout == '[\n  {\n    "session_i'
    assert done.stderr == ""
