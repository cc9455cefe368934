"""Totals over observations: tokens, cost, errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..encoding.usage_buckets import disjoint_buckets
from .prices import list_price
from .replay import Observed


class Totals(NamedTuple):
    """Sums over observations.

    Attributes:
        tokens_in, tokens_out: over all buckets of either side, cached and reasoning tokens among them.
        tokens: of both sides, and of usage that does not say which side it was.
        cost_usd: US dollars, or None where no cost is known.
        cost_computed: a part of it was computed from list prices, since nobody told a cost.
        unpriced: some tokens have no known cost.
        errors: observations of level ERROR, a chain of failing steps as one.
    """

    tokens_in: int = 0
    tokens_out: int = 0
    tokens: int = 0
    cost_usd: float | None = None
    errors: int = 0
    cost_computed: bool = False
    unpriced: bool = False

    @property
    def cost_partial(self) -> bool:
        """Whether the cost leaves out some tokens."""
        return self.unpriced and self.cost_usd is not None

    def plus(self, other: Totals) -> Totals:
        """Return the sum of both."""
        costs = [cost for cost in (self.cost_usd, other.cost_usd) if cost is not None]
        return Totals(
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.tokens + other.tokens,
            sum(costs) if costs else None,
            self.errors + other.errors,
            self.cost_computed or other.cost_computed,
            self.unpriced or other.unpriced,
        )


def totals_of(observations: Iterable[Observed]) -> Totals:
    """Return what *observations* add up to; of a chain of failing steps only the deepest is an error."""
    total = Totals()
    for observation in observations:
        repeats = any(child.level == "ERROR" for child in observation.children)
        total = total.plus(own(observation)._replace(errors=0) if repeats else own(observation))
    return total


def own(observation: Observed) -> Totals:
    """Return an observation's own tokens and cost, without those below it."""
    return sums(observation.usage, observation.cost, observation.model)._replace(
        errors=int(observation.level == "ERROR")
    )


def sums(usage_details: object, cost_details: object, model: str | None = None) -> Totals:
    """Return the totals of two mappings of buckets; without a cost, computed from the list prices of *model*."""
    counts = _numbers(disjoint_buckets(usage_details) if isinstance(usage_details, Mapping) else None)
    usage = {name: count for name, count in counts.items() if name != "total"}
    tokens_in = sum(count for name, count in usage.items() if name.startswith("input"))
    tokens_out = sum(count for name, count in usage.items() if name.startswith("output"))
    tokens = sum(usage.values()) if usage else counts.get("total", 0)
    costs = _numbers(cost_details)
    cost = costs.get("total", sum(costs.values())) if costs else None
    price = list_price(model, usage) if cost is None and usage else None
    return Totals(
        int(tokens_in),
        int(tokens_out),
        int(tokens),
        cost if price is None else price,
        cost_computed=price is not None,
        unpriced=bool(tokens) and cost is None and price is None,
    )


def _numbers(buckets: object) -> dict[str, float]:
    if not isinstance(buckets, dict):
        return {}
    return {
        str(name): value
        for name, value in buckets.items()  # pyright: ignore[reportUnknownVariableType]
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
