"""Libraries that change what a process sees of its machine, built from C for LD_PRELOAD."""

from __future__ import annotations

import subprocess
from pathlib import Path

from machine import need_program


def preloaded(name: str, folder: Path) -> str:
    """Build the library from `<name>.c` beside this module; return its path."""
    library = folder / f"{name}.so"
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run([need_program("cc"), "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return str(library)
