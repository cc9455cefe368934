"""Outgoing requests: writes `_meta` in the form of either generation of the SDK."""

from __future__ import annotations

from typing import Any, get_args

from langfuse_integration.recording.observation import Observation

from . import private, propagation, readable
from .call import McpCall
from .methods import INITIALIZE, Shown


def needs_meta(session: Any) -> bool:
    """Return whether `_meta` is ours to write: not where the SDK writes what is current, and that is our row."""
    return private.is_direct(session) or not private.merges_spans()


def with_meta(call: McpCall, row: Observation, request: Any) -> Any:
    """Return *request* with the ids of *row* in its `_meta`; a request that somebody else may hold is copied."""
    inner = getattr(request, "root", request)
    params = getattr(inner, "params", None)
    if params is None:
        changed = inner.model_copy(update={"params": _params_of(type(inner))(_meta=_meta(None, row, call))})
    elif call.typed and call.method.wire == inner.method and call.method.shown is Shown.ALWAYS:
        params.meta = _meta(params.meta, row, call)  # made for this call alone
        return request
    else:
        meta = _meta(params.meta, row, call)
        changed = inner.model_copy(update={"params": params.model_copy(update={"meta": meta})})
    return changed if inner is request else type(request)(changed)


def _meta(meta: Any, row: Observation, call: McpCall) -> Any:
    ours = propagation.outgoing(row, call.traceparent, call.connection.identified)
    model = private.meta_model()
    if model is None:
        return {**(meta or {}), **ours}
    return model(**{**(meta.model_dump(exclude_none=True) if meta is not None else {}), **ours})


def _params_of(request: type[Any]) -> Any:
    """Return the class of a request's parameters."""
    annotation = request.model_fields["params"].annotation
    kinds = [kind for kind in (get_args(annotation) or (annotation,)) if hasattr(kind, "model_fields")]
    return kinds[0]


def learn(call: McpCall, request: Any, result: Any) -> None:
    """Note the server's name from a handshake, or without one (a pinned protocol version) from an answer."""
    connection = call.connection
    if not connection.named:
        stamp = private.stamp_of(result)
        if stamp is not None:
            connection.stamped(stamp)
            if getattr(request, "method", None) == call.method.wire:  # else a listing that the SDK needs for the call
                call.stamp = stamp
    if getattr(getattr(request, "root", request), "method", None) == INITIALIZE.wire:
        version = readable.either(result, "protocol_version", "protocolVersion")
        info = readable.either(result, "server_info", "serverInfo")
        connection.introduced(getattr(info, "name", None), None if version is None else str(version))
