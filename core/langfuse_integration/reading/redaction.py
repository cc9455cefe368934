"""How secrets are hidden before values are compared or written.

Two rules: readers such as `lfi diff` and the viewer hide whatever may be a secret by the name of its entry. Session
files, and replays that compare with them, hide secrets in texts as well, and leave answers as they are else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..internals.secrets import SECRET, without_secrets
from .portable import in_texts, portable_text
from .secret_spans import Span, hidden, spans_of
from .secret_values import secrets_changed


class Redaction(NamedTuple):
    """A rule.

    Attributes:
        values: hides secrets among plain values, by the names of their entries.
        text: hides those in one text, and the machine's folders.
    """

    values: Callable[[Any], Any]
    text: Callable[[str], str]


def _by_their_names(value: Any) -> Any:
    return secrets_changed(value, lambda _: SECRET)


BY_NAMES = Redaction(without_secrets, portable_text)
IN_FILES = Redaction(_by_their_names, hidden)

_STREAMED = ("chunks", "pieces")
"""Entries of an answer that hold the parts of a stream."""
_DELTAS = frozenset("=~#+")
"""Keys by which a part says how it differs from the one before."""
_APPENDED = frozenset({"content", "text", "args", "arguments", "partial_json", "reasoning_content", "thinking"})
"""Entries of a part whose text continues that of the part before."""


class _Continued(str):
    """A part of a text, of which what the whole text shows is hidden: what it seems to be by itself does not count."""

    __slots__ = ()


def redacted(value: Any) -> Any:
    """Return *value* for a session file: with markers for secrets, and `.`, `~` and `<tmp>` for folders."""
    return in_texts(_by_their_names(value), hidden)


def answer_redacted(form: dict[str, Any] | None) -> Any:
    """Return the exact form of an answer as `redacted` does, also without secrets in several parts of its stream."""
    if form is None:
        return None
    streams = {key: _parts_redacted(form[key]) for key in _STREAMED if isinstance(form.get(key), list)}
    return in_texts(_by_their_names({**form, **streams}), _hidden_unless_continued)


def _hidden_unless_continued(text: str) -> str:
    return str(text) if isinstance(text, _Continued) else hidden(text)


def _parts_redacted(parts: list[Any]) -> list[Any]:
    columns: dict[tuple[str, ...], list[str]] = {}
    replaced: set[tuple[str, ...]] = set()
    for part in parts:
        for place, text, is_whole in _texts(part):
            column = columns.setdefault(place, [])
            if is_whole and any(column):
                replaced.add(place)
            column.append(text)
    changed: dict[tuple[str, ...], Iterator[str]] = {}
    for place, column in columns.items():
        if len(column) < 2:
            continue
        pieces = _pieces(column)
        is_text = place[-1] in _APPENDED and place not in replaced
        changed[place] = map(_Continued, pieces) if is_text else iter(pieces)
    return [_replaced(part, (), changed) for part in parts] if changed else parts


def _texts(
    part: Any, place: tuple[str, ...] = (), *, is_whole: bool = False
) -> Iterator[tuple[tuple[str, ...], str, bool]]:
    """Yield the texts of a part by their places, which are the same in all parts, and whether each is a text itself."""
    if isinstance(part, str):
        yield place or ("content",), part, is_whole
    elif isinstance(part, (dict, list)):
        for key, item in _items(part):
            below = place if key in _DELTAS else (*place, key)
            is_own = key == "=" or (isinstance(part, list) and not _is_indexed(item))
            yield from _texts(item, below, is_whole=is_whole or is_own)


def _is_indexed(item: Any) -> bool:
    """Return whether an item of a list says which item it continues; LangChain appends one that does not."""
    return isinstance(item, dict) and item.get("index") is not None


def _items(part: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(part, dict):
        yield from part.items()
        return
    for index, item in enumerate(part):
        yield str(item.get("index", index)) if isinstance(item, dict) else str(index), item


def _replaced(part: Any, place: tuple[str, ...], changed: dict[tuple[str, ...], Iterator[str]]) -> Any:
    if isinstance(part, str):
        texts = changed.get(place or ("content",))
        return next(texts) if texts is not None else part
    if isinstance(part, (dict, list)):
        items = [
            (key, _replaced(item, place if key in _DELTAS else (*place, key), changed)) for key, item in _items(part)
        ]
        return dict(items) if isinstance(part, dict) else [item for _, item in items]
    return part


def _pieces(texts: list[str]) -> list[str]:
    """Return the texts of one place without what their sum shows to be a secret."""
    spans = spans_of("".join(texts))
    if not spans:
        return texts
    pieces, at, first, last = [], 0, 0, 0
    for text in texts:
        while first < len(spans) and spans[first].end <= at:
            first += 1
        while last < len(spans) and spans[last].start < at + len(text):
            last += 1
        pieces.append(_piece(text, at, spans[first:last]))
        at += len(text)
    return pieces


def _piece(text: str, at: int, spans: list[Span]) -> str:
    """Return a piece that begins at *at* without the spans in it; a marker stands where its secret begins."""
    kept, end = [], at
    for span in spans:
        kept.append(text[end - at : max(span.start - at, 0)])
        if span.start >= at:
            kept.append(span.mark)
        end = min(span.end, at + len(text))
    return "".join([*kept, text[end - at :]])
