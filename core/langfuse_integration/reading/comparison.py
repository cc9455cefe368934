"""Comparison of two sessions: their first divergence and all other differences.

Ids, times, temporary paths and ports, which are different in every run, are no differences, as in a replay.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import NamedTuple

from .replay import Observed, SessionReplay, Trace
from .volatile import VolatileParts

EXACT_PAIRS = 4_000_000
"""Pairs of steps up to which the best alignment of two turns is looked for; beyond it a good one has to do."""
ASPECTS = ("input", "output", "model", "level", "status_message")
"""The aspects that are compared of two steps at the same place."""


class StepOnPath(NamedTuple):
    """A step at its place: the path of two sessions is the same if these are, but for the observations."""

    depth: int
    label: str
    observation: Observed


class StepPair(NamedTuple):
    """What stands at one place of the two sessions.

    Attributes:
        turn: the number of the turn, from 1 on.
        number: the number of the step in its turn, from 1 on; of the left session, where it has one.
        left, right: None where only the other session has a step there.
        differs: what is different in two steps at the same place.
    """

    turn: int
    number: int
    left: StepOnPath | None
    right: StepOnPath | None
    differs: tuple[str, ...]

    @property
    def kind(self) -> str:
        """`same`, `changed`, `removed` or `added`, seen from the left session."""
        if self.right is None:
            return "removed"
        if self.left is None:
            return "added"
        return "changed" if self.differs else "same"


class SkippedPairs(NamedTuple):
    """Places that are the same and far from any difference, left out of a view."""

    places: int


class Comparison:
    """Two sessions compared.

    Attributes:
        pairs: every step of both, in their order.
        rules: what is not compared; they remember texts, which a history repeats in each step.
    """

    def __init__(self, left: SessionReplay, right: SessionReplay) -> None:
        self.left, self.right = left, right
        self.rules = rules = VolatileParts()
        self.pairs = [
            pair._replace(differs=_differences(pair.left.observation, pair.right.observation, rules))
            if pair.left is not None and pair.right is not None
            else pair
            for turn, (one, other) in enumerate(zip_longest(left.traces, right.traces), 1)
            for pair in _turn(turn, _path(one), _path(other))
        ]

    @property
    def changes(self) -> list[StepPair]:
        """The places where the sessions are not the same."""
        return [pair for pair in self.pairs if pair.kind != "same"]

    def near_changes(self, around: int) -> Iterator[StepPair | SkippedPairs]:
        """Yield the places with differences, *around* places before and after each, and a mark for the others."""
        near = {
            place + offset
            for place, pair in enumerate(self.pairs)
            if pair.kind != "same"
            for offset in range(-around, around + 1)
        }
        skipped = 0
        for place, pair in enumerate(self.pairs):
            if place not in near:
                skipped += 1
                continue
            if skipped:
                yield SkippedPairs(skipped)
            skipped = 0
            yield pair
        if skipped:
            yield SkippedPairs(skipped)

    @property
    def same_path(self) -> bool:
        """Whether both did the same steps in the same order; what went into them may differ."""
        return all(pair.kind in ("same", "changed") for pair in self.pairs)

    @property
    def first_divergence(self) -> StepPair | None:
        """The first place where the steps themselves differ, or else where what is in them does."""
        parted = (pair for pair in self.pairs if pair.kind in ("removed", "added"))
        return next(parted, None) or next(iter(self.changes), None)


def _path(trace: Trace | None) -> list[StepOnPath]:
    steps: list[StepOnPath] = []
    waiting = [(root, 0) for root in reversed(trace.roots)] if trace is not None else []
    while waiting:
        observation, depth = waiting.pop()
        steps.append(StepOnPath(depth, _label(observation), observation))
        waiting += [(child, depth + 1) for child in reversed(observation.children)]
    return steps


def _label(observation: Observed) -> str:
    """Return a step's identity, without its model: another model is a change in a step, not another step."""
    kind = "think" if observation.is_think else "act" if observation.is_act else observation.type
    server = observation.metadata.get("mcp_server")
    tool = str(observation.metadata.get("mcp_tool") or observation.name)
    return f"{kind} {server}.{tool.removeprefix(f'{server}.')}" if server else f"{kind} {observation.name}"


def _turn(turn: int, left: Sequence[StepOnPath], right: Sequence[StepOnPath]) -> Iterator[StepPair]:
    before, after = [step[:2] for step in left], [step[:2] for step in right]
    start = common_start(before, after)
    end = common_start(before[start:][::-1], after[start:][::-1])
    yield from _same(turn, 0, left[:start], right[:start])
    inner_left, inner_right = left[start : len(left) - end], right[start : len(right) - end]
    matcher = SequenceMatcher(
        None,
        [step[:2] for step in inner_left],
        [step[:2] for step in inner_right],
        autojunk=len(inner_left) * len(inner_right) > EXACT_PAIRS,
    )
    for what, l_from, l_to, r_from, r_to in matcher.get_opcodes():
        if what == "equal":
            yield from _same(turn, start + l_from, inner_left[l_from:l_to], inner_right[r_from:r_to])
            continue
        for number, step in enumerate(inner_left[l_from:l_to], start + l_from + 1):
            yield StepPair(turn, number, step, None, ())
        for number, step in enumerate(inner_right[r_from:r_to], start + r_from + 1):
            yield StepPair(turn, number, None, step, ())
    yield from _same(turn, len(left) - end, left[len(left) - end :], right[len(right) - end :])


def _same(turn: int, first: int, left: Sequence[StepOnPath], right: Sequence[StepOnPath]) -> Iterator[StepPair]:
    for number, (one, other) in enumerate(zip(left, right, strict=True), first + 1):
        yield StepPair(turn, number, one, other, ())


def _differences(one: Observed, other: Observed, rules: VolatileParts) -> tuple[str, ...]:
    return tuple(name for name in ASPECTS if _differ(getattr(one, name), getattr(other, name), rules))


def _differ(one: object, other: object, rules: VolatileParts) -> bool:
    return _plain(one) != _plain(other) and rules.key(one) != rules.key(other)


def _plain(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def common_start(one: Sequence[object], other: Sequence[object]) -> int:
    """Return how many items both begin with."""
    count = 0
    while count < min(len(one), len(other)) and one[count] == other[count]:
        count += 1
    return count
