"""Places where a journal cannot be written: it is said once with the cure, and rows are delivered from memory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from applications import application, output_of
from machine import need_program
from peers.otlp import Receiver
from preloaded import preloaded

NOBODY = 12345
"""A user id that is in no password file."""
AS_NOBODY = (
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
)  # fmt: skip
"""Runs a command as a user that may read everything, as the interpreter in root's home, and write nothing."""

RECORDING = """
def record(first, count):
    for number in range(first, first + count):
        with langfuse_manager.session("s-1"), langfuse_manager.trace_span(f"row {number}", input="x" * 2_000):
            pass

record(0, 50)
print(*langfuse_manager.flush(60))
record(50, 10)
"""
IN_MEMORY = "observations are kept in memory until it can"


def lines_of(
    code: str,
    journal: Path | str,
    receiver: Receiver | None,
    within: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> tuple[list[str], list[str]]:
    """Run *code* to its end, and return the lines on its standard output and on its stderr."""
    with application(code, Path(journal), receiver, within=within, environment=environment) as process:
        printed, errors = output_of(process)
        assert process.returncode == 0, errors
    return printed.splitlines(), errors.splitlines()


def on_a_disk(options: str, folder: Path) -> tuple[str, ...]:
    """Return the command that runs another one with a file system of its own in *folder*."""
    need_program("unshare")
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs the right to use `unshare`")
    return ("unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o {options} none {folder} && exec "$@"', "sh")


def as_nobody() -> tuple[str, ...]:
    """Return the command that runs another one as a user without a name."""
    need_program("setpriv")
    if os.getuid():
        pytest.skip("needs root, to become another user")
    return AS_NOBODY


def assert_said(errors: Sequence[str], *parts: str) -> None:
    """Assert that there is one line, with these parts."""
    assert len(errors) == 1
    assert [part for part in parts if part not in errors[0]] == []


READ_ONLY = {"LANGFUSE_INTEGRATION_JOURNAL": "FOLDER/journal.sqlite3"}


@pytest.mark.parametrize(
    ("environment", "said", "keys"),
    [
        pytest.param(READ_ONLY, "Permission denied", True, id="directory"),
        pytest.param(READ_ONLY, "Permission denied", False, marks=pytest.mark.slow, id="directory-local"),
        pytest.param({"HOME": "/"}, "/.local", True, marks=pytest.mark.slow, id="home-is-root"),
        pytest.param({"HOME": "/"}, "/.local", False, id="home-is-root-local"),
        pytest.param({"HOME": "FOLDER/nowhere"}, "Permission denied", True, marks=pytest.mark.slow, id="no-such-home"),
    ],
)
def test_a_user_that_may_write_nowhere(
    receiver: Receiver, tmp_path: Path, environment: dict[str, str], said: str, keys: bool
) -> None:
    """A read-only directory and an unknown user: one warning with the cure, and with keys every row arrives."""
    tmp_path.chmod(0o755)
    places = {"LANGFUSE_INTEGRATION_JOURNAL": "", "XDG_DATA_HOME": ""}
    places |= {name: value.replace("FOLDER", str(tmp_path)) for name, value in environment.items()}
    printed, errors = lines_of(RECORDING, "", receiver if keys else None, as_nobody(), places)
    assert_said(
        errors[:1], IN_MEMORY, said, f"(uid {NOBODY}) write there, or set LANGFUSE_INTEGRATION_JOURNAL to another file"
    )
    if keys:
        assert (printed, len(errors)) == (["50 0 0"], 1)
        assert {span.name for span in receiver.spans} == {f"row {number}" for number in range(60)}
        assert receiver.doubled() == {}
    else:
        assert printed == ["0 50 0"]
        assert_said(errors[1:], "60 observations were in memory only, and are lost: set LANGFUSE_INTEGRATION_JOURNAL")


def test_an_unknown_user_without_a_home(receiver: Receiver) -> None:
    """A user in no password file, without HOME: one warning names both variables, and every row arrives."""
    within = ("env", "-u", "HOME", "-u", "XDG_DATA_HOME", "-u", "LANGFUSE_INTEGRATION_JOURNAL", *as_nobody())
    printed, errors = lines_of(RECORDING, "", receiver, within)
    assert printed == ["50 0 0"]
    assert_said(errors, "kept in memory", "set LANGFUSE_INTEGRATION_JOURNAL to a file, or HOME")
    assert {span.name for span in receiver.spans} == {f"row {number}" for number in range(60)}


@pytest.mark.slow
def test_a_file_system_that_is_mounted_read_only(receiver: Receiver, tmp_path: Path) -> None:
    """One warning with the cure, and every row arrives."""
    printed, errors = lines_of(RECORDING, tmp_path / "journal", receiver, on_a_disk("ro", tmp_path))
    assert printed == ["50 0 0"]
    assert_said(errors, IN_MEMORY, "Read-only file system", "set LANGFUSE_INTEGRATION_JOURNAL to another file")
    assert len({span.name for span in receiver.spans}) == 60


@pytest.mark.parametrize("size_kb", [pytest.param(8, marks=pytest.mark.slow), 120])
def test_a_disk_that_is_too_small_for_a_journal(receiver: Receiver, tmp_path: Path, size_kb: int) -> None:
    """Not even the tables find room: the reason is said with its cure, and every row arrives."""
    printed, errors = lines_of(RECORDING, tmp_path / "journal", receiver, on_a_disk(f"size={size_kb}k", tmp_path))
    assert printed == ["50 0 0"]
    assert_said(errors, IN_MEMORY, "room", "set LANGFUSE_INTEGRATION_JOURNAL to another file")
    assert "rollback" not in errors[0]
    assert len({span.name for span in receiver.spans}) == 60


FILLED = """
from langfuse_integration.journal import storage
from langfuse_integration.reading.archive import Archive
from pathlib import Path
storage.RETRY_S = (0.05, 0.1)
journal = os.environ["LANGFUSE_INTEGRATION_JOURNAL"]
ballast = journal + ".ballast"

def record(first, count):
    for number in range(first, first + count):
        with langfuse_manager.session("s-1"), langfuse_manager.trace_span(f"row {number}", input="x" * 2_000):
            pass

def fill():
    with open(ballast, "wb", buffering=0) as file:
        try:
            while file.write(b"x" * 1024):
                pass
        except OSError as error:
            assert "No space left" in str(error)

record(0, 20)
flushed = langfuse_manager.flush(60)
assert flushed[1:] == (0, 0)
fill()
record(20, 200)
print(*langfuse_manager.flush(60 if sys.argv[1] == "keys" else 1), flush=True)
os.unlink(ballast)
record(220, 20)
deadline = time.monotonic() + 60
while langfuse_manager.flush(1)[0] < 240 and time.monotonic() < deadline:
    pass
print(*langfuse_manager.flush(1))
with Archive(Path(journal)) as archive:
    names = [found.name for trace in archive.traces("s-1") for found in trace.observations]
print(len(names), len(set(names)))
"""


@pytest.mark.parametrize("keys", [pytest.param("keys", marks=pytest.mark.slow), "local"])
def test_a_full_disk_is_over_when_there_is_room(receiver: Receiver, tmp_path: Path, keys: str) -> None:
    """A full file system means memory and one warning; once there is room the journal has what was not delivered."""
    with application(
        FILLED, tmp_path / "journal", receiver if keys == "keys" else None, keys, within=on_a_disk("size=2m", tmp_path)
    ) as process:
        printed, errors = output_of(process)
        assert process.returncode == 0, errors
    during, after, rows = printed.splitlines()
    assert (after, rows) == ("240 0 0", "0 0" if keys == "keys" else "240 240"), errors
    assert_said(errors.splitlines(), IN_MEMORY, "Make room on its disk or raise the quota")
    if keys == "keys":
        assert during == "220 0 0"
        assert sorted(span.name for span in receiver.spans) == sorted(f"row {number}" for number in range(240))
        assert receiver.doubled() == {}


@pytest.mark.slow
def test_a_user_s_quota_that_is_reached(receiver: Receiver, tmp_path: Path) -> None:
    """A quota means memory and one warning with the cure, every row arrives, and it is over once there is room."""
    reached = tmp_path / "reached"
    root = tmp_path / "root"
    root.mkdir()
    code = FILLED.replace(
        "    with open(ballast", f"    open({str(reached)!r}, 'w').close()\n    return\n    with open(ballast"
    )
    code = code.replace("os.unlink(ballast)", f"os.unlink({str(reached)!r})")
    environment = {
        "QUOTA_ROOT": str(root), "QUOTA_REACHED": str(reached), "LD_PRELOAD": preloaded("quota", tmp_path),
    }  # fmt: skip
    with application(code, root / "journal", receiver, "keys", environment=environment) as process:
        printed, errors = output_of(process)
        assert process.returncode == 0, errors
    assert printed.splitlines() == ["220 0 0", "240 0 0", "0 0"]
    assert_said(errors.splitlines(), IN_MEMORY, "has room", "set LANGFUSE_INTEGRATION_JOURNAL to another file")
    assert sorted(span.name for span in receiver.spans) == sorted(f"row {number}" for number in range(240))
    assert receiver.doubled() == {}


@pytest.mark.skipif(os.name == "nt", reason="files have no modes on Windows")
def test_a_journal_that_others_may_read_is_said(journal: Path) -> None:
    """A journal is made for its user only; one that others may read is named with the cure, once."""
    code = """
        for number in range(2):
            with langfuse_manager.trace_span("row"):
                pass
            langfuse_manager.flush(60)
    """
    assert lines_of(code, journal, None) == ([], [])
    assert journal.stat().st_mode & 0o077 == 0
    journal.chmod(0o644)
    _, errors = lines_of(code, journal, None)
    assert_said(errors, f"{journal} can be read or written by other users", "(mode 644)", f"chmod 600 {journal}")
