"""Text for the terminal. Escape sequences in recorded text are shown, never interpreted."""

from __future__ import annotations

import re
from typing import Any

from rich.cells import cell_len, chop_cells, set_cell_size

# Controls, invisible marks, marks that turn the direction of what follows (Unicode's Cc, Cf, Cs, Zl, Zp).
_DANGEROUS = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SPACES = re.compile(r"(?:[ \t\n]|\r\n)+")


def visible(text: object) -> str:
    """Return *text* with control characters as escapes (`\\x1b`); line breaks stay."""
    return _DANGEROUS.sub(_written, str(text).replace("\r\n", "\n").replace("\t", "    "))


def in_one_line(text: object) -> str:
    """Return *text* on one line: visible, with every run of spaces and line breaks as one space."""
    return visible(_SPACES.sub(" ", str(text)).strip(" "))


def _written(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def fitted(text: str, width: int) -> str:
    """Return *text* cut to *width* columns of a terminal, with a mark where it was cut."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - 1, 0)).rstrip() + "…" if width > 0 else ""


def wrapped(text: str, width: int, most: int | None = None) -> list[str]:
    """Return *text* as lines of at most *width* columns, broken at spaces where there are any.

    Args:
        most: how many lines at most; the last one ends in a mark if something was cut.
    """
    width = max(width, 8)
    lines: list[str] = []
    for paragraph in text.split("\n"):
        lines.extend(_paragraph(paragraph.rstrip(), width))
        if most is not None and len(lines) > most:
            last = lines[most - 1]
            mark = fitted(last + "…", width) if cell_len(last) >= width - 1 else last + " …"
            return [*lines[: most - 1], mark]
    return lines


def _paragraph(text: str, width: int) -> list[str]:
    if cell_len(text) <= width:
        return [text]
    indent = text[: len(text) - len(text.lstrip(" "))][: width // 2]
    lines, line = [], ""
    for word in text.split():
        candidate = f"{line} {word}" if line else indent + word
        if cell_len(candidate) <= width:
            line = candidate
            continue
        if line:
            lines.append(line)
        *whole, line = chop_cells(indent + word, width)
        lines.extend(whole)
    return [*lines, line]


def printable_json(text: str) -> str:
    """Return JSON text without characters that a terminal would interpret."""
    return _DANGEROUS.sub(lambda match: _json_escape(match[0]), text)


def _json_escape(character: str) -> str:
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """Return *value* as JSON that is safe in a terminal."""
    import json

    return printable_json(json.dumps(value, ensure_ascii=False, indent=indent, default=str))
