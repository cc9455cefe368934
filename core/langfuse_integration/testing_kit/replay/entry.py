"""The function of an application that takes one turn, named as `module:function`."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import InvalidEntry
from .turns import ReplayTurn

TEXT_NAMES = frozenset({"text", "question", "message", "prompt", "query", "user_input", "user_message"})


class TurnFunction(NamedTuple):
    """A function that takes one turn.

    Attributes:
        module, name: where it is imported from.
        function: called with the turn's input or text.
        is_async: it has to be awaited.
        takes_text: its parameter is a text, and gets what the user said; else it gets the turn's whole input.
    """

    module: str
    name: str
    function: Callable[[Any], Any]
    is_async: bool
    takes_text: bool

    @classmethod
    def of(cls, entry: str) -> TurnFunction:
        """Return the function that *entry* names; the working directory is searched, too.

        Raises:
            InvalidEntry: *entry* has another form, or there is no such function.
        """
        module_name, _, name = entry.partition(":")
        if not module_name or not name.isidentifier():
            raise InvalidEntry(entry, "it has not the form module:function")
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        try:
            function = getattr(importlib.import_module(module_name), name)
            parameters = list(inspect.signature(function).parameters.values())
        except (ImportError, AttributeError, ValueError, TypeError) as error:
            raise InvalidEntry(entry, f"{type(error).__name__}: {error}") from error
        first = parameters[0] if parameters else None
        if first is None:
            raise InvalidEntry(entry, "the function takes no argument")
        annotation = first.annotation
        takes_text = annotation in (str, "str") or (annotation is inspect.Parameter.empty and first.name in TEXT_NAMES)
        return cls(module_name, name, function, inspect.iscoroutinefunction(function), takes_text)

    def run(self, turns: list[ReplayTurn]) -> None:
        """Call the function with one turn after the other, in one event loop if it is async."""
        if self.is_async:
            asyncio.run(self._run(turns))
            return
        for turn in turns:
            self.function(self._argument(turn))

    async def _run(self, turns: list[ReplayTurn]) -> None:
        for turn in turns:
            await self.function(self._argument(turn))

    def _argument(self, turn: ReplayTurn) -> Any:
        return turn.text if self.takes_text else turn.input
