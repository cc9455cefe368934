"""Values as JSON text: orjson first; where that refuses or the text is too long, a careful walk that cuts and says so.

Runs on the worker. orjson refuses cycles, lone surrogates and huge integers.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import orjson

Converter = Callable[[Any], Any]

# -- how types of the frameworks read

_converters: dict[type, Converter] = {}
_resolved: weakref.WeakKeyDictionary[type, Converter | None] = weakref.WeakKeyDictionary()
_cached_types: set[type] = set()


def register(kind: type, converter: Converter, *, immutable: bool = False) -> None:
    """Write objects of *kind* (and its subclasses) as *converter* turns them into plain values.

    Args:
        kind: a class of a framework; the nearest registered base of an object's class counts.
        converter: gives something made of dict, list, str, numbers, or of other registered kinds.
        immutable: the object never changes once it is seen, so that its JSON is made only once.
    """
    _converters[kind] = converter
    if immutable:
        _cached_types.add(kind)
    _resolved.clear()


def _converter_of(kind: type) -> Converter | None:
    try:
        return _resolved[kind]
    except KeyError:
        pass
    found: Converter | None = None
    for base in kind.__mro__:
        if base in _converters:
            found = _converters[base]
            if base in _cached_types:
                found = _once(found)
            break
    _resolved[kind] = found
    return found


# -- each message once

FRAGMENT_BYTES = 16 * 1024 * 1024


class _Fragments:
    """JSON of immutable objects by identity: weak, bounded in bytes, the least recently used go first."""

    def __init__(self, limit_bytes: int = FRAGMENT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._held: OrderedDict[int, tuple[weakref.ref[Any], orjson.Fragment, int]] = OrderedDict()

    def get(self, value: object) -> orjson.Fragment | None:
        key = id(value)
        held = self._held.get(key)
        if held is None or held[0]() is not value:
            return None
        self._held.move_to_end(key)
        return held[1]

    def put(self, value: object, fragment: orjson.Fragment, size_bytes: int) -> None:
        key = id(value)
        try:
            reference = weakref.ref(value)
        except TypeError:
            return
        self._drop(key)
        self._held[key] = (reference, fragment, size_bytes)
        self._size_bytes += size_bytes
        while self._size_bytes > self._limit_bytes and self._held:
            self._drop(next(iter(self._held)))

    def sweep(self) -> None:
        """Forget what no longer lives."""
        for key in [key for key, (reference, *_) in self._held.items() if reference() is None]:
            self._drop(key)

    def _drop(self, key: int) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self._size_bytes -= held[2]

    def __len__(self) -> int:
        return len(self._held)


fragments = _Fragments()


def _once(converter: Converter) -> Converter:
    import orjson

    def convert(value: Any) -> Any:
        text = orjson.dumps(converter(value), default=_default, option=_options())
        fragment = orjson.Fragment(text)
        fragments.put(value, fragment, len(text))
        return fragment

    convert.plain = converter  # type: ignore[attr-defined]  # the careful walk needs values, not text
    return convert


# -- when written

MAX_FIELD_BYTES = 1024 * 1024
MAX_KEY_BYTES = 1024
CUT = "... [cut: {size} bytes in all]"


def to_json(value: Any, limit_bytes: int = MAX_FIELD_BYTES) -> str:
    """Return *value* as JSON text of about *limit_bytes* at most; what was cut says so. Never raises.

    A `str` stays as it is, as the Langfuse SDK sends it, except that an empty one is written as `""`: an empty
    attribute would hide every fallback of the server.
    """
    if type(value) is str:
        return _text(value, limit_bytes) or '""'
    try:
        text = dumps(value)
    except Exception:  # noqa: BLE001  values of strangers
        text = b""
    if text and len(text) <= limit_bytes:
        return text.decode()
    return _carefully(value, limit_bytes, len(text))


def plain(value: Any) -> Any:
    """Return *value* as it is written, in dicts, lists, text and numbers: for those who look into it. Never raises."""
    if type(value) is str:
        return value
    import orjson

    try:
        text = dumps(value)
    except Exception:  # noqa: BLE001  values of strangers
        text = _carefully(value, MAX_FIELD_BYTES, 0).encode()
    return orjson.loads(text)


def dumps(value: Any) -> bytes:
    """Return *value* as JSON; raises TypeError for what orjson refuses."""
    import orjson

    return orjson.dumps(value, default=_default, option=_options())


def _options() -> int:
    import orjson

    # Dataclasses come to `_default`, so that a registered converter holds for them too.
    return orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS


def _text(value: str, limit_bytes: int) -> str:
    clean = value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if len(clean) <= limit_bytes:
        return clean
    return clean[:limit_bytes] + CUT.format(size=len(clean.encode()))


def _carefully(value: Any, limit_bytes: int, size_bytes: int) -> str:
    walk = _Walk(limit_bytes)
    try:
        return dumps(walk.plain(value, 0)).decode()
    except Exception as error:  # noqa: BLE001  values of strangers
        return dumps(
            {"unserializable": type(value).__name__, "because": type(error).__name__, "size_bytes": size_bytes}
        ).decode()


class _Walk:
    """One careful pass over a value: cuts cycles, depth and length, each with a marker in its place."""

    MAX_DEPTH = 40

    def __init__(self, limit_bytes: int) -> None:
        self._left = limit_bytes
        self._open: set[int] = set()

    def plain(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (int, float)):
            self._left -= 8
            return value if isinstance(value, float) or -(2**63) <= value < 2**63 else str(value)[:1000]
        if isinstance(value, str):
            return self._string(value)
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
        converted = getattr(converter, "plain", converter)(value) if converter else _default(value)
        return self.plain(converted, depth + 1)

    def _string(self, value: str) -> str:
        text = _text(value, max(self._left, 0))
        self._left -= len(text)
        return text

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for done, (key, item) in enumerate(value.items()):
            if self._left <= 0:
                plain["[cut]"] = f"{len(value) - done} more entries"
                break
            name = _text(key if isinstance(key, str) else _shown(key), MAX_KEY_BYTES)
            self._left -= len(name)
            plain[name] = self.plain(item, depth + 1)
        return plain

    def _sequence(self, value: Any, depth: int) -> list[Any]:
        plain: list[Any] = []
        for done, item in enumerate(value):
            if self._left <= 0:
                plain.append(f"[cut: {len(value) - done} more items]")
                break
            self._left -= 2
            plain.append(self.plain(item, depth + 1))
        return plain


def _default(value: Any) -> Any:
    """Return something plainer for a value that orjson does not know."""
    written = fragments.get(value)
    if written is not None:
        return written
    kind = type(value)
    converter = _converter_of(kind)
    if converter is not None:
        return converter(value)
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    if isinstance(value, (str, int)):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, list):
        return list(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bytes(bytes(value))
    if isinstance(value, BaseException):
        return f"{kind.__name__}: {value}"
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    fields = getattr(kind, "__dataclass_fields__", None) or getattr(kind, "model_fields", None)
    if isinstance(fields, Mapping):
        return {name: getattr(value, name, None) for name in fields if not name.startswith("_")}
    if callable(value) and hasattr(value, "__name__"):
        return f"<function {value.__name__}>"
    return _shown(value)


def _bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"<{len(value)} bytes>"


def _shown(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001  values of strangers
        return f"<{type(value).__name__}: its text raised {type(error).__name__}>"
