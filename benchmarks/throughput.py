"""How many observations a second go through on one core, from the application's block to where they are safe.

python -m benchmarks.throughput OBSERVATIONS ADDRESS        record them here, as fast as it goes
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

from . import results, tables
from .contender import SESSION, Terms
from .contenders.ours import Ours
from .processes import Receiver, alone

OBSERVATIONS = 200_000


def report(options: argparse.Namespace) -> None:
    """Measure, and print a table."""
    observations = options.observations or OBSERVATIONS
    print(results.machine(), flush=True)
    rows = []
    with Receiver() as receiver:
        kinds = (("encoded only", "discard"), ("into the journal", "keep"), ("journal, then sent", receiver.address))
        for kind, address in kinds:
            reading = alone("throughput", observations, address)
            results.keep("throughput", kind, reading)
            rate = observations / reading["seconds"]
            counts = [str(count) for count in reading["flushed"]]
            rows.append([kind, tables.number(rate, 0), tables.number(reading["recording_us"]), *counts])
    head = [
        f"{observations:,} observations on one core",
        "a second",
        "us to record one",
        "delivered",
        "pending",
        "lost",
    ]
    print(tables.table(head, rows))


def run(observations: int, address: str) -> dict[str, object]:
    """Record as fast as it goes, flush, and return how long it took and what became of them."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    ours = Ours()
    ours.begin(Terms("blocks", "http", address) if address.startswith("http") else Terms("blocks", address, ""))  # type: ignore[arg-type]
    _record(ours, 3_000)
    ours.manager.flush(10)
    before = ours.manager.flush(10)
    started, thread_ns = time.perf_counter(), time.thread_time_ns()
    _record(ours, observations)
    recording_us = (time.thread_time_ns() - thread_ns) / observations / 1e3
    after = ours.manager.flush(600)
    seconds = time.perf_counter() - started
    counts = [now - then for now, then in zip(after, before, strict=True)]
    return {"seconds": seconds, "recording_us": recording_us, "flushed": counts}


def _record(ours: Ours, observations: int) -> None:
    with ours.session(SESSION):
        for number in range(observations):
            with ours.block("look_up", {"part": number, "limit": 3}) as step:
                step.update(output={"found": 3})


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), sys.argv[2])))
