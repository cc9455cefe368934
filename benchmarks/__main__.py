"""The command: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import sys

from . import counting, results, tables
from .compare import compare
from .contender import FRAMEWORKS
from .contenders import PLACES as CONTENDERS
from .environments import Unavailable
from .processes import Stopped, alone
from .workloads import PLACES as WORKLOADS

ALONE = ("growth", "memory", "throughput", "latency", "imports")


def main() -> None:
    """Run the benchmark that the command line names."""
    asked = arguments()
    if asked.what == "compare":
        comparison(asked)
    elif asked.what == "calls":
        sys.exit(calls(asked.workloads, asked.update, asked.details))
    else:
        for what in ALONE if asked.what == "all" else (asked.what,):
            from importlib import import_module

            import_module(f".{what}", __package__).report(asked)
        if asked.what == "all":
            comparison(asked)
    if asked.plots:
        from .plots import draw

        draw(results.load())


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What tracing costs an application.")
    what = ("compare", "calls", *ALONE, "all")
    parser.add_argument("what", nargs="?", default="compare", choices=what)
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS), metavar="NAME")
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=30, help="rounds of the comparison (default: 30)")
    parser.add_argument("--delivery", choices=("discard", "http"), default="http", help="default: http")
    parser.add_argument("--observations", type=int, help="how many to record, for memory and throughput")
    parser.add_argument("--plots", action="store_true", help="draw the results in docs/images, too")
    parser.add_argument("--update", action="store_true", help="calls: keep the counts as the new baseline")
    parser.add_argument("--details", action="store_true", help="calls: say which functions")
    return parser.parse_args()


def comparison(asked: argparse.Namespace) -> None:
    """Compare the contenders, and print a table for each workload."""
    print(results.machine(), flush=True)
    for name in asked.workloads:
        result = compare(name, asked.contenders, asked.rounds, asked.delivery)
        results.keep("compare", f"{name} {asked.delivery}", result.plain())
        print("\n" + tables.of_result(name, result), flush=True)


def calls(workloads: list[str], update: bool, details: bool) -> int:
    """Count calls; return 1 when a workload makes more than it may."""
    functions: dict[str, dict[str, float]] = {}
    for framework in FRAMEWORKS:
        if any(WORKLOADS[name][0] == framework for name in workloads):
            functions.update(alone("counting", framework))
    before = counting.baseline()
    counts = {name: counting.total(functions[name]) for name in WORKLOADS if name in workloads}
    rows = [[name, tables.number(before.get(name)), tables.number(now)] for name, now in counts.items()]
    print(tables.table(["calls in one run", "baseline", "now"], rows))
    if details:
        for name in counts:
            shown = [[function, tables.number(count, 2)] for function, count in functions[name].items()]
            print("\n" + tables.table([name, "calls"], shown))
    if update:
        counting.keep({**before, **counts})
        return 0
    return 1 if counting.grown(counts, before) else 0


if __name__ == "__main__":
    try:
        main()
    except (Stopped, Unavailable) as error:
        sys.exit(f"benchmarks: {error}")
