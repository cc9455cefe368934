"""What tracing costs the application, counted in function calls: the same on every machine, however busy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import counting
from benchmarks.contender import FRAMEWORKS, Framework
from benchmarks.processes import alone
from benchmarks.workloads import PLACES, framework_of

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_no_workload_calls_more_functions_than_before(framework: Framework) -> None:
    """Tracing calls at most 5% more functions in one run than when the baseline was kept."""
    counts = {name: counting.total(functions) for name, functions in alone("counting", framework).items()}

    assert set(counts) == {name for name in PLACES if framework_of(name) == framework}
    grown = counting.grown(counts, counting.baseline())
    assert not grown, (
        f"(before, now): {grown}. `python -m benchmarks calls --details` says which functions; "
        "when they are worth it, keep them with `python -m benchmarks calls --update`."
    )


def test_the_baseline_knows_every_workload() -> None:
    """calls.json holds one count for each workload, and no other."""
    assert set(counting.baseline()) == set(PLACES)


def test_a_call_more_is_seen() -> None:
    """A workload that calls 6% more functions than its baseline has grown; one with 5% more has not."""
    before = {"C1": 100.0, "L1": 100.0}

    assert counting.grown({"C1": 106.0, "L1": 105.0}, before) == {"C1": (100.0, 106.0)}


SCRIPT = """
import json
from benchmarks import counting
from benchmarks.contender import Contender, Terms
def traced(number):
    from langfuse_integration import langfuse_manager
    for _ in range(number):
        with langfuse_manager.trace_span("step"):
            pass
counts = counting.Counts()
traced(1)
with counts:
    sorted(range(3), key=lambda found: found)
    traced(2)
print(json.dumps({code.co_name: calls for code, calls in counts.below.items()}))
"""


def test_what_our_functions_call_is_counted_and_nothing_else() -> None:
    """Two spans count two of everything that a span calls; a function of the application's own counts nothing."""
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"LANGFUSE_INTEGRATION_JOURNAL": "off"},
    )
    calls = json.loads(ran.stdout)

    assert calls["trace_span"] == calls["__enter__"] == calls["finish"] == 2
    assert "<lambda>" not in calls
    assert "traced" not in calls
