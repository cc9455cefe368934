"""Computed costs: list prices where nobody told a cost, marked as such, and nowhere else."""

from __future__ import annotations

import json

import pytest

from commands import Lfi
from fresh import run_fresh
from langfuse_integration import langfuse_manager
from langfuse_integration.encoding.usage import BUCKETS
from langfuse_integration.presentation import cost_note, cost_of
from langfuse_integration.reading.prices import KINDS, list_price
from langfuse_integration.reading.totals import Totals, sums

genai_prices = pytest.importorskip("genai_prices")


@pytest.mark.parametrize(
    "model", ["gpt-5-mini", "gpt-4o", "claude-sonnet-4-5-20250929", "gemini-2.5-flash", "gemini-2.5-pro"]
)
@pytest.mark.parametrize("size", [100, 300_000])
def test_a_price_is_that_of_the_library(model: str, size: int) -> None:
    """Disjoint buckets cost what the library says of the wholes, in short requests and in those of a higher tier."""
    usage = {"input": size, "input_cached_tokens": size // 2, "output": 50, "output_reasoning_tokens": 7, "total": 1}
    stated = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=size + size // 2, cache_read_tokens=size // 2, output_tokens=57),
        model_ref=model,
    )
    assert list_price(model, usage) == pytest.approx(float(stated.total_price))


def test_every_bucket_of_ours_is_known() -> None:
    """No kind of tokens that the adapters record is left out of a price."""
    for names in BUCKETS.values():
        for name in names:
            assert any(name.startswith(beginning) for beginning, _ in KINDS), name


@pytest.mark.parametrize(
    ("model", "usage"),
    [("FakeListChatModel", {"input": 5}), (None, {"input": 5}), ("gpt-5-mini", {"characters": 5}), ("", {"input": 5})],
)
def test_what_has_no_list_price_has_none(model: str | None, usage: dict[str, float]) -> None:
    """An unknown model, no model, or tokens of an unknown kind: no cost is made up, and the total says so."""
    assert list_price(model, usage) is None
    totals = sums(usage, None, model)
    assert (totals.cost_usd, totals.cost_computed, totals.cost_partial) == (None, False, False)


def test_a_cost_that_was_told_is_kept() -> None:
    """Also a cost of 0, as a failed call has."""
    for cost in (0.0, 1.5):
        totals = sums({"input": 1_000_000}, {"total": cost}, "gpt-5-mini")
        assert (totals.cost_usd, totals.cost_computed, totals.unpriced) == (cost, False, False)


def test_a_sum_says_what_it_leaves_out() -> None:
    """A told, a computed and an unknown cost add up to a partial, partly computed one, with both marks."""
    told, unknown = sums({"input": 1}, {"total": 0.5}), sums({"input": 1}, None, "FakeListChatModel")
    computed = sums({"input": 1_000_000}, None, "gpt-5-mini")
    total = Totals().plus(told).plus(computed).plus(unknown)
    assert total.cost_usd == pytest.approx(0.75)
    assert (cost_of(total), cost_note(total)) == (
        "~$0.75+",
        "~ computed from list prices; + some tokens have no known price",
    )
    assert (cost_of(told), cost_note(told)) == ("$0.50", "")


def test_the_commands_mark_computed_costs() -> None:
    """`show` explains the mark of the cost, `--json` has it as a field, and the row itself has no cost."""
    lfi = Lfi()
    with langfuse_manager.session("chat-1"), langfuse_manager.trace_span("call", as_type="generation") as call:
        call.update(model="gpt-5-mini", usage_details={"input": 1_000_000, "output": 0})
    langfuse_manager.flush()
    assert "~$0.25 (~ computed from list prices)" in lfi.ok("show", "chat-1")
    shown = json.loads(lfi.ok("show", "chat-1", "--json"))
    assert (shown["cost_usd"], shown["cost_computed"], shown["cost_partial"]) == (0.25, True, False)
    assert shown["traces"][0]["observations"][0]["cost"] == {}
    (listed,) = json.loads(lfi.ok("sessions", "--json"))
    assert (listed["cost_usd"], listed["cost_computed"]) == (0.25, True)


def test_without_the_package_there_is_no_computed_cost() -> None:
    """An installation without the extra reads sessions as before."""
    out = run_fresh(
        """
        import sys
        sys.modules["genai_prices"] = None
        from langfuse_integration.reading.totals import sums
        print(sums({"input": 5}, None, "gpt-5-mini").cost_usd)
        """
    )
    assert out == "None\n"
