"""How the command is used, and what it says when it is used wrongly."""

from __future__ import annotations

import subprocess
import sys

import pytest

from commands import COMMAND, Lfi, assert_safe, record_turn, settle

HEAVY = ("langfuse", "langchain_core", "opentelemetry.sdk", "google.protobuf", "pydantic", "sqlite3", "httpx", "mcp")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["sessions", "--frobnicate"], "No such option"),
        (["sessions", "--since", "yesterdayish"], "'yesterdayish' is no time"),
        (["sessions", "--limit", "0"], "Invalid value for '--limit'"),
        (["show", "a", "b"], "Got unexpected extra argument"),
        (["export"], "Missing argument 'SESSION'"),
        (["prune"], "Name what to remove"),
        (["prune", "--all", "--older-than", "1d"], "Name what to remove"),
        (["prune", "--older-than", "soon"], "'soon' is no age"),
        (["prune", "--delivered", "--undelivered"], "exclude each other"),
        (["tail", "--lines", "-1"], "Invalid value for '--lines'"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_a_sentence(lfi: Lfi, arguments: list[str], sentence: str) -> None:
    """Wrong usage exits with 2 and a sentence on stderr, without standard output or a traceback."""
    done = lfi(*arguments, COLUMNS="120")
    assert done.returncode == 2
    assert done.stdout == ""
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("time", ["99999999999d", "9" * 400 + "w", "1900-01-01"])
def test_a_time_before_all_rows_is_one(lfi: Lfi, time: str) -> None:
    """Where no row is as old, nothing is removed; since then is everything."""
    record_turn("s-1")
    settle()
    if "-" not in time:
        assert "Traceback" not in lfi("prune", "--older-than", time, "--yes").stderr
    assert "s-1" in lfi.ok("sessions", "--since", time)


def test_help_fits_and_names_every_command(lfi: Lfi) -> None:
    """`--help` fits in 80 columns and lists what there is."""
    text = lfi.ok("--help")
    assert_safe(text)
    assert "<bool>" not in text
    for command in ("demo", "sessions", "show", "tail", "view", "push", "export", "prune", "doctor"):
        assert f" {command} " in text
        said = lfi.ok(command, "-h")
        assert_safe(said)
        assert "<bool>" not in said
        assert "[[" not in said


def test_help_loads_nothing_heavy() -> None:
    """The help imports neither frameworks nor the tracing machinery."""
    code = (
        "import sys\nfrom langfuse_integration.cli import main\nsys.argv = ['lfi', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        env=Lfi.environment(),
        check=True,
    )
    assert done.stderr.strip() == "[]"


def test_the_version_is_the_installed_one(lfi: Lfi) -> None:
    """`--version` writes the distribution's version alone."""
    from importlib.metadata import version

    assert lfi.ok("--version") == version("langfuse-integration") + "\n"


def test_both_commands_are_installed() -> None:
    """`langfuse-integration` and `lfi` are the same entry point."""
    from importlib.metadata import distribution

    scripts = {
        entry.name: entry.value
        for entry in distribution("langfuse-integration").entry_points
        if entry.group == "console_scripts"
    }
    assert scripts == dict.fromkeys(("langfuse-integration", "lfi"), "langfuse_integration.cli:main")


def test_the_shell_completes_session_ids(lfi: Lfi) -> None:
    """Completing the argument of `show` offers the sessions of the journal that begin like that."""
    record_turn("chat-1")
    record_turn("chat-2")
    record_turn("other")
    settle()
    done = subprocess.run(
        COMMAND,
        env=lfi.environment(
            _LFI_COMPLETE="complete_bash", COMP_WORDS="lfi show ch", COMP_CWORD="2", _TYPER_COMPLETE_ARGS="lfi show ch"
        ),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert sorted(done.stdout.split()) == ["chat-1", "chat-2"]
