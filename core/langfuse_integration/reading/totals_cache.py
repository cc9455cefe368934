"""What sessions have used up so far, added up once.

Rows of a journal are never changed: a session with as many rows and the same newest one adds up to the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple

import orjson

from ..internals import forks
from .replay import request_of
from .totals import Totals, sums

SESSIONS_LIMIT = 2_000
"""Sessions that are remembered; the one that was not asked for longest gives way."""
USAGE, COST = "langfuse.observation.usage_details", "langfuse.observation.cost_details"
_BUCKETS = frozenset({USAGE, COST})


class Rows(NamedTuple):
    """Which rows were added up: how many, and the newest one's number."""

    number: int
    last: int


class Spending:
    """Remembers sums, for several threads."""

    def __init__(self, limit: int = SESSIONS_LIMIT) -> None:
        self._limit = limit
        self._known: OrderedDict[Hashable, tuple[Rows, Totals]] = OrderedDict()
        self._guard = forks.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, key: Hashable, rows: Rows, add_up: Callable[[], Totals]) -> Totals:
        """Return the sum over *rows* of what *key* names; *add_up* makes it when it is not known."""
        with self._guard:
            entry = self._known.get(key)
            if entry is not None and entry[0] == rows:
                self._known.move_to_end(key)
                return entry[1]
        totals = add_up()
        with self._guard:
            self._known[key] = (rows, totals)
            self._known.move_to_end(key)
            while len(self._known) > self._limit:
                self._known.popitem(last=False)
        return totals


def spent(bodies: Iterable[bytes]) -> Totals:
    """Return the tokens and the cost in OTLP requests; nothing else of them is read, so its errors are 0."""
    tokens_in = tokens_out = tokens = 0
    cost_usd: float | None = None
    for body in bodies:
        request = request_of(body)
        for resource in request.resource_spans if request is not None else ():
            for scope in resource.scope_spans:
                for span in scope.spans:
                    buckets = {
                        entry.key: entry.value.string_value for entry in span.attributes if entry.key in _BUCKETS
                    }
                    if not buckets:
                        continue
                    one = sums(_read(buckets.get(USAGE)), _read(buckets.get(COST)))
                    tokens_in += one.tokens_in
                    tokens_out += one.tokens_out
                    tokens += one.tokens
                    if one.cost_usd is not None:
                        cost_usd = (cost_usd or 0.0) + one.cost_usd
    return Totals(tokens_in, tokens_out, tokens, cost_usd)


def _read(text: str | None) -> object:
    try:
        return orjson.loads(text) if text else None
    except ValueError:
        return None


remembered = Spending()
"""The sums of this process."""
