"""Values as JSON text: by orjson; if that refuses or the text is too long, by a careful walk that marks what it cuts.

Runs on the worker. orjson refuses cycles, lone surrogates and huge integers.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

from ..recording.noted import Noted, as_it_was
from .fragments import StateReader, copied, fragments

Converter = Callable[[Any], Any]

# -- converters of framework types

_converters: dict[type, Converter] = {Noted: as_it_was}
_resolved: weakref.WeakKeyDictionary[type, Converter | None] = weakref.WeakKeyDictionary()
_states: dict[type, StateReader] = {}
_contents: dict[type, Converter] = {}


def register(
    kind: type, converter: Converter, *, state: StateReader | None = None, content: Converter | None = None
) -> None:
    """Serialise objects of *kind* and its subclasses by *converter*.

    Args:
        kind: a class of a framework; the nearest registered base of an object's class counts.
        converter: returns dicts, lists, text and numbers, or objects of other registered kinds.
        state: returns what the JSON of an object is made of; the JSON is cached until that has changed.
        content: returns something that is equal for two objects only if their JSON is, or None where it cannot tell.
    """
    _converters[kind] = converter
    if content is not None:
        _contents[kind] = content
    if state is not None:
        _states[kind] = state
    _resolved.clear()


def _converter_of(kind: type) -> Converter | None:
    try:
        return _resolved[kind]
    except KeyError:
        pass
    converter: Converter | None = None
    for base in kind.__mro__:
        if base in _converters:
            converter = _converters[base]
            if base in _states:
                converter = _once(converter, _states[base])
            break
    _resolved[kind] = converter
    return converter


def state_reader(kind: type) -> StateReader | None:
    """Return what reads the state of objects of *kind*; None if their JSON is not cached."""
    reader: StateReader | None = getattr(_converter_of(kind), "state", None)
    return reader


def content_of(value: Any) -> Any:
    """Return what tells *value* from others of its class with another JSON; None if only the JSON does."""
    content = _contents.get(type(value))
    return content(value) if content is not None else None


def _once(converter: Converter, read: StateReader) -> Converter:
    import orjson

    def convert(value: Any) -> Any:
        current = read(value)
        state = copied(current)
        text = orjson.dumps(converter(value), default=plainer, option=_options())
        fragment = orjson.Fragment(text)
        if state is not current:  # it could be copied
            fragments.put(value, fragment, len(text), read, state)
        return fragment

    convert.plain = converter  # type: ignore[attr-defined]  # the careful walk needs values, not text
    convert.state = read  # type: ignore[attr-defined]
    return convert


# -- when written

MAX_FIELD_BYTES = 1024 * 1024
MAX_KEY_BYTES = 1024
CUT = "... [cut: {size} bytes in all]"
MARKER_BYTES = 50


def to_json(value: Any, limit_bytes: int = MAX_FIELD_BYTES) -> str:
    """Return *value* as JSON text of about *limit_bytes* at most; what was cut says so. Never raises.

    A `str` stays as it is, as the Langfuse SDK sends it, except that an empty one is written as `""`: an empty
    attribute would hide every fallback of the server.
    """
    if isinstance(value, str):
        return _text(str.__str__(value), limit_bytes) or '""'
    try:
        text = dumps(value)
    except Exception:  # noqa: BLE001  values of the application
        text = b""
    if text and len(text) <= limit_bytes:
        return text.decode()
    return _carefully(value, limit_bytes, len(text))


def plain(value: Any) -> Any:
    """Return *value* as it is serialised, in dicts, lists, text and numbers. Never raises."""
    if type(value) is str:
        return value
    import orjson

    try:
        text = dumps(value)
    except Exception:  # noqa: BLE001  values of the application
        text = _carefully(value, MAX_FIELD_BYTES, 0).encode()
    return orjson.loads(text)


def dumps(value: Any, default: Converter | None = None) -> bytes:
    """Return *value* as JSON; raises TypeError for what orjson refuses.

    Args:
        default: converts values that orjson does not know; `plainer` if None.
    """
    import orjson

    return orjson.dumps(value, default=default or plainer, option=_options())


def _options() -> int:
    import orjson

    # Dataclasses come to `plainer`, so that a registered converter holds for them too.
    return orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS


def _text(value: str, limit_bytes: int) -> str:
    if value.isascii():
        return value if len(value) <= limit_bytes else value[:limit_bytes] + CUT.format(size=len(value))
    encoded = value.encode("utf-8", "backslashreplace")
    if len(encoded) <= limit_bytes:
        return encoded.decode()
    return encoded[:limit_bytes].decode("utf-8", "ignore") + CUT.format(size=len(encoded))


def _carefully(value: Any, limit_bytes: int, size_bytes: int) -> str:
    walk = Walk(limit_bytes)
    try:
        return dumps(walk.plain(value, 0)).decode()
    except Exception as error:  # noqa: BLE001  values of the application
        return dumps(
            {"unserializable": type(value).__name__, "because": type(error).__name__, "size_bytes": size_bytes}
        ).decode()


class Walk:
    """One careful pass over a value: cuts cycles, depth and length, each with a marker in its place."""

    MAX_DEPTH = 40

    def __init__(self, limit_bytes: int) -> None:
        self.left = limit_bytes
        self._open: set[int] = set()

    def plain(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (int, float)):
            self.left -= 8
            return value if isinstance(value, float) or -(2**63) <= value < 2**63 else str(value)[:1000]
        if isinstance(value, str):
            return self.string(value)
        if id(value) in self._open:
            return "[cycle]"
        if depth > self.MAX_DEPTH:
            return "[cut: nested too deep]"
        self._open.add(id(value))
        try:
            return self._compound(value, depth)
        finally:
            self._open.discard(id(value))

    def _compound(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._sequence(value, depth)
        converter = _converter_of(type(value))
        converted = getattr(converter, "plain", converter)(value) if converter else plainer(value)
        return self.plain(converted, depth + 1)

    def string(self, value: str) -> Any:
        limit = max(self.left, 0)
        text = _text(value, limit)
        size_bytes = len(dumps(text))
        if size_bytes > limit + MARKER_BYTES:  # of characters that JSON escapes
            text = _text(value, limit * limit // size_bytes)
            size_bytes = len(dumps(text))
        self.left -= size_bytes
        return text

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for done, (key, item) in enumerate(value.items()):
            if self.left <= 0:
                plain["[cut]"] = f"{len(value) - done} more entries"
                break
            name = _text(key if isinstance(key, str) else _shown(key), MAX_KEY_BYTES)
            self.left -= len(name) if name.isascii() else len(name.encode())
            plain[name] = self.plain(item, depth + 1)
        return plain

    def _sequence(self, value: Any, depth: int) -> list[Any]:
        plain: list[Any] = []
        for done, item in enumerate(value):
            if self.left <= 0:
                plain.append(f"[cut: {len(value) - done} more items]")
                break
            self.left -= 2
            plain.append(self.plain(item, depth + 1))
        return plain


def plainer(value: Any) -> Any:
    """Return something plainer for a value that orjson does not know."""
    fragment = fragments.get(value)
    if fragment is not None:
        return fragment
    kind = type(value)
    converter = _converter_of(kind)
    if converter is not None:
        return converter(value)
    for base, convert in _PLAINER:
        if isinstance(value, base):
            return convert(value)
    fields = getattr(kind, "__dataclass_fields__", None) or getattr(kind, "model_fields", None)
    if isinstance(fields, Mapping):
        return {name: getattr(value, name, None) for name in fields if not name.startswith("_")}
    if callable(value) and hasattr(value, "__name__"):
        return f"<function {value.__name__}>"
    return _shown(value)


def uncached(value: Any) -> Any:
    """Return something plainer as `plainer` does, without the JSON that the worker's thread caches."""
    converter = _converter_of(type(value))
    return plainer(value) if converter is None else getattr(converter, "plain", converter)(value)


def _bytes(value: bytes | bytearray | memoryview) -> str:
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        return f"<{len(value)} bytes>"


def _exception(value: BaseException) -> str:
    return f"{type(value).__name__}: {value}"


def _class(value: type) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _shown(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001  values of the application
        return f"<{type(value).__name__}: its text raised {type(error).__name__}>"


_PLAINER: tuple[tuple[type | tuple[type, ...], Converter], ...] = (
    ((set, frozenset, tuple), list),
    ((str, int), str),
    (Mapping, dict),
    (list, list),
    ((bytes, bytearray, memoryview), _bytes),
    (BaseException, _exception),
    (type, _class),
)
"""How values of no registered type are written; the first base that fits counts."""
