"""Our span processor in any OpenTelemetry provider: ours, the one that a Langfuse client made, the application's own.

A provider is adopted once. Our processor stays the last there, and the processor of a plain Langfuse client exports
nothing, whether it was added before or comes later.
"""

from __future__ import annotations

import weakref
from typing import Any

from ..internals import forks
from ..recording import tracing
from ..settings import settings
from . import private, sdk_clients
from .processor import Stamp, SuppressedClientProcessor

_lock = forks.Lock()
_adopted: weakref.WeakSet[Any] = weakref.WeakSet()


def adopt(provider: Any, sdk: Any, ours: object) -> None:
    """Have the spans of a provider stamped and taken along.

    Args:
        provider: what clients know as their provider.
        sdk: the SDK's provider behind it, which may be the same.
        ours: our own tracer provider.
    """
    with _lock:
        if sdk in _adopted:
            return
        _adopted.add(sdk)
        stamp = Stamp(provider, ours)
        composite = private.composite_of(sdk)
        if composite is None:
            sdk.add_span_processor(stamp)
            return

        def add(processor: Any) -> None:
            with _lock:
                *others, last = composite._span_processors
                kept = [other for other in others if not _replaces(processor, other)]
                composite._span_processors = (*kept, _wrapped(processor, ours), last)

        composite.add_span_processor = add
        wrapped = [_wrapped(processor, ours) for processor in composite._span_processors]
        composite._span_processors = (*wrapped, stamp)
        _take_over(wrapped, ours)


def is_private(provider: Any) -> bool:
    """Return whether only Langfuse reads the spans of *provider*: it has no other processor."""
    return all(
        isinstance(processor, Stamp | SuppressedClientProcessor) or private.is_client_processor(processor)
        for processor in private.processors_of(provider)
    )


def _replaces(processor: Any, other: Any) -> bool:
    """Return whether *processor* belongs to a client that was made anew, after one of the same key had been dropped."""
    if not isinstance(other, SuppressedClientProcessor) or not private.is_client_processor(processor):
        return False
    return bool(processor.public_key == other.inner.public_key)


def _wrapped(processor: Any, ours: object) -> Any:
    if not private.is_client_processor(processor):
        return processor
    sdk_clients.give_way(processor.public_key)
    return SuppressedClientProcessor(processor, ours)


def _take_over(processors: list[Any], ours: object) -> None:
    """Record the spans that wait in the exporters of plain clients: an outage would lose them."""
    for processor in processors:
        if isinstance(processor, SuppressedClientProcessor):
            client = sdk_clients.instances().get(processor.inner.public_key)
            if client is not None and sdk_clients.is_plain(client, settings(), ours):
                for span in private.take_queued(processor.inner):
                    tracing.recorder.record(span)
