"""A request on its way out: its `_meta`, in the form of either generation of the SDK."""

from __future__ import annotations

from typing import Any, get_args

from langfuse_integration.observation import Observation

from . import private, propagation, readable
from .call import Call
from .connection import Connection
from .methods import INITIALIZE


def prepared(call: Call, request: Any, *, direct: bool) -> Any:
    """Return *request* with the caller's ids in its `_meta`; a request that somebody else holds is copied."""
    row = call.row
    if row is None or (private.merges_spans() and not direct):
        return request  # nothing to tell, or the SDK writes our ids itself
    inner = getattr(request, "root", request)
    params = getattr(inner, "params", None)
    if params is None:
        changed = inner.model_copy(update={"params": _params_of(type(inner))(_meta=_meta(None, row, call))})
    elif call.typed and call.method.fields and inner.method == call.method.wire and call.method.wire[-4:] != "list":
        params.meta = _meta(params.meta, row, call)  # made for this call alone
        return request
    else:
        changed = inner.model_copy(update={"params": params.model_copy(update={"meta": _meta(params.meta, row, call)})})
    return changed if inner is request else type(request)(changed)


def _meta(held: Any, row: Observation, call: Call) -> Any:
    ours = propagation.outgoing(row, call.connection)
    if held is None and not _v1():
        return ours
    if not _v1():
        return {**held, **ours}
    from mcp.types import RequestParams

    known = held.model_dump(exclude_none=True) if held is not None else {}
    return RequestParams.Meta(**{**known, **ours})


def _v1() -> bool:
    from mcp.types import RequestParams

    return hasattr(RequestParams, "Meta")


def _params_of(request: type[Any]) -> Any:
    """Return the class of a request's parameters."""
    annotation = request.model_fields["params"].annotation
    kinds = [kind for kind in (get_args(annotation) or (annotation,)) if hasattr(kind, "model_fields")]
    return kinds[0]


def learn(connection: Connection, request: Any, result: Any) -> None:
    """Note what a handshake has told of the server."""
    if getattr(getattr(request, "root", request), "method", None) == INITIALIZE.wire:
        version = readable.either(result, "protocol_version", "protocolVersion")
        info = readable.either(result, "server_info", "serverInfo")
        connection.introduced(getattr(info, "name", None), None if version is None else str(version))
