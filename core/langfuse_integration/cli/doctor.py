"""The command `doctor`: problems and their cures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from .screen import Screen, reported

if TYPE_CHECKING:
    from rich.text import Text

    from ..diagnosis import Finding

ABOUT_COLUMNS = 10


def doctor(as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")] = False) -> None:
    """Check this installation and what was recorded; each finding says the cure. Exit code 1 if something is wrong."""
    with reported():
        import logging

        from ..diagnosis import examine

        logging.getLogger("langfuse_integration").setLevel(logging.ERROR)  # a check reports what would be logged here
        findings = examine()
        wrong = sum(finding.wrong for finding in findings)
        screen = Screen()
        if as_json:
            from .text import to_json

            listed = [
                {"about": finding.about, "wrong": finding.wrong, "said": finding.said, "cure": finding.cure}
                for finding in findings
            ]
            screen.raw(to_json({"healthy": not wrong, "findings": listed}) + "\n")
        else:
            screen.lines(_lines(findings, screen))
            from ..presentation import counted

            screen.line()
            screen.line(f"{counted(wrong, 'thing is', 'things are')} wrong." if wrong else "Nothing is wrong.")
    if wrong:
        raise typer.Exit(1)


def _lines(findings: list[Finding], screen: Screen) -> Iterator[Text]:
    from rich.text import Text

    from .text import in_one_line, wrapped

    before = ""
    for finding in findings:
        about = finding.about if finding.about != before else ""
        before = finding.about
        mark, style = ("wrong", "bold red") if finding.wrong else ("ok", "green")
        width = screen.width - ABOUT_COLUMNS - 7
        for number, line in enumerate(wrapped(in_one_line(finding.said), width)):
            start = (about if number == 0 else "").ljust(ABOUT_COLUMNS)
            yield Text.assemble((start, "dim"), ((mark if number == 0 else "").ljust(7), style), line)
        for number, line in enumerate(wrapped(in_one_line(finding.cure or ""), width - 3) if finding.cure else []):
            yield Text(" " * (ABOUT_COLUMNS + 7) + ("-> " if number == 0 else "   ") + line)
