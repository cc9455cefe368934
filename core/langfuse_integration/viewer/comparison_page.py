"""The page that compares two sessions: their steps side by side, and what is different in each."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from ..presentation import contrasts_of
from ..reading.comparison import Comparison, SkippedPairs, StepOnPath, StepPair
from ..reading.volatile import VolatileParts
from .paths import session_path
from .rows import DEEPEST, Mark, mark

AROUND = 2
"""Equal steps shown before and after a difference."""
PAIRS_LIMIT = 1_000
"""The most places on a page."""
BEFORE = 200
"""Characters shown in front of the first difference of two texts."""
CHARACTERS = 2_000
"""Characters of one aspect that are shown."""
WORDS = {"same": "same", "changed": "changed", "removed": "only left", "added": "only right"}


class ComparedStep(NamedTuple):
    """A step on one side.

    Attributes:
        aspects: what differs, as (name, text).
        address: of the step on its session's page.
    """

    mark: Mark
    label: str
    depth: int
    aspects: list[tuple[str, str]]
    address: str


class ComparedPair(NamedTuple):
    """One place of both sessions; or only a number of *skipped* places that are the same."""

    turn: int
    kind: str
    word: str
    left: ComparedStep | None
    right: ComparedStep | None
    skipped: int = 0


def compared_pairs(comparison: Comparison, everything: bool) -> tuple[list[ComparedPair], bool]:
    """Return the places to show, and whether there are more.

    Args:
        everything: also the places that are the same and far from any difference.
    """
    places: Iterable[StepPair | SkippedPairs] = comparison.pairs if everything else comparison.near_changes(AROUND)
    ids = comparison.left.session_id, comparison.right.session_id
    shown = [_place(place, comparison.rules, ids) for place in islice(places, PAIRS_LIMIT + 1)]
    return shown[:PAIRS_LIMIT], len(shown) > PAIRS_LIMIT


def _place(place: StepPair | SkippedPairs, rules: VolatileParts, ids: tuple[str | None, str | None]) -> ComparedPair:
    if isinstance(place, SkippedPairs):
        return ComparedPair(0, "skipped", "", None, None, place.places)
    contrasts = contrasts_of(place, rules, BEFORE)
    aspects = (
        [(contrast.aspect, contrast.left[:CHARACTERS]) for contrast in contrasts],
        [(contrast.aspect, contrast.right[:CHARACTERS]) for contrast in contrasts],
    )
    left, right = (
        _side(step, differs, session_id) if step is not None else None
        for step, differs, session_id in zip((place.left, place.right), aspects, ids, strict=True)
    )
    return ComparedPair(place.turn, place.kind, WORDS[place.kind], left, right)


def _side(step: StepOnPath, aspects: list[tuple[str, str]], session_id: str | None) -> ComparedStep:
    observation = step.observation
    return ComparedStep(
        mark(observation),
        step.label.partition(" ")[2],
        min(step.depth, DEEPEST),
        aspects,
        session_path(session_id, f"o-{observation.id}", open=observation.trace_id, at=observation.id),
    )
