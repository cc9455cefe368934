"""Values of settings: from text of the environment, or from what a program gives.

Each function returns the value as the setting holds it, and raises ValueError with what the value must be; the message
does not repeat the value, which may be a secret. Nothing but the standard library is loaded: the first rows of a
process wait for its settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

Parse = Callable[[Any], Any]

LONGEST_WAIT_S = 1e6
"""Seconds, 11 days. What is longer, infinity as well, waits as long: locks and sockets take no time without a bound."""


class Secret:
    """A text that does not show when it is printed."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('**********')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


def text(value: Any) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise ValueError("it must be text")
    return value


def key(value: Any) -> str | None:
    """Return a key; one that was read from a file ends in a line break, which HTTP forbids."""
    return text(value).strip() or None


def secret(value: Any) -> Secret | None:
    """Return a key that does not show."""
    if isinstance(value, Secret):
        return value
    stripped = key(value)
    return Secret(stripped) if stripped is not None else None


def switch(value: Any) -> bool:
    """Return whether something is on: Langfuse's SDK takes every text but "false" and "0" as true."""
    if isinstance(value, str):
        return value.strip().lower() not in ("false", "0")
    if value in (0, 1):
        return bool(value)
    raise ValueError("it must be True or False")


def number(least: float | None = None, most: float | None = None, *, above: float | None = None) -> Parse:
    """Return a function for numbers in these bounds.

    Args:
        above: the number must be greater than this.
    """
    bounds = _bounds(least, most, above)

    def parse(value: Any) -> float:
        try:
            parsed = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"it must be a number{bounds}") from None
        if not _within(parsed, least, most, above):
            raise ValueError(f"it must be a number{bounds}")
        return parsed

    return parse


def wait(least: float | None = None, *, above: float | None = None) -> Parse:
    """Return a function for seconds that something waits for: see `LONGEST_WAIT_S`."""
    parse = number(least, above=above)
    return lambda value: min(parse(value), LONGEST_WAIT_S)


def integer(least: int) -> Parse:
    """Return a function for whole numbers from *least* on."""

    def parse(value: Any) -> int:
        try:
            parsed = int(value)
            whole = isinstance(value, str) or parsed == value
        except (TypeError, ValueError, OverflowError):
            whole, parsed = False, 0
        if not whole or parsed < least:
            raise ValueError(f"it must be a whole number of at least {least}")
        return parsed

    return parse


def one_of(*words: str) -> Parse:
    """Return a function for one of some words."""

    def parse(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"it must be {', '.join(words[:-1])} or {words[-1]}")
        return value

    return parse


def path_or_off(value: Any) -> Path | str:
    """Return a file's path, or `off`."""
    if isinstance(value, Path):
        return value
    return "off" if value == "off" else Path(text(value))


def function(value: Any) -> Any:
    """Return something that can be called."""
    if not callable(value):
        raise ValueError("it must be a function")
    return value


def _within(value: float, least: float | None, most: float | None, above: float | None) -> bool:
    return (
        not math.isnan(value)
        and (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
    )


def _bounds(least: float | None, most: float | None, above: float | None) -> str:
    parts = [f" of at least {least:g}"] if least is not None else []
    parts += [f" greater than {above:g}"] if above is not None else []
    return " and".join([*parts, *([f" at most {most:g}"] if most is not None else [])])
