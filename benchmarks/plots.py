"""Plots of what was measured last, into docs/images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"


def draw(results: dict[str, dict[str, Any]]) -> None:
    """Draw everything in *results*."""
    IMAGES.mkdir(parents=True, exist_ok=True)
