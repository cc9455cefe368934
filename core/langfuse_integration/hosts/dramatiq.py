"""Dramatiq: the session and the trace of who sends a message follow it; else each message begins with no session.

    from langfuse_integration.hosts.dramatiq import SessionMiddleware

    broker.add_middleware(SessionMiddleware())      # after the others: where messages are sent, and where they run

They travel in the message's options, so that retries keep them, and a pipeline's next message gets those of the one
before (Dramatiq 2.2).
"""

from __future__ import annotations

import threading
from typing import Any

from dramatiq import Middleware

from ..internals.faults import shielded
from .tasks import HEADER, Task, sender_header

_SENDING = shielded("writing the session into a Dramatiq message")
_BEGINNING = shielded("beginning a Dramatiq message")
_ENDING = shielded("ending a Dramatiq message")


class SessionMiddleware(Middleware):
    """Has each message continue the trace and the session of who sent it."""

    def __init__(self) -> None:
        self._running = _Running()

    def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
        """Write the sender into a message that does not tell of one yet."""
        with _SENDING:
            header = None if HEADER in message.options else sender_header()
            if header is not None:
                message.options[HEADER] = header

    def before_process_message(self, broker: Any, message: Any) -> None:
        """Begin the message in the session of its sender."""
        with _BEGINNING:
            task = Task(message.options.get(HEADER))
            task.__enter__()
            self._running.tasks.append(task)

    def after_process_message(self, broker: Any, message: Any, *, result: Any = None, exception: Any = None) -> None:
        """End the session of the message."""
        with _ENDING:
            if self._running.tasks:
                self._running.tasks.pop().__exit__(None, None, None)

    after_skip_message = after_process_message


class _Running(threading.local):
    """The messages that this thread is processing: one, but where a test's broker runs them in each other."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
