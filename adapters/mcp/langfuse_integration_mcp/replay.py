"""MCP's seam for replays: transports lead to the recording, and no server is started or reached.

A server in the application's own process is a part of the application: it is not replaced.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any

from langfuse_integration.testing_kit.replay.patches import Patches
from langfuse_integration.testing_kit.replay.player import ReplaySession

from . import private
from .instrumentation import instrument, instrumented, uninstrument
from .recorded_answers import RecordedAnswers
from .recorded_server import recorded_transport


@contextmanager
def answering(session: ReplaySession) -> Generator[None]:
    """Answer the MCP clients of this process from *session* within the block: those that connect in it.

    Raises:
        SeamMoved: this release of mcp does not have what is replaced.
    """
    if session.goes_live("mcp"):
        yield
        return
    answers = RecordedAnswers(session)
    patches = Patches()
    was_on = instrumented()
    if not was_on:
        instrument()

    def replaced(transport: str, opener: private.Opener) -> private.Opener:
        return recorded_transport(transport, opener, answers)

    try:
        with private.transports_replaced(replaced):
            patches.wrap(private.sending_class(), "send_request", functools.partial(_refusing, answers))
            yield
    finally:
        patches.undo()
        if not was_on:
            uninstrument()


def _refusing(answers: RecordedAnswers, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Return `send_request` that raises NotRecorded itself, in the place of the protocol's error that stands for it."""

    @functools.wraps(original)
    async def send_request(self: Any, *positional: Any, **named: Any) -> Any:
        try:
            return await original(self, *positional, **named)
        except Exception as error:
            refusal = answers.refusal(error)
            if refusal is not None:
                raise refusal from None
            raise

    return send_request
