"""`diff`: two sessions side by side."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import chosen, complete_session
from .screen import Screen, reported
from .text import fitted, in_one_line

if TYPE_CHECKING:
    from rich.text import Text

    from ..reading.archive import SessionSummary
    from ..reading.comparison import Comparison, StepPair
    from ..reading.volatile import VolatileParts

FAILED = 2
"""The exit code where nothing could be compared; 1 says that the paths part."""
AROUND = 2
"""Equal steps shown before and after a difference."""
BEFORE = 16
"""Characters shown in front of the first difference of two texts."""
LINES_LIMIT = 200
MARKS = {"same": "  ", "changed": "~ ", "removed": "- ", "added": "+ "}
STYLES = {"same": "dim", "changed": "yellow", "removed": "red", "added": "green"}
SESSION: dict[str, Any] = {"metavar": "SESSION", "autocompletion": complete_session}


def diff(
    left: Annotated[str, typer.Argument(help="The first session's id, or its beginning.", **SESSION)],
    right: Annotated[str, typer.Argument(help="The other session's id, or its beginning.", **SESSION)],
    full: Annotated[bool, typer.Option("--full", "-f", help="All steps, also those that are the same.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")] = False,
) -> None:
    """Compare two sessions step by step. Exit code 1 if their paths are not the same, 2 if it fails."""
    with reported(FAILED):
        from ..reading.archive import Archive
        from ..reading.comparison import Comparison

        with Archive.of_settings() as archive:
            ids = chosen(archive, left), chosen(archive, right)
            summaries = [summary for each in ids if (summary := archive.session(each)) is not None]
            comparison = Comparison(*(archive.replay(each) for each in ids))
        screen = Screen()
        if as_json:
            from .text import to_json

            screen.raw(to_json(comparison_of(comparison, summaries)) + "\n")
        else:
            screen.lines(_head(comparison, summaries, screen.width))
            lines = _lines(comparison, screen.width, full)
            screen.lines(lines if full else islice(lines, LINES_LIMIT - 10))
            if next(lines, None) is not None:
                screen.line("Cut: --full shows all.")
    if not comparison.same_path:
        raise typer.Exit(1)


def comparison_of(comparison: Comparison, summaries: list[SessionSummary]) -> dict[str, Any]:
    """Return a comparison as plain values."""
    from .plain import summary_of

    first = comparison.first_divergence
    return {
        "same_path": comparison.same_path,
        "left": summary_of(summaries[0]),
        "right": summary_of(summaries[1]),
        "first_divergence": _change(first) if first is not None else None,
        "changes": [_change(pair) for pair in comparison.changes],
    }


def _change(pair: StepPair) -> dict[str, Any]:
    step = pair.left or pair.right
    return {
        "kind": pair.kind,
        "turn": pair.turn,
        "step": pair.number,
        "label": step.label if step is not None else "",
        "differs": list(pair.differs),
        "left_id": pair.left.observation.id if pair.left is not None else None,
        "right_id": pair.right.observation.id if pair.right is not None else None,
    }


def _head(comparison: Comparison, summaries: list[SessionSummary], width: int) -> Iterator[Text]:
    from rich.text import Text

    from ..presentation import cost_of, counted, duration

    for mark, summary in zip("-+", summaries, strict=True):
        totals = summary.totals
        facts = [
            counted(summary.traces, "trace"),
            counted(summary.observations, "step"),
            f"{totals.tokens:,} tokens",
            duration(summary.ended_ns - summary.started_ns),
            *([cost_of(totals)] if totals.cost_usd is not None else []),
            *([counted(totals.errors, "error")] if totals.errors else []),
        ]
        yield Text(fitted(f"{mark} {in_one_line(summary.session_id)}: {', '.join(facts)}", width), "bold")
    first = comparison.first_divergence
    if first is None:
        yield Text("The sessions did the same, with the same inputs and outputs.", "green")
        return
    path = "The path is the same." if comparison.same_path else "The paths part."
    step = first.left or first.right
    what = f"{first.kind}: {', '.join(first.differs)}" if first.differs else first.kind
    where = f"First at turn {first.turn}, step {first.number}: {step.label if step is not None else ''} ({what})"
    yield Text(fitted(f"{path} {in_one_line(where)}", width), "yellow" if comparison.same_path else "red")


def _lines(comparison: Comparison, width: int, full: bool) -> Iterator[Text]:
    from rich.text import Text

    from ..reading.comparison import SkippedPairs

    turn, skipped = 0, False
    for pair in comparison.pairs if full else comparison.near_changes(AROUND):
        if isinstance(pair, SkippedPairs):
            skipped = True
            continue
        if pair.turn != turn:
            turn = pair.turn
            yield Text()
            yield Text(f"turn {turn}", "bold")
        elif skipped:
            yield Text("  ...", "dim")
        skipped = False
        yield from _pair(pair, comparison.rules, width)


def _pair(pair: StepPair, rules: VolatileParts, width: int) -> Iterator[Text]:
    from rich.text import Text

    from ..presentation import contrasts_of

    step = pair.left or pair.right
    if step is None:
        return
    start = MARKS[pair.kind] + "  " * min(step.depth, 12)
    yield Text(fitted(start + in_one_line(step.label), width), STYLES[pair.kind])
    for contrast in contrasts_of(pair, rules, BEFORE):
        for mark, said in (("-", contrast.left), ("+", contrast.right)):
            text = in_one_line(f"{contrast.aspect} {said}")
            yield Text(fitted(f"{' ' * len(start)}{mark} {text}", width), "dim")
