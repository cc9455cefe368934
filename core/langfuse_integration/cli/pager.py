"""A pager for output that is longer than the terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from itertools import chain, islice

from rich.text import Text

from .screen import Screen

DEFAULT = "less -R"
LESS = "FRX"
"""Options of `less` where LESS sets none: end at once if all fits, keep colours, leave the text on the screen."""


def paged(screen: Screen, lines: Iterable[Text | str], *, pager: bool = True) -> None:
    """Write lines to the screen; through a pager if it is a terminal and they do not fit.

    Args:
        pager: whether a pager may be used at all.
    """
    command = command_in(os.environ) if pager and screen.is_terminal and sys.stdin.isatty() else []
    rest = iter(lines)
    first = list(islice(rest, screen.height)) if command else []
    if len(first) < screen.height or not command:
        screen.lines(chain(first, rest))
        return
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        encoding=screen.encoding,
        errors="backslashreplace",
        env={"LESS": LESS, **os.environ},
    )
    interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the pager's
    try:
        if process.stdin is not None:
            screen.into(process.stdin).lines(chain(first, rest))
            process.stdin.close()
    except BrokenPipeError:
        pass  # left before the end
    finally:
        process.wait()
        signal.signal(signal.SIGINT, interrupted)


def command_in(environment: Mapping[str, str]) -> list[str]:
    """Return the command of the pager; empty where there is none, or PAGER is empty or `cat`."""
    try:
        command = shlex.split(environment.get("PAGER", DEFAULT))
    except ValueError:  # an open quotation mark
        return []
    if not command or command == ["cat"] or environment.get("TERM") in (None, "", "dumb"):
        return []
    return command if shutil.which(command[0]) else []
