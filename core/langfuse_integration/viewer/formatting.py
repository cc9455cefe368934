"""Times, numbers and texts as the pages show them."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from markupsafe import Markup, escape

from ..reading.conversation import compact, messages_in
from ..reading.replay import Observed

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
# Marks that turn the direction of what follows, or are not to be seen: Unicode's Cf as far as texts abuse it.
_UNSEEN = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_LONE = re.compile("[\ud800-\udfff]")
_TOKENS = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)')
BRIEF = 160
COLOURED_LIMIT = 20_000
"""Longer JSON is shown in one colour."""


def shown(text: object) -> str:
    """Return *text* with control characters as their pictures, and marks that nobody sees written out."""
    pictured = _CONTROL.sub(lambda match: "\u2421" if match[0] == "\x7f" else chr(0x2400 + ord(match[0])), str(text))
    return _LONE.sub(_written, _UNSEEN.sub(_written, pictured))


def _written(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def at(at_ns: int) -> str:
    """Return a point in time as the machine's clock shows it."""
    return datetime.fromtimestamp(at_ns / 1e9).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def clock(at_ns: int) -> str:
    """Return the time of day as the machine's clock shows it."""
    return datetime.fromtimestamp(at_ns / 1e9).astimezone().strftime("%H:%M:%S")


def iso(at_ns: int) -> str:
    """Return a point in time for `<time datetime>`."""
    return datetime.fromtimestamp(at_ns / 1e9).astimezone().isoformat(timespec="milliseconds")


def lasting(duration_ns: int) -> str:
    """Return a duration in the unit that fits."""
    seconds = max(duration_ns, 0) / 1e9
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days"


def dollars(cost: float | None) -> str:
    """Return a cost, or nothing."""
    return "" if cost is None else f"${cost:.4f}" if 0 < cost < 0.1 else f"${cost:,.2f}"


def counted(count: int, one: str, more: str | None = None) -> str:
    """Return a count with its noun."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def brief(observation: Observed) -> str:
    """Return in one line what an observation came to."""
    if observation.level in ("ERROR", "WARNING") and observation.status_message:
        return _cut(observation.status_message)
    messages = messages_in(observation.output)
    if messages:
        last = messages[-1]
        return _cut(", ".join(f"{call.name}({arguments(call.arguments)})" for call in last.calls) or last.text)
    if observation.output is None and (request := messages_in(observation.input)):
        return _cut(request[-1].text)
    value = observation.output if observation.output is not None else observation.input
    return "" if value is None else _cut(compact(value))


def arguments(value: Any) -> str:
    """Return a call's arguments as one would write them between its brackets."""
    return "" if value in (None, {}, "") else compact(value)


def pretty(value: Any) -> str:
    """Return a value as indented JSON, and text as it is."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)


def coloured(value: Any, limit: int | None = None) -> Markup:
    """Return a value as HTML: text as it is, anything else as indented JSON with its parts in colour.

    Args:
        limit: cut after so many characters.
    """
    text = pretty(value)
    cut = "" if limit is None or len(text) <= limit else "…"
    text = text[:limit]
    if isinstance(value, str) or len(text) > COLOURED_LIMIT:
        return Markup(escape(shown(text) + cut))
    parts: list[Markup] = []
    done = 0
    for match in _TOKENS.finditer(text):
        parts += [escape(shown(text[done : match.start()])), _part(match)]
        done = match.end()
    return Markup("").join([*parts, escape(shown(text[done:]) + cut)])


def _part(match: re.Match[str]) -> Markup:
    string, colon, word, number = match.groups()
    if string is None:
        return Markup('<i class="{}">{}</i>').format("j-word" if word else "j-number", word or number)
    kind = "j-key" if colon else "j-text"
    return Markup('<i class="{}">{}</i>{}').format(kind, shown(string), colon or "")


def longer(value: Any, limit: int) -> bool:
    """Return whether a value takes more than *limit* characters to show."""
    return len(pretty(value)) > limit


def _cut(text: str) -> str:
    line = " ".join(text[: BRIEF * 4].split())
    return line if len(line) <= BRIEF else line[: BRIEF - 1] + "…"
