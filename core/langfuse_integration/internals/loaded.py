"""Attributes of modules that the application has loaded; nothing is loaded to look."""

from __future__ import annotations

import sys
from typing import Any


def loaded(module: str, name: str) -> Any:
    """Return the attribute *name* of a module, or None where the module is not loaded or lacks it.

    A module is in `sys.modules` while another thread still loads it, and lacks attributes until then.
    """
    return getattr(sys.modules.get(module), name, None)
