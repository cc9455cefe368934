"""Private parts of OpenTelemetry and of Langfuse's SDK, feature-detected; each accessor names its fallback.

OpenTelemetry API and SDK 1.33 to 1.45:
- `opentelemetry.context._RUNTIME_CONTEXT`, an object with `_current_context`, a ContextVar.
- `opentelemetry.trace._TRACER_PROVIDER` and `_TRACER_PROVIDER_SET_ONCE`, an `opentelemetry.util._once.Once`.
- `TracerProvider._active_span_processor._span_processors`, a tuple that is replaced as a whole.
- `BatchSpanProcessor._batch_processor._queue`, a deque; until opentelemetry-sdk 1.33 `BatchSpanProcessor.queue`.

langfuse 4.7 to 5.0:
- `langfuse._client.resource_manager.LangfuseResourceManager._instances`, resource managers by public key.
- A resource manager's `api` and `async_api`, without which `auth_check()` says False, and `add_score_task`: it takes a
  score as a dictionary keyed by API field names (5.0), or an event with such a score as `body` (4.7).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from opentelemetry import context as context_api
from opentelemetry import trace as trace_api

from ..internals.loaded import loaded

CLIENT_PROCESSOR = "LangfuseSpanProcessor"

RUNTIME_CONTEXT, TRACER_PROVIDER, SET_ONCE = "_RUNTIME_CONTEXT", "_TRACER_PROVIDER", "_TRACER_PROVIDER_SET_ONCE"
"""Private names of the OpenTelemetry API, in 1.30 to 1.45."""


def context_variable() -> ContextVar[Any] | None:
    """Return the ContextVar behind OpenTelemetry's runtime context; None when it is kept elsewhere."""
    variable = getattr(getattr(context_api, RUNTIME_CONTEXT, None), "_current_context", None)
    return variable if isinstance(variable, ContextVar) else None


def runtime_context() -> Any:
    """Return OpenTelemetry's runtime context, or None when it is not where it was."""
    return getattr(context_api, RUNTIME_CONTEXT, None)


def replace_runtime_context(runtime: Any) -> None:
    """Have all functions of `opentelemetry.context` use *runtime*."""
    setattr(context_api, RUNTIME_CONTEXT, runtime)


def be_global(provider: Any, replaced: Callable[[], None]) -> None:
    """Make *provider* the global tracer provider, and let the application replace it once.

    OpenTelemetry refuses a second `set_tracer_provider`: the application's own, set later, would be ignored. Where the
    private parts are missing, *provider* is set for good.

    Args:
        replaced: called when the application has set its own.
    """
    once: Any = getattr(trace_api, SET_ONCE, None)
    if not hasattr(trace_api, TRACER_PROVIDER) or not callable(getattr(once, "do_once", None)):
        trace_api.set_tracer_provider(provider)
        return

    class Replaceable(type(once)):  # type: ignore[misc]  # a class that is found at run time
        def do_once(self, func: Callable[[], None]) -> bool:
            done = bool(super().do_once(func))
            if done:
                replaced()
            return done

    setattr(trace_api, TRACER_PROVIDER, provider)
    setattr(trace_api, SET_ONCE, Replaceable())


def composite_of(provider: Any) -> Any:
    """Return what holds the span processors of an SDK provider; None when they are not where they were."""
    composite = getattr(provider, "_active_span_processor", None)
    return composite if isinstance(getattr(composite, "_span_processors", None), tuple) else None


def processors_of(provider: Any) -> tuple[Any, ...]:
    """Return the span processors of an SDK provider, in the order in which they are called."""
    composite = composite_of(provider)
    return composite._span_processors if composite is not None else ()


def is_client_processor(processor: Any) -> bool:
    """Return whether *processor* is the one of a Langfuse client."""
    return any(kind.__name__ == CLIENT_PROCESSOR for kind in type(processor).__mro__)


def take_queued(processor: Any) -> list[Any]:
    """Return the ended spans that wait in a batch processor for their export, and remove them from it."""
    queue = getattr(getattr(processor, "_batch_processor", None), "_queue", None)
    if queue is None:
        queue = getattr(processor, "queue", None)  # until opentelemetry-sdk 1.33
    spans: list[Any] = []
    while isinstance(queue, deque):
        try:
            spans.append(queue.pop())  # the newest are at its left
        except IndexError:
            break
    return spans


def client_instances() -> dict[str, Any] | None:
    """Return the resource managers of the Langfuse clients by public key, or None before langfuse is loaded."""
    manager = loaded("langfuse._client.resource_manager", "LangfuseResourceManager")
    instances = getattr(manager, "_instances", None)
    return instances if isinstance(instances, dict) else None


def disconnect(client: Any) -> None:
    """Keep a client without a server from making requests.

    Args:
        client: its resource manager.
    """
    client.api = client.async_api = None


def divert_scores(client: Any, take: Callable[[dict[str, Any]], bool]) -> None:
    """Offer the scores of a client to *take*, keyed by API field names; those that it refuses go the client's own way.

    Args:
        client: its resource manager. A client without `add_score_task` keeps its scores.
    """
    own = getattr(client, "add_score_task", None)
    if not callable(own) or isinstance(own, _DivertedScores):
        return
    client.add_score_task = _DivertedScores(client, own, take)


class _DivertedScores:
    """The method of a client that queues a score."""

    def __init__(self, client: Any, own: Callable[..., object], take: Callable[[dict[str, Any]], bool]) -> None:
        self._client, self._own, self._take = client, own, take

    def __call__(self, score: Any, **options: Any) -> None:
        body = score.get("body", score)
        fields = body if isinstance(body, dict) else body.dict(by_alias=True)
        if body is not score and fields.get("timestamp") is None:
            fields = {**fields, "timestamp": score.get("timestamp")}
        if getattr(self._client, "_shutdown", False) or not self._take(fields):
            self._own(score, **options)


def watch_clients(made: Callable[[Any], None]) -> None:
    """Call *made* with the resource manager of each Langfuse client that is made from now on."""
    instances = client_instances()
    if instances is None or isinstance(instances, _Clients):
        return
    module: Any = sys.modules["langfuse._client.resource_manager"]
    module.LangfuseResourceManager._instances = _Clients(instances, made)


class _Clients(dict[str, Any]):
    """The SDK's dictionary of its clients, which reports new ones."""

    def __init__(self, instances: dict[str, Any], made: Callable[[Any], None]) -> None:
        super().__init__(instances)
        self._made = made

    def __setitem__(self, public_key: str, instance: Any) -> None:
        super().__setitem__(public_key, instance)
        self._made(instance)
