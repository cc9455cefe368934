"""The pager of `show`: only at a terminal, only where the output is longer, and as PAGER says."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from commands import COMMAND, Lfi, record_turn, settle
from langfuse_integration.cli.pager import command_in

PAGER = "sed s/^/PAGED/"


@pytest.mark.parametrize(
    ("environment", "command"),
    [
        ({"TERM": "xterm", "PAGER": PAGER}, ["sed", "s/^/PAGED/"]),
        ({"TERM": "xterm", "PAGER": "cat"}, []),
        ({"TERM": "xterm", "PAGER": ""}, []),
        ({"TERM": "xterm", "PAGER": "sed 'x"}, []),
        ({"TERM": "xterm", "PAGER": "no-such-pager"}, []),
        ({"TERM": "dumb", "PAGER": PAGER}, []),
        ({"PAGER": PAGER}, []),
    ],
)
def test_the_pager_is_the_one_of_the_environment(environment: dict[str, str], command: list[str]) -> None:
    """PAGER names it; none, `cat`, one that is not there and a dumb terminal have none."""
    assert command_in(environment) == command


def at_a_terminal(*arguments: str, **environment: str) -> str:
    """Run the command at a terminal of its own, and return what is on it."""
    ours, theirs = pty.openpty()
    variables = Lfi.environment(TERM="xterm", PAGER=PAGER, **environment)
    with subprocess.Popen([*COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=variables) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                piece = os.read(ours, 65_536)
            except OSError:  # the terminal's other end is closed
                break
            if not piece:
                break
            text += piece
    os.close(ours)
    assert process.returncode == 0, text
    return text.decode()


@pytest.mark.application
def test_long_output_goes_through_the_pager(lfi: Lfi, journal: Path) -> None:
    """A replay longer than the terminal is paged; a short one, --no-pager and a pipe are not."""
    for _ in range(6):
        record_turn("chat-1", "ada")
    settle()
    assert at_a_terminal("show", "chat-1", LINES="20", COLUMNS="80").count("PAGED") > 20
    assert "PAGED" not in at_a_terminal("show", "chat-1", "--no-pager", LINES="20", COLUMNS="80")
    assert "PAGED" not in at_a_terminal("show", "chat-1", "--errors", LINES="40", COLUMNS="80")
    assert "PAGED" not in lfi.ok("show", "chat-1", TERM="xterm", PAGER=PAGER)
