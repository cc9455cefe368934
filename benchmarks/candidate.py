"""This package as a contender of a benchmark harness: the same calls that an application makes.

With export "drop" everything is encoded and then forgotten; with "http" it goes to the receiver given.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

PARENT: Any = object
try:
    from tracebench.contender import Contender as PARENT
except ImportError:
    pass


class Ours(PARENT):  # type: ignore[misc]  # the harness, where there is one, is no dependency
    """SessionHandler, wrap_session, session() and trace_span(), as the README shows them."""

    families = ("langchain", "llamaindex", "mcp", "core")

    def setup(self, setup: Any) -> None:
        """Switch on what the workload's framework needs."""
        os.environ["LANGFUSE_INTEGRATION_JOURNAL"] = os.path.join(tempfile.mkdtemp(prefix="bench-"), "journal.sqlite3")
        if setup.export != "drop":
            os.environ["LANGFUSE_PUBLIC_KEY"], os.environ["LANGFUSE_SECRET_KEY"] = "pk-lf-bench", "sk-lf-bench"
            os.environ["LANGFUSE_BASE_URL"] = setup.endpoint
        from langfuse_integration import langfuse_manager, tracing

        self.manager = langfuse_manager
        self.recorder = tracing.recorder
        self.drop = Drop()
        if setup.export == "drop":
            self.recorder.divert(self.drop.worker)
        self.handler = None
        if setup.family == "langchain":
            from langfuse_integration_langchain import SessionHandler

            langfuse_manager.set_session("session-1", user_id="user-1")
            self.handler = SessionHandler()
        elif setup.family == "llamaindex":
            from langfuse_integration_llamaindex import instrument

            langfuse_manager.set_session("session-1", user_id="user-1")
            instrument()

    def callbacks(self) -> list[Any] | None:
        """The handler to pass in `config`."""
        return [self.handler] if self.handler is not None else None

    def wrap_mcp(self, session: Any) -> Any:
        """The session, traced."""
        from langfuse_integration_mcp import wrap_session

        return wrap_session(session, server_name="bench")

    def session(self, session_id: str) -> Any:
        """A block in a session."""
        return self.manager.session(session_id, user_id="user-1")

    def span(self, name: str, payload: Any) -> Any:
        """A block that is one observation."""
        return _Span(self.manager.trace_span(name, input=payload))

    def flush(self) -> None:
        """Deliver everything."""
        self.manager.flush(30)

    def exported(self) -> int | None:
        """What arrived so far."""
        return self.recorder.result().delivered


class _Span:
    """A span block with the harness's word for setting the output."""

    __slots__ = ("observation", "scope")

    def __init__(self, scope: Any) -> None:
        self.scope = scope

    def __enter__(self) -> _Span:
        self.observation = self.scope.__enter__()
        return self

    def output(self, value: Any) -> None:
        """Set the output."""
        self.observation.update(output=value)

    def __exit__(self, *error: Any) -> None:
        self.scope.__exit__(*error)


class Drop:
    """Encodes as always, and forgets."""

    def __init__(self) -> None:
        self.count = 0

    def worker(self, recorder: Any) -> Any:
        """Return a worker with this as its outlet."""
        from langfuse_integration.delivery.route import encoder
        from langfuse_integration.delivery.worker import Worker
        from langfuse_integration.settings import settings

        self.encoder = encoder(settings())
        return Worker(recorder, self)

    def take(self, finished: Sequence[Any], opened: Sequence[Any], scores: Sequence[Any]) -> None:
        """Encode a batch and forget it."""
        for observation in finished:
            self.encoder.row(observation)
        self.count += len(finished)

    def flush(self, deadline: float) -> None:
        """Nothing is held."""

    def outcome(self) -> tuple[int, int, int]:
        """All is delivered."""
        return self.count, 0, 0

    def reasons(self) -> Mapping[str, int]:
        """Nothing is lost."""
        return {}

    def stop(self) -> None:
        """Nothing to release."""

    def forked(self) -> None:
        """Nothing to let go of."""


def make() -> Ours:
    """Return the contender."""
    return Ours()
