"""arq: the session and the trace of who enqueues a job follow it; without this each job begins with no session.

    from langfuse_integration.hosts.arq import instrument

    instrument()          # where jobs are enqueued, and in the module of the worker's settings

They travel beside the job's arguments, so that retries keep them, and a worker without this ignores them. Two functions
of arq are wrapped, `serialize_job` and `deserialize_job_raw` (0.28); arq runs each job in an asyncio task of its own.
"""

from __future__ import annotations

import functools
from typing import Any

from ..internals import forks
from ..internals.faults import shielded
from .tasks import HEADER, Task, sender_header

_BEGINNING = shielded("beginning an arq job")
_MARKER = "_langfuse_integration_followed"
_lock = forks.Lock()
_follows_sender = False


def instrument() -> None:
    """Have each job continue the trace and the session of who enqueued it; twice is once."""
    global _follows_sender
    from arq import connections, worker  # pyright: ignore[reportMissingImports]

    with _lock:
        _follows_sender = True
        _wrap(connections, "serialize_job", _noting_sender)
        _wrap(worker, "deserialize_job_raw", _beginning)


def uninstrument() -> None:
    """Have jobs that are enqueued or begin from now on continue nothing: each begins with no session."""
    global _follows_sender
    _follows_sender = False


def _wrap(module: Any, name: str, wrapped: Any) -> None:
    original = getattr(module, name, None)
    if callable(original) and not hasattr(original, _MARKER):
        function = functools.wraps(original)(wrapped(original))
        setattr(function, _MARKER, True)
        setattr(module, name, function)


def _noting_sender(original: Any) -> Any:
    def serialize_job(*arguments: Any, serializer: Any = None, **options: Any) -> Any:
        header = sender_header() if _follows_sender else None
        if header is None:
            return original(*arguments, serializer=serializer, **options)
        if serializer is None:
            from arq.jobs import pickle  # pyright: ignore[reportMissingImports]

            serializer = pickle.dumps
        return original(*arguments, serializer=lambda job: serializer({**job, HEADER: header}), **options)

    return serialize_job


def _beginning(original: Any) -> Any:
    def deserialize_job_raw(job: Any, *, deserializer: Any = None) -> Any:
        if not _follows_sender:
            return original(job, deserializer=deserializer)
        if deserializer is None:
            from arq.jobs import pickle  # pyright: ignore[reportMissingImports]

            deserializer = pickle.loads
        headers: list[Any] = []

        def noting(data: Any) -> Any:
            content = deserializer(data)
            headers.append(content.get(HEADER) if isinstance(content, dict) else None)
            return content

        result = original(job, deserializer=noting)
        with _BEGINNING:
            Task(headers[-1] if headers else None).__enter__()  # ends with the job's asyncio task
        return result

    return deserialize_job_raw
