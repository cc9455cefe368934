"""What observations add up to: tokens, cost, errors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .replay import Observed


class Totals(NamedTuple):
    """Sums over observations.

    Attributes:
        tokens_in, tokens_out: over all buckets of either side, cached and reasoning tokens among them.
        tokens: of both sides, and of usage that does not say which side it was.
        cost_usd: US dollars, or None where nothing told a cost.
        errors: observations of level ERROR.
    """

    tokens_in: int = 0
    tokens_out: int = 0
    tokens: int = 0
    cost_usd: float | None = None
    errors: int = 0

    def plus(self, other: Totals) -> Totals:
        """Return the sum of both."""
        costs = [cost for cost in (self.cost_usd, other.cost_usd) if cost is not None]
        return Totals(
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.tokens + other.tokens,
            sum(costs) if costs else None,
            self.errors + other.errors,
        )


def totals_of(observations: Iterable[Observed]) -> Totals:
    """Return what *observations* add up to."""
    total = Totals()
    for found in observations:
        total = total.plus(own(found))
    return total


def own(found: Observed) -> Totals:
    """Return what one observation says of itself, without those below it."""
    usage = {name: count for name, count in _numbers(found.usage).items() if name != "total"}
    tokens_in = sum(count for name, count in usage.items() if name.startswith("input"))
    tokens_out = sum(count for name, count in usage.items() if name.startswith("output"))
    tokens = sum(usage.values()) if usage else _numbers(found.usage).get("total", 0)
    costs = _numbers(found.cost)
    cost = costs.get("total", sum(costs.values())) if costs else None
    return Totals(int(tokens_in), int(tokens_out), int(tokens), cost, int(found.level == "ERROR"))


def _numbers(found: object) -> dict[str, float]:
    if not isinstance(found, dict):
        return {}
    return {
        str(name): value
        for name, value in found.items()  # pyright: ignore[reportUnknownVariableType]
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
