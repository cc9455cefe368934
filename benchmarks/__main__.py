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
    options = arguments()
    if options.what == "compare":
        comparison(options)
    elif options.what == "calls":
        sys.exit(calls(options.workloads, options.update, options.details))
    else:
        for what in ALONE if options.what == "all" else (options.what,):
            from importlib import import_module

            import_module(f".{what}", __package__).report(options)
        if options.what == "all":
            comparison(options)
    if options.plots:
        from .plots import draw

        draw(results.load())


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What tracing costs an application.")
    what = ("compare", "calls", *ALONE, "all")
    parser.add_argument("what", nargs="?", default="compare", choices=what)
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS), metavar="NAME")
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=30, help="rounds of the comparison (default: 30)")
    parser.add_argument("--delivery", choices=("discard", "http"), default="http", help="default: http")
    parser.add_argument("--observations", type=int, help="how many to record, for memory and throughput")
    parser.add_argument("--plots", action="store_true", help="also draw the results into docs/images")
    parser.add_argument("--update", action="store_true", help="calls: store the counts as the new baseline")
    parser.add_argument("--details", action="store_true", help="calls: list the functions")
    return parser.parse_args()


def comparison(options: argparse.Namespace) -> None:
    """Compare the contenders, and print a table for each workload."""
    print(results.machine(), flush=True)
    for name in options.workloads:
        result = compare(name, options.contenders, options.rounds, options.delivery)
        results.keep("compare", f"{name} {options.delivery}", result.plain())
        print("\n" + tables.of_result(name, result), flush=True)


def calls(workloads: list[str], update: bool, details: bool) -> int:
    """Count calls; return 1 if a workload exceeds its baseline."""
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
