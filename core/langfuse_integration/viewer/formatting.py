"""Texts and values as the pages show them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zlib import crc32

from markupsafe import Markup, escape

from ..encoding.messages import RESULT_KEYS, text_of
from ..presentation import in_and_out, summary_of
from ..reading.replay import Observed

LANES = 6
"""Colours for agents."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
# Marks that turn the direction of what follows, or are not to be seen: Unicode's Cf as far as texts abuse it.
_UNSEEN = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_LONE = re.compile("[\ud800-\udfff]")
_TOKENS = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)')
BRIEF, ARGUMENTS_BRIEF = 160, 60
COLOURED_LIMIT = 20_000
"""Longer JSON is shown in one colour."""


def shown(text: object) -> str:
    """Return *text* with control characters shown as symbols and invisible characters as escapes."""
    pictured = _CONTROL.sub(lambda match: "\u2421" if match[0] == "\x7f" else chr(0x2400 + ord(match[0])), str(text))
    return _LONE.sub(_written, _UNSEEN.sub(_written, pictured))


def _written(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def iso(at_ns: int) -> str:
    """Return a point in time for `<time datetime>`."""
    return datetime.fromtimestamp(at_ns / 1e9).astimezone().isoformat(timespec="milliseconds")


def brief(observation: Observed) -> str:
    """Return an observation's result in one line."""
    return _cut(summary_of(observation))


def exchange(observation: Observed) -> str:
    """Return in one line what went into a tool and what came out of it; of any other step its result."""
    if observation.type != "tool" or observation.level == "ERROR" or not observation.input:
        return brief(observation)
    given = _cut(in_and_out(observation, "in"), ARGUMENTS_BRIEF)
    return _cut(f"{given} → {summary_of(observation)}") if observation.output is not None else given


def lane(agent: str) -> int:
    """Return the colour of an agent: the same for the same name, on every page."""
    return crc32(agent.encode(errors="replace")) % LANES


def plain_text(value: Any) -> str | None:
    """Return the text of text blocks, as MCP tools answer them; None for any other value."""
    if isinstance(value, Mapping) and "content" in value and value.keys() <= RESULT_KEYS:
        return plain_text(value["content"])
    if not isinstance(value, list) or not value:
        return None
    blocks: list[Any] = value
    typed = all(isinstance(block, Mapping) and (block.get("type") or block.get("block_type")) for block in blocks)
    return text_of(blocks) if typed else None


def pretty(value: Any) -> str:
    """Return a value as indented JSON, and text as it is."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)


def coloured(value: Any, limit: int | None = None) -> Markup:
    """Return a value as HTML: text and text blocks as text, anything else as indented JSON with its parts in colour.

    Args:
        limit: cut after so many characters.
    """
    text = plain_text(value)
    return coloured_json(value if text is None else text, limit)


def coloured_json(value: Any, limit: int | None = None) -> Markup:
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


def _cut(text: str, most: int = BRIEF) -> str:
    line = " ".join(text[: most * 4].split())
    return line if len(line) <= most else line[: most - 1] + "…"
