"""How much memory a process takes that records a million observations, whether the back end is there or not.

python -m benchmarks.memory OBSERVATIONS ADDRESS        record them here, and say what the process takes meanwhile
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from . import results, tables
from .contender import SESSION, Terms
from .contenders.ours import Ours
from .processes import Receiver, alone

OBSERVATIONS = 1_000_000
WARM_UP = 20_000
SAMPLES = 50
WAITING = 2_000
"""Observations that may wait for the worker: more is a burst, and a burst takes memory by intention (the queue)."""
DEAD = "http://127.0.0.1:9"


def report(options: argparse.Namespace) -> None:
    """Measure with each back end, and print a table."""
    observations = options.observations or OBSERVATIONS
    print(results.machine(), flush=True)
    rows = []
    with Receiver() as receiver:
        for kind, address in (("answers", receiver.address), ("is dead", DEAD), ("is not wanted: no keys", "")):
            reading = alone("memory", observations, address)
            results.keep("memory", kind, reading)
            samples = [mib for _, mib in reading["samples"]]
            rows.append(
                [
                    f"back end {kind}",
                    tables.number(samples[0]),
                    tables.number(samples[-1] - samples[0]),
                    tables.number(max(samples) - samples[0]),
                    *(str(count) for count in reading["flushed"]),
                    tables.number(observations / reading["seconds"], 0),
                ]
            )
    head = [
        f"{observations:,} observations",
        "MiB at first",
        "grown by",
        "at most by",
        "delivered",
        "pending",
        "lost",
        "a second",
    ]
    print(tables.table(head, rows))


def run(observations: int, address: str) -> dict[str, object]:
    """Record, a request with two steps at a time; return samples of (observations, MiB), and what became of them."""
    ours = Ours()
    ours.begin(Terms("blocks", "http" if address else "keep", address))
    _requests(ours, WARM_UP)
    ours.manager.flush(10)
    samples = [(0, resident_mib())]
    started = time.monotonic()
    for number in range(SAMPLES):
        _requests(ours, observations // SAMPLES)
        samples.append(((number + 1) * observations // SAMPLES, resident_mib()))
    flushed = ours.manager.flush(10)
    samples.append((observations, resident_mib()))
    return {"samples": samples, "flushed": list(flushed), "seconds": time.monotonic() - started}


def _requests(ours: Ours, observations: int) -> None:
    waiting = ours.recorder.queue
    for number in range(observations // 3):
        with ours.session(f"{SESSION}-{number % 100}"), ours.block("request", {"question": number}) as request:
            with ours.block("look_up", {"part": number, "limit": 3}) as step:
                step.update(output={"found": 3})
            with ours.block("answer", {"prompt": "Say in one sentence where it is."}) as step:
                step.update(output=f"On shelf {number}.")
            request.update(output={"answer": f"On shelf {number}."})
        while len(waiting) > WAITING:
            time.sleep(0.002)


def resident_mib() -> float:
    """Return the memory that this process holds, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), sys.argv[2])))
