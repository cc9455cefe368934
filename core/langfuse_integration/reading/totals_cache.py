"""A cache of totals by session.

Rows of a journal are never changed: a selection with as many rows and the same newest one adds up to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple

import orjson

from ..internals import forks
from ..internals.bounded import BoundedDict
from .replay import request_of
from .totals import Totals, sums

SESSIONS_LIMIT = 2_000
"""The most totals in the cache; the least recently used is dropped first."""
USAGE, COST = "langfuse.observation.usage_details", "langfuse.observation.cost_details"
MODEL = "langfuse.observation.model.name"
_READ = frozenset({USAGE, COST, MODEL})


class RowsVersion(NamedTuple):
    """Which rows were added up: how many, and the number of the newest."""

    rows: int
    newest: int


class TotalsCache:
    """Sums by selection, shared by threads."""

    def __init__(self, limit: int = SESSIONS_LIMIT) -> None:
        self._entries: BoundedDict[Hashable, tuple[RowsVersion, Totals]] = BoundedDict(limit)
        self._lock = forks.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def of(self, key: Hashable, version: RowsVersion, add_up: Callable[[], Totals]) -> Totals:
        """Return the sum over the rows that *key* names; *add_up* is called when that version is not kept."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry[0] == version:
                self._entries.renew(key, entry)
                return entry[1]
        totals = add_up()
        with self._lock:
            self._entries.renew(key, (version, totals))
        return totals


def totals_of_bodies(bodies: Iterable[bytes]) -> Totals:
    """Return the tokens and the cost in OTLP requests; nothing else of them is read, so its errors are 0."""
    tokens_in = tokens_out = tokens = 0
    cost_usd: float | None = None
    cost_computed = unpriced = False
    for body in bodies:
        request = request_of(body)
        for resource in request.resource_spans if request is not None else ():
            for scope in resource.scope_spans:
                for span in scope.spans:
                    told = {entry.key: entry.value.string_value for entry in span.attributes if entry.key in _READ}
                    if USAGE not in told and COST not in told:
                        continue
                    one = sums(_read(told.get(USAGE)), _read(told.get(COST)), told.get(MODEL))
                    tokens_in += one.tokens_in
                    tokens_out += one.tokens_out
                    tokens += one.tokens
                    if one.cost_usd is not None:
                        cost_usd = (cost_usd or 0.0) + one.cost_usd
                    cost_computed = cost_computed or one.cost_computed
                    unpriced = unpriced or one.unpriced
    return Totals(tokens_in, tokens_out, tokens, cost_usd, cost_computed=cost_computed, unpriced=unpriced)


def _read(text: str | None) -> object:
    try:
        return orjson.loads(text) if text else None
    except ValueError:
        return None


totals_cache = TotalsCache()
"""The sums of this process."""
