"""Environments with packages that do not go with those of the tests; made below `.venv` when they are first needed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ENVIRONMENTS = Path(__file__).parents[2] / ".venv" / "environments"


def python_of(name: str, requirement: str) -> Path:
    """Return the interpreter of the environment that holds a requirement; it is made if it is missing."""
    folder = ENVIRONMENTS / f"{name}-{re.sub(r'[^0-9a-z.]+', '-', requirement)}"
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", requirement], check=True)
        done.touch()
    return python
