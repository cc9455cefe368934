"""Plots of the latest results, written to docs/images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .contenders import FLOOR, OURS
from .workloads import PLACES

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
COLOURS = {
    OURS: "#1f6feb",
    "deferred": "#9ecbff",
    FLOOR: "#57606a",
    "mcp": "#bf8700",
    "langfuse": "#cf222e",
    "openinference": "#8250df",
    "traceloop": "#1a7f37",
}
Results = dict[str, dict[str, Any]]


def draw(results: Results) -> list[Path]:
    """Draw a plot of each kind of measurement in *results*; return the files."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update(
        {"svg.hashsalt": "benchmarks", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    IMAGES.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, figure in (
        ("calling-thread", _comparison(results, "discard", "thread", "CPU of the calling thread")),
        ("process", _comparison(results, "http", "process", "CPU of the whole process, encoding and sending included")),
        ("growth", _growth(results)),
        ("memory", _memory(results)),
    ):
        if figure is not None:
            path = IMAGES / f"{name}.svg"
            figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
            drawn.append(path)
    return drawn


def _comparison(results: Results, delivery: str, clock: str, title: str) -> Any:
    """Bars of each contender in each workload, in multiples of the floor."""
    import matplotlib.pyplot as plt

    comparisons: dict[str, Any] = results.get("compare", {})
    keys = {name: f"{name} {delivery}" for name in PLACES}
    by_workload = {name: comparisons[key] for name, key in keys.items() if key in comparisons}
    if not by_workload:
        return None
    measured = {name for result in by_workload.values() for name in result["lines"]}
    shown = [name for name in COLOURS if name in measured and name != FLOOR]
    figure, axes = plt.subplots(figsize=(9, 3.6))
    width = 0.8 / len(shown)
    for place, name in enumerate(shown):
        for number, result in enumerate(by_workload.values()):
            if name not in result["lines"]:
                continue
            ratio = result["lines"][name]["added"][clock]["ratio"]
            if ratio is not None:
                axes.bar(
                    number + (place - len(shown) / 2 + 0.5) * width,
                    max(ratio, 0.01),
                    width,
                    color=COLOURS[name],
                    label=name if name not in axes.get_legend_handles_labels()[1] else None,
                )
    axes.axhline(1, color=COLOURS[FLOOR], linewidth=1, linestyle="--", label="a bare OpenTelemetry span per event")
    axes.set_yscale("log")
    axes.set_xticks(range(len(by_workload)), list(by_workload))
    axes.set_ylabel("times a bare span")
    axes.set_title(f"{title}, added by tracing", loc="left")
    _legend(figure, axes, 4)
    return figure


def _growth(results: Results) -> Any:
    """Lines of the CPU per step, over the number of steps."""
    import matplotlib.pyplot as plt

    by_contender: dict[str, Any] = results.get("growth", {})
    if not by_contender:
        return None
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
    for axes, clock, title in zip(panels, ("thread_us", "process_us"), ("in callbacks", "all of it"), strict=True):
        for name, added in by_contender.items():
            points = sorted((int(steps), reading[clock] / 1e3) for steps, reading in added.items())
            axes.plot(*zip(*points, strict=True), marker="o", color=COLOURS[name], label=name)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("steps of the agent, each with all before it in its input")
        axes.set_title(f"CPU that tracing takes of one step, {title}", loc="left")
    panels[0].set_ylabel("ms")
    _legend(figure, panels[0], 6)
    return figure


def _legend(figure: Any, axes: Any, columns: int) -> None:
    handles = axes.get_legend_handles_labels()
    figure.legend(*handles, loc="upper center", ncols=columns, frameon=False, bbox_to_anchor=(0.5, 0.0))


def _memory(results: Results) -> Any:
    """Lines of the resident memory, over the observations recorded."""
    import matplotlib.pyplot as plt

    by_back_end: dict[str, Any] = results.get("memory", {})
    if not by_back_end:
        return None
    figure, axes = plt.subplots(figsize=(6, 2.8))
    for kind, result in by_back_end.items():
        observations, mib = zip(*result["samples"], strict=True)
        axes.plot([count / 1e6 for count in observations], mib, label=f"back end {kind}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("million observations recorded")
    axes.set_ylabel("MiB resident")
    axes.legend(frameon=False)
    return figure
