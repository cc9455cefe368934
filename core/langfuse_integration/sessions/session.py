"""A session: the session id, the user id and the trace attributes of observations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypedDict, Unpack, cast

from ..errors import InvalidSession, InvalidSessionType
from ..internals.faults import warn_once

MAX_LENGTH = 200
"""Characters. The Langfuse SDK drops longer ids with a warning, so that the session silently vanishes."""
ENVIRONMENT = re.compile(r"(?!langfuse)[a-z0-9_-]{1,40}")

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class TraceAttributes(TypedDict, total=False):
    """Attributes of every row of a session beside the two ids.

    Attributes:
        tags: short texts that Langfuse filters and sums by.
        metadata: any values by text keys.
        trace_name: the name of the traces.
        version: of the application's part that is at work.
        environment: 1 to 40 of a-z, 0-9, - and _, not starting with langfuse; otherwise that of the settings holds.
        extra: further attributes, under the names that Langfuse has for them: a propagated prompt, an experiment.
    """

    tags: Iterable[str] | None
    metadata: Mapping[str, Any] | None
    trace_name: str | None
    version: str | None
    environment: str | None
    extra: Mapping[str, Any] | None


class Session:
    """An immutable, validated value: the session id, the user id, and the attributes of every row.

    Args:
        session_id: 1 to 200 printable characters, or None for a user without a session.
        user_id: the same, or None.
        attributes: tags, metadata and the rest of `TraceAttributes`.

    Attributes:
        active, propagated: the two sessions that `carrying` has put together; None in any other session. They are no
            part of the value.

    Raises:
        ValueError: an id, tag or name is blank, too long or not printable.
        TypeError: an id, tag or name is no `str`, or *metadata* no mapping.
    """

    __slots__ = (
        "_carrying",
        "_last_over",
        "active",
        "environment",
        "extra",
        "metadata",
        "propagated",
        "session_id",
        "tags",
        "trace_name",
        "user_id",
        "version",
    )

    session_id: str | None
    user_id: str | None
    tags: tuple[str, ...]
    metadata: Mapping[str, Any]
    trace_name: str | None
    version: str | None
    environment: str | None
    extra: Mapping[str, Any]
    active: Session | None
    propagated: Session | None
    _last_over: tuple[Session, Session] | None
    _carrying: Session | None

    def __init__(
        self, session_id: str | None, user_id: str | None = None, **attributes: Unpack[TraceAttributes]
    ) -> None:
        put = object.__setattr__
        put(self, "session_id", None if session_id is None else valid("session_id", session_id))
        put(self, "user_id", None if user_id is None else valid("user_id", user_id))
        for name in ("_last_over", "_carrying", "active", "propagated"):
            put(self, name, None)
        if not attributes:
            for name, nothing in _DEFAULTS.items():
                put(self, name, nothing)
            return
        unknown = attributes.keys() - _DEFAULTS.keys()
        if unknown:
            raise TypeError(f"a Session has no {', '.join(sorted(unknown))}")
        for name, nothing in _DEFAULTS.items():
            value = attributes.get(name)
            put(self, name, nothing if value is None else _VALIDATORS[name](name, value))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Session is immutable: make a new one instead of setting {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Session is immutable: {name} stays")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Session):
            return NotImplemented
        return self._key() == other._key() and self.metadata == other.metadata and self.extra == other.extra

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        attributes = "".join(f", {name}={value!r}" for name, value in self.attributes().items())
        return f"Session({self.session_id!r}, user_id={self.user_id!r}{attributes})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Session.from_values, (self.to_values(),)

    def _key(self) -> tuple[object, ...]:
        return self.session_id, self.user_id, self.tags, self.trace_name, self.version, self.environment

    def attributes(self) -> TraceAttributes:
        """Return the attributes that are set, as the constructor takes them."""
        attributes: dict[str, Any] = {name: getattr(self, name) for name in _DEFAULTS if getattr(self, name)}
        for name in ("metadata", "extra"):
            if name in attributes:
                attributes[name] = dict(attributes[name])
        return cast("TraceAttributes", attributes)

    def to_values(self) -> dict[str, Any]:
        """Return everything that is set, as values that JSON can write if those of the metadata can."""
        values = {"session_id": self.session_id, "user_id": self.user_id, **self.attributes()}
        if self.tags:
            values["tags"] = list(self.tags)
        return {name: value for name, value in values.items() if value is not None}

    @staticmethod
    def from_values(values: Mapping[str, Any]) -> Session:
        """Return the session that `to_values` wrote; names that only a later release knows are ignored."""
        attributes = {name: values[name] for name in _DEFAULTS if name in values}
        return Session(values.get("session_id"), values.get("user_id"), **cast("TraceAttributes", attributes))

    def with_user(self, user_id: str | None) -> Session:
        """Return the same session with another user."""
        return Session(self.session_id, user_id, **self.attributes())

    def over(self, lower: Session | None) -> Session:
        """Return this session with what it leaves open taken from *lower*; tags and metadata are put together.

        From another session nothing is taken over: its user is not this one's.
        """
        if lower is None or lower is self:
            return self
        if self.session_id is not None and lower.session_id not in (None, self.session_id):
            return self
        last = self._last_over
        if last is not None and (last[0] is lower or last[1] is lower):
            return last[1]
        above, below = self.attributes(), lower.attributes()
        merged: TraceAttributes = {**below, **above}
        merged["tags"] = tuple(dict.fromkeys((*lower.tags, *self.tags)))
        merged["metadata"] = {**lower.metadata, **self.metadata}
        merged["extra"] = {**lower.extra, **self.extra}
        user_id = self.user_id if self.user_id is not None else lower.user_id
        session = Session(self.session_id or lower.session_id, user_id, **merged)
        object.__setattr__(self, "_last_over", (lower, session))
        return session

    def carrying(self, propagated: Session | None) -> Session:
        """Return this session over what `propagate_attributes` carries, with both noted; see `propagated`."""
        if propagated is None:
            return self
        last = self._carrying
        if last is not None and last.propagated is propagated:
            return last
        session = Session.from_values(self.over(propagated).to_values())
        object.__setattr__(session, "active", self)
        object.__setattr__(session, "propagated", propagated)
        object.__setattr__(self, "_carrying", session)
        return session

    def as_propagated(self) -> Session:
        """Note that this session is nothing but what `propagate_attributes` carries, and return it."""
        object.__setattr__(self, "propagated", self)
        return self


def usable(source: str, values: Mapping[str, Any]) -> Session | None:
    """Return a session of what can be used of *values*, or None when nothing can; one warning names each other value.

    Args:
        source: where the values come from, for the warning: "the metadata of a LangChain run".
        values: by the names of the arguments of `Session`; None values are left out in silence.
    """
    used: dict[str, Any] = {}
    for name, value in values.items():
        if value is None:
            continue
        if name in ("tags", "metadata", "extra"):
            kept = _usable_parts(source, name, value)
        else:
            kept = _usable(source, name, value, _VALIDATORS.get(name, valid))
        if kept:
            used[name] = kept
    return Session.from_values(used) if used else None


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


def _usable(source: str, name: str, value: object, validate: Callable[[str, Any], Any]) -> Any:
    try:
        return validate(name, value)
    except (TypeError, ValueError) as error:
        warn_once(f"{source} {name} {error}", "A value in %s is left out: %s", source, error)
        return None


def _usable_parts(source: str, name: str, value: Any) -> Any:
    validate = _VALIDATORS[name]
    if isinstance(value, Mapping):
        parts: list[Any] = [{key: item} for key, item in value.items()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        parts = [(item,) for item in value]
    else:
        return _usable(source, name, value, validate)
    kept = [part for part in parts if _usable(source, name, part, validate)]
    if isinstance(value, Mapping):
        return {key: item for part in kept for key, item in part.items()}
    return tuple(item for part in kept for item in part)


def _valid_tags(name: str, tags: Iterable[str]) -> tuple[str, ...]:
    if isinstance(tags, (str, bytes, Mapping)) or not isinstance(tags, Iterable):
        raise InvalidSessionType(name, tags, "a list of str")
    return tuple(valid("tag", tag) for tag in tags)


def _valid_metadata(name: str, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(metadata, Mapping):
        raise InvalidSessionType(name, metadata, "a mapping with str keys")
    for key in metadata:
        if not isinstance(key, str):
            raise InvalidSessionType(f"a {name} key", key)
    return MappingProxyType(dict(metadata)) if metadata else _NOTHING


def _valid_environment(name: str, value: str) -> str:
    environment = valid(name, value)
    if not ENVIRONMENT.fullmatch(environment):
        allowed = "1 to 40 of a-z, 0-9, - and _, not starting with langfuse"
        raise InvalidSession(name, environment, "is no environment of Langfuse", allowed)
    return environment


_DEFAULTS: dict[str, Any] = {
    "tags": (),
    "metadata": _NOTHING,
    "trace_name": None,
    "version": None,
    "environment": None,
    "extra": _NOTHING,
}
_VALIDATORS: dict[str, Callable[[str, Any], Any]] = {
    "tags": _valid_tags,
    "metadata": _valid_metadata,
    "trace_name": valid,
    "version": valid,
    "environment": _valid_environment,
    "extra": _valid_metadata,
}
