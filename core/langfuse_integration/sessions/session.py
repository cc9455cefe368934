"""A session: who the next observations belong to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from ..errors import InvalidSession, InvalidSessionType

MAX_LENGTH = 200
"""Characters. The Langfuse SDK drops longer ids with a warning, so that the session silently vanishes."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Session:
    """An immutable, validated value: the session id, the user id, tags and metadata.

    Args:
        session_id: 1 to 200 printable characters, or None for a user without a session.
        user_id: the same, or None.
        tags: short texts that Langfuse shows on the session's traces.
        metadata: any values by text keys, shown on the session's traces.

    Raises:
        ValueError: an id or tag is blank, too long or not printable.
        TypeError: an id or tag is no `str`, or *metadata* no mapping.
    """

    __slots__ = ("metadata", "session_id", "tags", "user_id")

    session_id: str | None
    user_id: str | None
    tags: tuple[str, ...]
    metadata: Mapping[str, Any]

    def __init__(
        self,
        session_id: str | None,
        user_id: str | None = None,
        *,
        tags: Iterable[str] | None = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        put = object.__setattr__
        put(self, "session_id", None if session_id is None else valid("session_id", session_id))
        put(self, "user_id", None if user_id is None else valid("user_id", user_id))
        put(self, "tags", _valid_tags(tags))
        put(self, "metadata", _valid_metadata(metadata))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Session is immutable: make a new one instead of setting {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Session is immutable: {name} stays")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Session):
            return NotImplemented
        return self._key() == other._key() and self.metadata == other.metadata

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        extras = "".join(
            f", {name}={value!r}" for name, value in (("tags", self.tags), ("metadata", dict(self.metadata))) if value
        )
        return f"Session({self.session_id!r}, user_id={self.user_id!r}{extras})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.session_id, self.user_id, self.tags, dict(self.metadata))

    def _key(self) -> tuple[object, ...]:
        return self.session_id, self.user_id, self.tags

    def with_user(self, user_id: str | None) -> Session:
        """Return the same session with another user."""
        return Session(self.session_id, user_id, tags=self.tags, metadata=self.metadata)


def _rebuild(session_id: str | None, user_id: str | None, tags: tuple[str, ...], metadata: dict[str, Any]) -> Session:
    return Session(session_id, user_id, tags=tags, metadata=metadata)


def valid(what: str, value: object) -> str:
    """Return *value* stripped, or raise the reason why Langfuse could not group by it."""
    if not isinstance(value, str):
        raise InvalidSessionType(what, value)
    text = value.strip()
    if not text:
        raise InvalidSession(what, value, "is blank")
    if len(text) > MAX_LENGTH:
        raise InvalidSession(what, text, f"has {len(text)} characters")
    if not text.isprintable():
        raise InvalidSession(what, text, "has characters that cannot be printed")
    return text


def _valid_tags(tags: Iterable[str] | None) -> tuple[str, ...]:
    if not tags:
        return ()
    if isinstance(tags, str):
        raise InvalidSessionType("tags", tags, "a list of str")
    return tuple(valid("tag", tag) for tag in tags)


def _valid_metadata(metadata: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if not metadata:
        return _NOTHING
    if not isinstance(metadata, Mapping):
        raise InvalidSessionType("metadata", metadata, "a mapping with str keys")
    for key in metadata:
        if not isinstance(key, str):
            raise InvalidSessionType("a metadata key", key)
    return MappingProxyType(dict(metadata))
