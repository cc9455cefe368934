"""An anchor: the parent ids and the session that a child takes over."""

from __future__ import annotations

from typing import Protocol

from ..internals.bounded import BoundedDict
from ..sessions.session import Session

companion_parents: BoundedDict[int, int] = BoundedDict(10_000)
"""The spans of other libraries that rows and such spans stand below for destinations beside Langfuse, by their ids."""


class Parent(Protocol):
    """The attributes of a parent that a child needs; an observation, or the anchor of a span.

    Attributes:
        trace, span: ids as integers; a span of 0 is none: the child is a root of that trace.
        session: of the parent, or None.
        origin: the session that was active where the parent started.
        started_ns: wall time in ns since 1970, or 0 when it is not known.
        exported: the parent reaches Langfuse.
        companion: the id of the span that Langfuse does not take and that this parent stands for; destinations beside
            Langfuse get it. Mostly 0.
    """

    @property
    def trace(self) -> int: ...
    @property
    def span(self) -> int: ...
    @property
    def session(self) -> Session | None: ...
    @property
    def origin(self) -> Session | None: ...
    @property
    def started_ns(self) -> int: ...
    @property
    def exported(self) -> bool: ...
    @property
    def companion(self) -> int: ...


class Anchor:
    """The ids and the session of a parent, without its payload; attributes as in `Parent`."""

    __slots__ = ("exported", "origin", "session", "span", "started_ns", "trace")

    companion = 0

    def __init__(
        self,
        trace: int,
        span: int,
        captured: tuple[Session | None, Session | None] = (None, None),
        started_ns: int = 0,
        exported: bool = True,
    ) -> None:
        self.trace = trace
        self.span = span
        self.session, self.origin = captured
        self.started_ns = started_ns
        self.exported = exported

    @classmethod
    def of(cls, parent: Parent) -> Anchor:
        """Return the anchor of *parent*, which keeps nothing else of it alive."""
        anchor = cls.__new__(cls)  # without `__init__`: a call less for each run that ends
        anchor.trace = parent.trace
        anchor.span = parent.span
        anchor.session = parent.session
        anchor.origin = parent.origin
        anchor.started_ns = parent.started_ns
        anchor.exported = parent.exported
        return anchor
