"""What was recorded with ids that count and times that tick, for tests that compare them: the same in every run."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from ..encoding.attributes import iso
from ..reading.replay import Observed
from ..recording.score import Score

BEGIN_NS = int(datetime(2030, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000_000
TICK_NS = 1_000_000
_ID = re.compile(r"\b(?:[0-9a-f]{32}|[0-9a-f]{16})\b")
_FIRST_TOKEN = "langfuse.observation.completion_start_time"
_READ = ("input", "output", "metadata")


class DeterministicIds:
    """Numbers traces and observations by their starts, and lets a millisecond pass between what happened.

    What holds an id as text, such as the `think_id` of an act, gets the new one. Observations that start at the same
    nanosecond stand in the order in which they ended.
    """

    def __init__(self, observed: Iterable[Observed]) -> None:
        self._observed = sorted(observed, key=lambda observation: (observation.started_ns, observation.ended_ns))
        traces = dict.fromkeys(observation.trace_id for observation in self._observed)
        self._ids = {trace_id: f"{number:032x}" for number, trace_id in enumerate(traces, 1)}
        self._ids |= {observation.id: f"{number:016x}" for number, observation in enumerate(self._observed, 1)}
        instants = {0}
        for observation in self._observed:
            instants |= {observation.started_ns, observation.ended_ns, _first_token(observation)}
        ordered = sorted(instants - {0})
        self._times = {at_ns: BEGIN_NS + tick * TICK_NS for tick, at_ns in enumerate(ordered)}

    def observed(self) -> list[Observed]:
        """Return renumbered copies of the observations, in the order of their starts."""
        return [self._renumbered(observation) for observation in self._observed]

    def scores(self, scores: Iterable[Score]) -> list[Score]:
        """Return renumbered copies of the scores of these observations."""
        renumbered: list[Score] = []
        for number, score in enumerate(scores, 1):
            made = copy.copy(score)
            made.id = f"{number:032x}"
            made.trace = int(self._ids.get(f"{score.trace:032x}", "0"), 16)
            made.span = int(self._ids.get(f"{score.span:016x}", "0"), 16)
            renumbered.append(made)
        return renumbered

    def _renumbered(self, observation: Observed) -> Observed:
        made = copy.copy(observation)
        for name in _READ:
            made.__dict__.pop(name, None)
        made.id, made.trace_id = self._ids[observation.id], self._ids[observation.trace_id]
        if observation.parent_id is not None:
            made.parent_id = self._ids.get(observation.parent_id, observation.parent_id)
        made.started_ns, made.ended_ns = self._times[observation.started_ns], self._times[observation.ended_ns]
        made.children = []
        made.attributes = self._attributes(observation.attributes)
        first_token_ns = _first_token(observation)
        if first_token_ns:
            made.attributes[_FIRST_TOKEN] = iso(self._times[first_token_ns])
        return made

    def _attributes(self, attributes: Mapping[str, object]) -> dict[str, object]:
        return {
            key: _ID.sub(lambda match: self._ids.get(match[0], match[0]), value) if isinstance(value, str) else value
            for key, value in attributes.items()
        }


def _first_token(observation: Observed) -> int:
    text = observation.attributes.get(_FIRST_TOKEN)
    if not isinstance(text, str):
        return 0
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1_000_000) * 1_000
    except ValueError:
        return 0
