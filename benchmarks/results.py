"""The latest results, in a file for plots and documents."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "results" / "results.json"
PACKAGES = ("langchain-core", "langgraph", "llama-index-core", "mcp", "langfuse", "opentelemetry-sdk")


def load() -> dict[str, dict[str, Any]]:
    """Return all stored results: by kind of measurement, then by name."""
    stored: dict[str, dict[str, Any]] = json.loads(FILE.read_text()) if FILE.exists() else {}
    return stored


def keep(kind: str, name: str, result: Any) -> None:
    """Store one result; replace an earlier one of the same kind and name."""
    everything = load()
    everything.setdefault(kind, {})[name] = result
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps(everything, indent=1))


def machine() -> str:
    """Return where this is measured: the machine, its load, and the releases."""
    load_1, load_5, _ = os.getloadavg()
    releases = ", ".join(f"{package} {_version(package)}" for package in PACKAGES)
    load = f"load {load_1:.1f} (1 min) {load_5:.1f} (5 min)"
    return f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {load}\n{releases}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"
