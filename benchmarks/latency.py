"""How much the worker slows the application while it writes: how long a step of 1 ms really takes.

python -m benchmarks.latency CONTENDER ADDRESS        measured in this process
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from statistics import median, quantiles

from . import results, tables
from .contender import SESSION, Terms
from .contenders import OURS, contender
from .environments import Unavailable
from .processes import Receiver, Stopped, alone

WAITING = 10_000
STEP_S = 0.001
STEPS = 2_000
ROUNDS = 7
CONTENDERS = ("floor", OURS, "langfuse")


def report(options: argparse.Namespace) -> None:
    """Measure, and print a table."""
    print(results.machine(), flush=True)
    rows = []
    with Receiver() as receiver:
        for name in [each for each in CONTENDERS if each in options.contenders]:
            try:
                rounds = [alone("latency", name, receiver.address, contender=name) for _ in range(ROUNDS)]
            except (Stopped, Unavailable) as error:
                rows.append([name, str(error), *["-"] * 5])
                continue
            middle = {key: median(reading[key] for reading in rounds) for key in rounds[0]}
            results.keep("latency", name, {"rounds": rounds, **middle})
            growth = median(reading["busy_p99_ms"] / reading["idle_p99_ms"] for reading in rounds)
            keys = ("idle_p50_ms", "busy_p50_ms", "idle_p99_ms", "busy_p99_ms")
            cells = [tables.number(middle[key], 3) for key in keys]
            rows.append([name, *cells, tables.number(growth, 2), tables.number(middle["wrote_s"], 2)])
    head = [
        "a step of 1 ms, in ms",
        "median",
        "while writing",
        "p99",
        "while writing",
        "p99 x",
        "10,000 written after s",
    ]
    print(tables.table(head, rows))


def run(name: str, address: str) -> dict[str, float]:
    """Return how long steps take, with nothing to write and with 10,000 observations to write, in this process."""
    tracer = contender(name)
    tracer.begin(Terms("blocks", "http", address))
    _record(tracer, 1_000)
    tracer.deliver()
    loops = _calibrated()
    idle = [_step(loops) for _ in range(STEPS)]
    _record(tracer, WAITING)
    started = time.perf_counter()
    busy = [_step(loops) for _ in range(STEPS)]
    tracer.deliver()
    reading = {"wrote_s": time.perf_counter() - started}
    for kind, taken in (("idle", idle), ("busy", busy)):
        cuts = quantiles(taken, n=100)
        reading[f"{kind}_p50_ms"], reading[f"{kind}_p99_ms"] = cuts[49], cuts[98]
    return reading


def _record(tracer: object, observations: int) -> None:
    block = tracer.block  # type: ignore[attr-defined]
    with tracer.session(SESSION):  # type: ignore[attr-defined]
        for number in range(observations):
            with block("look_up", {"part": number, "limit": 3}) as step:
                step.update(output={"found": 3})


def _step(loops: int) -> float:
    started = time.perf_counter()
    total = 0
    for number in range(loops):
        total += number
    return (time.perf_counter() - started) * 1e3


def _calibrated() -> int:
    loops = 10_000
    took_ms = median(_step(loops) for _ in range(50))
    return round(loops * STEP_S * 1e3 / took_ms)


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], sys.argv[2])))
