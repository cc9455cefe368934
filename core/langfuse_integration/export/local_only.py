"""A warning for applications that use Langfuse's SDK, while no project is named: their rows stay in the local journal.

The SDK says so itself where it makes a client without keys; here this package makes that client. It is said a few
seconds after the first rows, or when the process ends: until then the application may make its client in code.
"""

from __future__ import annotations

import sys
import time

from ..internals.faults import warn_once
from ..settings import NO_PROJECT, Settings
from ..settings import settings as current_settings

GRACE_S = 5.0
"""Seconds from the first rows on, in which the application may still make its Langfuse client."""


class LocalOnly:
    """Says once that an application with Langfuse's SDK has no keys."""

    def __init__(self, settings: Settings) -> None:
        self._where = settings.journal_path or "memory"
        self._is_meant = settings.mode != "local" or bool(settings.all_destinations)
        self._due_s: float | None = None

    def note_rows(self) -> None:
        """Note that rows were recorded, and say where they are once that is certain."""
        if self._is_meant:
            return
        if self._due_s is None:
            self._due_s = time.monotonic() + GRACE_S
        elif time.monotonic() >= self._due_s:
            self.say()

    def say(self) -> None:
        """Say it, if there are rows."""
        if self._is_meant or self._due_s is None or not hasattr(sys.modules.get("langfuse"), "Langfuse"):
            return
        self._is_meant = True
        if current_settings().mode != "local":  # keys were given in code since
            return
        warn_once(
            NO_PROJECT,
            "Langfuse's SDK is in use, but LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are not set: observations stay "
            "in the local journal (%s). Set both; `langfuse-integration push` then delivers what is there",
            self._where,
        )
