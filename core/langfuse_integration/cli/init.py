"""The command `init`: the lines that trace the project in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .screen import Screen, reported, stop

if TYPE_CHECKING:
    from ..onboarding import Advice


def init(
    folder: Annotated[Path, typer.Argument(help="The project's folder.")] = Path(),
    do_write: Annotated[bool, typer.Option("--write", help="Add the lines to the files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")] = False,
) -> None:
    """Look at a project and print the lines that trace it, and where they go. Changes nothing without --write."""
    with reported():
        from ..onboarding import ProjectUnreadable, advise, read_project, write

        try:
            advice = advise(read_project(folder))
        except ProjectUnreadable as error:
            raise stop(str(error)) from None
        written = write(folder, advice.changes) if do_write else []
        screen = Screen()
        if as_json:
            from .text import to_json

            screen.raw(to_json({**_plain(advice), "written": [str(path) for path in written]}) + "\n")
        else:
            for line in _lines(advice, written):
                screen.line(line)


def _lines(advice: Advice, written: list[Path]) -> Iterator[str]:
    from .text import in_one_line

    if not advice.found:
        yield "No framework that this package traces was found here. In code: see `langfuse_manager.trace_span`."
        return
    yield f"Found: {', '.join(advice.found)}."
    if advice.extras:
        yield ""
        yield "Install:"
        yield f"    pip install 'langfuse-integration[{','.join(advice.extras)}]'"
    for change in advice.changes:
        place = f"after line {change.line}" if change.line else "at the beginning"
        yield ""
        yield f"{in_one_line(str(change.path))}, {place}: {change.reason}"
        yield from (f"    {in_one_line(line)}" if line.strip() == line else f"    {line}" for line in change.code)
    for remark in advice.remarks:
        yield ""
        yield f"{in_one_line(str(remark.path))}:{remark.line}: {remark.text}"
    for hint in advice.hints:
        yield ""
        yield in_one_line(hint)
    yield ""
    if written:
        yield f"Changed {', '.join(in_one_line(str(path)) for path in written)}."
    elif advice.changes:
        yield "Nothing was changed; `--write` adds these lines."
    else:
        yield "Nothing is to be added."
    yield "Then run the application, and look: langfuse-integration sessions"


def _plain(advice: Advice) -> dict[str, Any]:
    return {
        "found": list(advice.found),
        "extras": list(advice.extras),
        "changes": [
            {"path": str(change.path), "line": change.line, "code": list(change.code), "reason": change.reason}
            for change in advice.changes
        ],
        "remarks": [{"path": str(remark.path), "line": remark.line, "text": remark.text} for remark in advice.remarks],
        "hints": list(advice.hints),
    }
