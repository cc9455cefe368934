"""langfuse-integration as a contender, used as the README shows."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from langfuse_integration.export.outlet import Outlet

from ..contender import SESSION, USER, Contender, Terms


class Ours(Contender):
    """`SessionHandler`, `instrument`, `wrap_session`, `session` and `trace_span`."""

    def begin(self, terms: Terms) -> None:
        """Switch tracing on for the framework, with a journal of its own."""
        # As with keys: without them the exact form of answers is kept for replays as well.
        os.environ.setdefault("LANGFUSE_INTEGRATION_REPLAYABLE", "0")
        os.environ["LANGFUSE_INTEGRATION_JOURNAL"] = str(Path(tempfile.mkdtemp(prefix="bench-")) / "journal.sqlite3")
        if terms.delivery == "http":
            os.environ["LANGFUSE_PUBLIC_KEY"], os.environ["LANGFUSE_SECRET_KEY"] = "pk-lf-bench", "sk-lf-bench"
            os.environ["LANGFUSE_BASE_URL"] = terms.address
        from langfuse_integration import langfuse_manager
        from langfuse_integration.recording import tracing

        self.manager = langfuse_manager
        self.recorder = tracing.recorder
        if terms.delivery == "discard":
            self.recorder.divert(Discarding().worker)
            self.recorder.replayable = False  # as the worker sets it
        self.callbacks: list[Any] = []
        if terms.framework != "blocks":
            langfuse_manager.set_session(SESSION, user_id=USER)
        if terms.framework == "langchain":
            from langfuse_integration_langchain import SessionHandler

            self.callbacks = [SessionHandler()]
        elif terms.framework == "llamaindex":
            from langfuse_integration_llamaindex import instrument

            instrument()

    def config(self) -> dict[str, Any]:
        """Return the callback handler."""
        return {"callbacks": self.callbacks}

    def client(self, session: Any) -> Any:
        """Return the session, traced."""
        from langfuse_integration_mcp import wrap_session

        return wrap_session(session, server_name="stock")

    def session(self, session_id: str) -> AbstractContextManager[Any]:
        """Return a block in a session."""
        return self.manager.session(session_id, USER)

    def block(self, name: str, given: Any) -> AbstractContextManager[Any]:
        """Return a block that is one observation."""
        return self.manager.trace_span(name, input=given)

    def deliver(self) -> None:
        """Deliver everything."""
        self.manager.flush(60)

    def delivered(self) -> int | None:
        """Return how many observations were delivered."""
        return self.recorder.result().delivered


class Discarding(Outlet):
    """Encodes observations as for Langfuse, and discards them."""

    def __init__(self) -> None:
        self.count = 0

    def worker(self, recorder: Any) -> Any:
        """Return a worker that writes to this outlet."""
        from langfuse_integration.encoding.row import Encoder
        from langfuse_integration.export.worker import Worker
        from langfuse_integration.settings import settings

        self.encoder = Encoder.from_settings(settings(), shares=True)
        return Worker(recorder, self)

    def take(self, finished: Sequence[Any], opened: Sequence[Any], scores: Sequence[Any]) -> None:
        """Encode a batch and discard it."""
        for observation in finished:
            self.encoder.row(observation)
        self.count += len(finished)

    def outcome(self) -> tuple[int, int, int]:
        """Return that all is delivered."""
        return self.count, 0, 0
