"""Output to a terminal, a pipe or a file, with or without colours."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import IO, Any

from rich.console import Console
from rich.text import Text

from ..errors import LangfuseIntegrationError

PIPE_COLUMNS = 80
WIDEST_COLUMNS = 120
"""Columns of the widest line; longer lines are hard to read in a window of any width."""


class Screen:
    """Writes lines to standard output."""

    def __init__(self) -> None:
        _never_fail(sys.stdout)
        self._out: IO[str] = sys.stdout
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)

    def into(self, out: IO[str]) -> Screen:
        """Return a screen that writes the same, colours included, into another stream."""
        screen = Screen()
        screen._out = out
        screen._console = Console(
            file=out,
            force_terminal=True,
            color_system=self._console.color_system,  # type: ignore[arg-type]
            no_color=self._console.no_color,
            width=self._console.width,
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=True,
        )
        return screen

    @property
    def width(self) -> int:
        """The width in columns: of the terminal, up to 120, or from COLUMNS; 80 in a pipe."""
        if not self._console.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
            return PIPE_COLUMNS
        return max(min(self._console.width, WIDEST_COLUMNS), 40)

    @property
    def height(self) -> int:
        """The height in lines."""
        return max(self._console.height, 2)

    @property
    def encoding(self) -> str:
        """The encoding of the output."""
        return self._console.encoding

    @property
    def plain_ascii(self) -> bool:
        """Whether the output's encoding lacks box-drawing characters."""
        return not self._console.encoding.lower().startswith(("utf", "gb18030"))

    @property
    def is_terminal(self) -> bool:
        """Whether the output is a terminal."""
        return self._console.is_terminal

    def lines(self, lines: Iterable[Text | str]) -> None:
        """Write lines as they are."""
        for line in lines:
            self.line(line)

    def line(self, line: Text | str = "") -> None:
        """Write one line. A `Text` is styled, a str is plain."""
        text = Text(line) if isinstance(line, str) else line
        if self._console.color_system is not None:
            self._console.print(text)
        else:
            self._out.write((text.plain.replace("…", "~") if self.plain_ascii else text.plain) + "\n")

    def raw(self, text: str) -> None:
        """Write text for other programs."""
        sys.stdout.write(text)
        self.flush()

    def flush(self) -> None:
        """Let who reads a pipe see what was written: for a command that goes on."""
        sys.stdout.flush()


def note(text: str) -> None:
    """Write a remark on standard error, so that it is not taken for data."""
    from .text import visible

    _never_fail(sys.stderr)
    sys.stderr.write(visible(text) + "\n")
    sys.stderr.flush()


def stop(reason: str) -> Any:
    """End the command with exit code 1 and a sentence on standard error; used as `raise stop(...)`."""
    import typer

    note(reason)
    return typer.Exit(1)


@contextmanager
def reported(code: int = 1) -> Generator[None, None, None]:
    """Report our own errors as a sentence and an exit code; a closed pipe ends quietly.

    Args:
        code: of every failure, also of one that is 1 elsewhere.
    """
    import typer

    try:
        yield
    except LangfuseIntegrationError as error:
        note(str(error))
        raise typer.Exit(code) from None
    except typer.Exit as ended:
        raise typer.Exit(code if ended.exit_code == 1 else ended.exit_code) from None
    except BrokenPipeError:
        # Nobody reads the rest of the buffer; the interpreter's own flush at exit needs an open file.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def _never_fail(stream: IO[str]) -> None:
    """Write characters that the encoding lacks as escapes instead of raising."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
