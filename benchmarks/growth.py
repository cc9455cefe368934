"""How the cost of a step grows with the history before it: one agent run of 10, of 100 and of 1,000 steps.

python -m benchmarks.growth CONTENDER STEPS RUNS        what one step takes, measured in this process
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from statistics import median
from typing import Any

from . import results, tables
from .contender import Contender, Terms
from .contenders import OURS, PLACES, contender
from .environments import Unavailable
from .processes import Stopped, alone
from .workloads.workload import Reading

STEPS = (10, 100, 1_000)
RUNS = {10: 60, 100: 8, 1_000: 2}
ROUNDS = {10: 5, 100: 5, 1_000: 3}
REQUEST: Any = {"messages": [{"role": "user", "content": "Which parts are in stock?"}]}
CONTENDERS = ("floor", "deferred", OURS, "langfuse", "openinference", "traceloop")


def report(asked: argparse.Namespace) -> None:
    """Measure and print a table; the added CPU of one step (a model call and a tool call) in microseconds."""
    print(results.machine(), flush=True)
    rows = []
    for name in [found for found in CONTENDERS if found in asked.contenders]:
        added = {}
        try:
            for steps in STEPS:
                added[steps] = measured(name, steps)
        except (Stopped, Unavailable) as error:
            rows.append([name, *["-"] * 7, str(error)])
            continue
        results.keep("growth", name, added)
        cells = [name]
        for clock in ("thread_us", "process_us"):
            cells += [tables.number(added[steps][clock]) for steps in STEPS]
            cells += [tables.number(added[STEPS[-1]][clock] / added[STEPS[0]][clock], 2)]
        rows.append(cells)
    heads = [f"{clock} {steps}" for clock in ("thread us,", "process us,") for steps in (*STEPS, "1,000/10")]
    print(tables.table(["added to a step of", *heads], rows))


def measured(name: str, steps: int) -> dict[str, float]:
    """Return what tracing adds to one step; the median process's."""
    found = [alone("growth", name, steps, RUNS[steps], contender=name) for _ in range(ROUNDS[steps])]
    return {clock: median(each[clock] for each in found) for clock in found[0]}


def run(name: str, steps: int, runs: int) -> dict[str, float]:
    """Return what tracing adds to one step in this process, in microseconds; the difference of medians.

    Traced runs take turns with untraced ones as far as that can be had: what instruments the framework itself cannot be
    switched off again, so that the untraced runs come first.
    """
    tracer, nobody = contender(name), Contender()
    from .workloads.chains import agent

    untraced: Any = {"recursion_limit": 2 * steps + 10}
    without = [_taken(agent(steps), untraced, nobody, steps) for _ in range(runs)]
    tracer.begin(Terms("langchain", "discard", ""))
    built, traced = agent(steps), {**untraced, **tracer.config()}
    _taken(built, traced, tracer, steps)
    by_config = bool(tracer.config())
    if by_config:
        without = []
    found = []
    for _ in range(runs):
        if by_config:
            without.append(_taken(built, untraced, nobody, steps))
        found.append(_taken(built, traced, tracer, steps))
    return {
        clock: median(each[clock] for each in found) - median(each[clock] for each in without) for clock in found[0]
    }


def _taken(built: Any, config: Any, tracer: Contender, steps: int) -> dict[str, float]:
    """Return what one step of a run took of the calling thread and of the process, in microseconds."""
    gc.collect()
    before = Reading.now()
    built.invoke(REQUEST, config)
    after = Reading.now().since(before)
    tracer.deliver()
    process_ns = Reading.now().since(before).process_ns
    return {"thread_us": after.thread_ns / steps / 1e3, "process_us": process_ns / steps / 1e3}


if __name__ == "__main__":
    assert sys.argv[1] in PLACES
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
