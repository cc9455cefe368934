"""All private parts of mcp and fastmcp that this package uses, each feature-detected.

More than 300 lines: a new release of an SDK is checked against this one page.

Seen in mcp 1.24 to 1.30, mcp 2.0 to 2.3 and fastmcp 4.0 to 4.1. What is missing costs this:

    ClientSession._sampling_callback, ...               callbacks run as the SDK runs them, in the opener's context
    Client._build_session                               its session is traced from the first call on, not before
    ClientSession._request_id                           no `jsonrpc.request.id` over stdio (mcp 1.x)
    ClientSession._dispatcher, _write_stream            no `mcp_transport` in the metadata
    mcp.shared.jsonrpc_dispatcher.otel_span, ...        the SDK's client span stays, between our row and the server
    mcp.server._otel.otel_span, extract_trace_context   a server in this process makes a row of its own
    fastmcp.client.telemetry.get_tracer                 fastmcp's own client span stays, above our row
    fastmcp.Client.call_tool_mcp, ...                   a call in several rounds, or of a task, is several rows
    fastmcp_tasks.client._answer_input_requests         what a task asks makes no row, in the session of who waits
    fastmcp.telemetry._SUPPRESS_KEY                     a fastmcp server in this process makes a row of its own
    mcp.server.lowlevel.server.request_ctx              no ids on a server's spans (mcp 1.x)
    FastMCP._mcp_server, MCPServer._lowlevel_server     pass the low-level server to `trace_server`
    StreamableHTTPTransport._handle_post_request        a call is "cancelled" when its HTTP connection breaks
    StreamableHTTPTransport._prepare_headers            no `traceparent` in the headers, only in `_meta`
    stdio_client.__closure__, ...                       no replay of recorded sessions: it says so
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import Any, NamedTuple

from langfuse_integration.errors import SeamMoved
from langfuse_integration.internals.context_variables import reset_quietly
from langfuse_integration.internals.faults import shielded
from langfuse_integration.recording.otel_spans import DUPLICATE
from langfuse_integration.recording.tracing import recorder

_LOOKING = shielded("looking at the MCP SDK")

# -- sessions


class Slot(NamedTuple):
    """Where a session, or a client that opens one, keeps a callback of the application.

    Attributes:
        session: the attribute of a `ClientSession`.
        client: the (public) attribute of an `mcp.Client`.
        label: what a row of it is called, or None: it makes none.
        wire: the protocol's name of the message that it answers, or None: of several.
    """

    session: str
    client: str
    label: str | None
    wire: str | None


CALLBACKS = (
    Slot("_sampling_callback", "sampling_callback", "sampling", "sampling/createMessage"),
    Slot("_elicitation_callback", "elicitation_callback", "elicitation", "elicitation/create"),
    Slot("_list_roots_callback", "list_roots_callback", None, "roots/list"),
    Slot("_logging_callback", "logging_callback", None, "notifications/message"),
    Slot("_message_handler", "message_handler", None, None),
)


BUILD_SESSION = "_build_session"
"""The method by which an `mcp.Client` makes its session when it connects."""


def is_default(callback: Any) -> bool:
    """Return whether *callback* is the SDK's stand-in: by its identity a session tells what it is capable of."""
    name = str(getattr(callback, "__name__", ""))
    return getattr(callback, "__module__", "") == "mcp.client.session" and name.startswith("_default_")


def is_hollow(session: Any) -> bool:
    """Return whether *session* was made without `ClientSession.__init__`: it cannot send anything itself."""
    return not hasattr(session, "_dispatcher") and not hasattr(session, "_write_stream")


def next_request_id(session: Any) -> Any:
    """Return the id that *session* gives to its next request, or None: in mcp 2.x another object does."""
    return getattr(session, "_request_id", None)


def is_direct(session: Any) -> bool:
    """Return whether requests reach a server in this process without a wire, where the SDK adds nothing to `_meta`."""
    return type(getattr(session, "_dispatcher", None)).__name__ == "DirectDispatcher"


def negotiated(target: Any) -> tuple[str | None, str | None]:
    """Return (the server's name, the protocol version) as far as *target* keeps them; mcp 1.x keeps neither."""
    with _LOOKING:
        try:
            info = getattr(target, "server_info", None)
            return getattr(info, "name", None), getattr(target, "protocol_version", None)
        except RuntimeError:  # a client that is not connected
            pass
    return None, None


SERVER_INFO = "io.modelcontextprotocol/serverInfo"
"""The key in an answer's `_meta` under which a server of protocol 2026-07-28 says who it is."""


def stamp_of(result: Any) -> str | None:
    """Return the name of the server that an answer is from, or None when it does not say."""
    meta = plain_meta(getattr(result, "meta", None))
    info = meta.get(SERVER_INFO) if meta else None
    name = info.get("name") if isinstance(info, Mapping) else None
    return name if isinstance(name, str) else None


# What consumes a session's messages, as anyio names its task. The name is of the function that the transport runs.
_CONSUMERS = (("stdio", "stdio"), ("streamable_http", "http"), ("sse", "sse"), ("websocket", "websocket"))


def transport_of(target: Any) -> tuple[str | None, Any]:
    """Return how the server is reached and the parameters of its process, each None where that cannot be told."""
    with _LOOKING:
        session = target
        if is_hollow(target):
            try:
                session = target.session
            except (AttributeError, RuntimeError):
                return None, None
        if is_direct(session):
            return "memory", None
        dispatcher = getattr(session, "_dispatcher", session)
        stream = getattr(dispatcher, "_write_stream", None)
        state = getattr(getattr(stream, "_inner", stream), "_state", None)
        waiting: Mapping[Any, Any] = getattr(state, "waiting_receivers", {})
        for receiver in waiting.values():
            task_info = getattr(receiver, "task_info", None)
            name = str(getattr(task_info, "name", ""))
            for part, transport in _CONSUMERS:
                if part in name:
                    return transport, _process_of(task_info) if transport == "stdio" else None
            return ("memory" if "mcp." in name and state is not None and state.max_buffer_size else None), None
    return None, None


def _process_of(task_info: Any) -> Any:
    """Return the parameters of a server's process, which the task that writes to it holds; None where it does not."""
    task = getattr(task_info, "_task", lambda: None)()  # of anyio on asyncio
    coroutine = task.get_coro() if task is not None else None
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        server = frame.f_locals.get("server")
        if hasattr(server, "command") and hasattr(server, "args"):
            return server
        coroutine = getattr(coroutine, "cr_await", None)
    return None


# -- servers


def lowlevel(server: Any) -> Any:
    """Return the low-level server inside an `MCPServer`, a `FastMCP`, or of fastmcp; else *server*."""
    for name in ("_lowlevel_server", "_mcp_server"):
        inner = getattr(server, name, None)
        if inner is not None:
            return inner
    return server


REQUEST_ID, SESSION_ID = "jsonrpc.request.id", "mcp.session.id"
"""What OpenTelemetry calls the ids of a request and of an HTTP session."""
_HTTP_SESSION, _HTTP_VERSION = "mcp-session-id", "mcp-protocol-version"


class ServedRequest(NamedTuple):
    """A request, or notification, that a server handles.

    Attributes:
        method: its name in the protocol.
        params: its parameters, or None: a mapping in mcp 2.x, a model in 1.x.
        version: the protocol version, or None where that cannot be told.
        transport: http, or None: stdio and memory look alike.
        attributes: the ids of the request and of the HTTP session, as OpenTelemetry names them.
    """

    method: str
    params: Any
    version: str | None
    transport: str | None
    attributes: Mapping[str, str]

    @classmethod
    def of(cls, request: Any) -> ServedRequest:
        """Return what is known of a request of mcp 1.x, or of the context of one of 2.x."""
        context = request if hasattr(request, "protocol_version") else _context_of_server()
        headers = getattr(getattr(context, "request", None), "headers", None)
        get: Callable[[str], Any] = getattr(headers, "get", _none)
        version = getattr(context, "protocol_version", None) or get(_HTTP_VERSION)
        ids = {REQUEST_ID: getattr(context, "request_id", None), SESSION_ID: get(_HTTP_SESSION)}
        return cls(
            str(request.method),
            getattr(request, "params", None),
            str(version) if version else None,
            "http" if headers is not None else None,
            {key: str(value) for key, value in ids.items() if value is not None},
        )


def _none(name: str) -> None:
    return None


def _context_of_server() -> Any:
    """Return the context of the request that a server of mcp 1.x handles here, or None."""
    variable: Any = getattr(sys.modules.get("mcp.server.lowlevel.server"), "request_ctx", None)
    return variable.get(None) if isinstance(variable, ContextVar) else None


# -- spans of the SDKs' own


class SdkHooks(NamedTuple):
    """What to do at the private places of the SDKs, most of it in place of their own hooks.

    Attributes:
        client: gives a context manager in place of the span of a client request with these attributes, or None: the
            SDK makes its own.
        inject: writes our ids into the `_meta` of a request; False: the SDK writes what is current.
        caller: gives what stands for the OpenTelemetry context in the `_meta` of a request, if its caller is here.
        server: gives a context manager for the handling of such a request, or None: the SDK makes its own span.
        around: gives the OpenTelemetry context around the call.
        headers: gives the HTTP headers for a request with that `_meta`.
        broken: is told that an HTTP request with that `_meta` has failed.
        unanswered: is told that such a request is over: whoever still waits waits in vain.
        posted: is told that such a request is sent, with the ids of the request and of the HTTP session; only where
            destinations beside Langfuse get them.
    """

    client: Callable[[Mapping[str, Any]], Any]
    inject: Callable[[dict[str, Any]], bool]
    caller: Callable[[Any], Any]
    server: Callable[[Any], Any]
    around: Callable[[], Any]
    headers: Callable[[Mapping[str, Any]], Mapping[str, str]]
    broken: Callable[[Mapping[str, Any] | None, Exception], None]
    unanswered: Callable[[Mapping[str, Any] | None], None]
    posted: Callable[[Mapping[str, Any] | None, Mapping[str, Any]], None]


_kept = False
"""Whether the SDK's own spans are made beside our rows, since somebody else reads them."""
_replaced: list[tuple[Any, str, Any]] = []


def merges_spans() -> bool:
    """Return whether the SDK's client span gives way to our row, and the SDK writes our ids into `_meta`."""
    return any(name == "inject_trace_context" for _, name, _ in _replaced)


def replace_spans(hooks: SdkHooks, *, kept: bool) -> None:
    """Let the SDKs' own spans give way to our rows; done twice it is done once."""
    global _kept
    _kept = kept
    with _LOOKING:
        if "mcp.shared.jsonrpc_dispatcher" in sys.modules and not merges_spans():
            _replace_sdk(sys.modules["mcp.shared.jsonrpc_dispatcher"], hooks)
            _replace_server(sys.modules.get("mcp.server._otel"), hooks)
        _replace_fastmcp()
        _replace_http(getattr(sys.modules.get("mcp.client.streamable_http"), "StreamableHTTPTransport", None), hooks)


def restore_spans() -> None:
    """Give the SDKs' own spans back."""
    while _replaced:
        holder, name, original = _replaced.pop()
        setattr(holder, name, original)


def _replace(holder: Any, name: str, value: Any) -> None:
    _replaced.append((holder, name, getattr(holder, name)))
    setattr(holder, name, value)


def _replace_sdk(module: Any, hooks: SdkHooks) -> None:
    own_span = getattr(module, "otel_span", None)
    own_inject = getattr(module, "inject_trace_context", None)
    if own_span is None or own_inject is None:
        return

    def otel_span(name: str, **options: Any) -> Any:
        block = hooks.client(options.get("attributes") or {})
        if block is not None and _kept:
            return own_span(name, **{**options, "context": hooks.around()})
        return block or own_span(name, **options)

    def inject_trace_context(meta: dict[str, Any]) -> None:
        if not hooks.inject(meta):
            own_inject(meta)

    _replace(module, "otel_span", otel_span)
    _replace(module, "inject_trace_context", inject_trace_context)


class _Within:
    """A context manager that enters one block and then another, and gives what the inner one gives."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, outer: Any, inner: Any) -> None:
        self._outer = outer
        self._inner = inner

    def __enter__(self) -> Any:
        self._outer.__enter__()
        return self._inner.__enter__()

    def __exit__(self, *outcome: Any) -> Any:
        try:
            return self._inner.__exit__(*outcome)
        finally:
            self._outer.__exit__(*outcome)


def _replace_server(module: Any, hooks: SdkHooks) -> None:
    own_span = getattr(module, "otel_span", None)
    own_extract = getattr(module, "extract_trace_context", None)
    if own_span is None or own_extract is None:
        return

    def extract_trace_context(meta: Any) -> Any:
        return hooks.caller(meta) or own_extract(meta)

    def otel_span(name: str, *, context: Any = None, **options: Any) -> Any:
        block = hooks.server(context)
        if block is None:
            return own_span(name, context=context, **options)
        if not _kept:
            return block
        attributes = {**options.pop("attributes", {}), DUPLICATE: True}
        return _Within(block, own_span(name, attributes=attributes, **options))

    _replace(module, "otel_span", otel_span)
    _replace(module, "extract_trace_context", extract_trace_context)


_posted: ContextVar[Mapping[str, Any] | None] = ContextVar("langfuse_integration_mcp_posted", default=None)
"""The `_meta` of the request that is sent over HTTP here."""


def _replace_http(transport: Any, hooks: SdkHooks) -> None:
    post = getattr(transport, "_handle_post_request", None)
    prepare = getattr(transport, "_prepare_headers", None)
    if post is None or prepare is None or any(holder is transport for holder, _, _ in _replaced):
        return

    async def _handle_post_request(self: Any, ctx: Any) -> None:
        meta = None
        with _LOOKING:
            message = ctx.session_message.message
            message = getattr(message, "root", message)  # an RPC message of mcp 1.x has a root
            params = getattr(message, "params", None)
            meta = params.get("_meta") if isinstance(params, dict) else None
            if recorder.has_destinations or recorder.worker is None:
                session_id = getattr(self, "session_id", None)
                hooks.posted(meta, {REQUEST_ID: getattr(message, "id", None), SESSION_ID: session_id})
        token = _posted.set(meta)
        try:
            await post(self, ctx)
            with _LOOKING:  # mcp 1.x logs a stream that ends early, and lets the caller wait for ever
                hooks.unanswered(meta)
        except Exception as error:
            with _LOOKING:
                hooks.broken(meta, error)
            raise
        finally:
            reset_quietly(_posted, token)

    def _prepare_headers(self: Any) -> dict[str, str]:
        headers: dict[str, str] = prepare(self)
        meta = _posted.get()
        if meta:
            with _LOOKING:
                headers.update(hooks.headers(meta))
        return headers

    _replace(transport, "_handle_post_request", _handle_post_request)
    _replace(transport, "_prepare_headers", _prepare_headers)


def _replace_fastmcp() -> None:
    """Let fastmcp's clients make no span: the session inside makes the row. Its servers have a public switch."""
    module = sys.modules.get("fastmcp.client.telemetry")
    shared = sys.modules.get("fastmcp.telemetry")
    silent = getattr(shared, "_DISABLED_TRACER", None)
    if module is None or silent is None or any(holder is module for holder, _, _ in _replaced):
        return
    if hasattr(module, "get_tracer"):
        _replace(module, "get_tracer", lambda version=None: silent)


def is_fastmcp_client(target: Any) -> bool:
    """Return whether *target* is a client of fastmcp."""
    kind = getattr(sys.modules.get("fastmcp.client.client"), "Client", None)
    return isinstance(kind, type) and isinstance(target, kind)


def hook_fastmcp_rounds(names: Iterable[str], hooked: Callable[[str, Any], Any]) -> None:
    """Replace methods of fastmcp's client, once, by what *hooked* returns for a name and the method.

    On the class: a client copies itself, and a method that is bound to it must not follow the copy.
    """
    kind: Any = getattr(sys.modules.get("fastmcp.client.client"), "Client", None)
    for name in names:
        holder = next((base for base in getattr(kind, "__mro__", ()) if name in vars(base)), None)
        if holder is not None and not any(place is holder and name == taken for place, taken, _ in _replaced):
            _replace(holder, name, hooked(name, vars(holder)[name]))


def hook_fastmcp_tasks(placed: Callable[[Any, str, Any], Any]) -> None:
    """Have a task's questions answered by what *placed* returns for a session, the task's id and the callback; once."""
    module: Any = sys.modules.get("fastmcp_tasks.client")
    own = getattr(module, "_answer_input_requests", None)
    if own is None or any(holder is module for holder, _, _ in _replaced):
        return

    async def _answer_input_requests(session: Any, task_id: str, questions: Any, callback: Any, *more: Any) -> None:
        with _LOOKING:
            callback = placed(session, task_id, callback)
        await own(session, task_id, questions, callback, *more)

    _replace(module, "_answer_input_requests", _answer_input_requests)


def watch_fastmcp_sessions(touched: Callable[[Any, Any], None]) -> None:
    """Call *touched* with a fastmcp client and its session each time that the client reads its property `session`."""
    kind: Any = getattr(sys.modules.get("fastmcp.client.client"), "Client", None)
    own = getattr(kind, "session", None)
    if not isinstance(own, property) or own.fget is None or any(name == "session" for _, name, _ in _replaced):
        return
    read = own.fget

    def session(self: Any) -> Any:
        inner = read(self)
        touched(self, inner)
        return inner

    _replace(kind, "session", property(session))


FASTMCP_TELEMETRY = "fastmcp.telemetry"


def fastmcp_key() -> Any:
    """Return the OpenTelemetry context key that keeps fastmcp from making spans of its own, or None.

    `fastmcp.telemetry.suppress_fastmcp_telemetry` sets it, for the time of a block.
    """
    return getattr(sys.modules.get(FASTMCP_TELEMETRY), "_SUPPRESS_KEY", None)


# -- transports

_TRANSPORTS = (
    ("mcp.client.stdio", "stdio_client", "stdio"),
    ("mcp.client.sse", "sse_client", "sse"),
    ("mcp.client.streamable_http", "streamable_http_client", "http"),
    ("mcp.client.streamable_http", "streamablehttp_client", "http"),  # the older name of mcp 1.x
    ("mcp.client.websocket", "websocket_client", "websocket"),  # of mcp 1.x, if websockets is there
)

Opener = Callable[..., Any]
"""An async generator function that yields a transport's streams."""


@contextmanager
def transports_replaced(make: Callable[[str, Opener], Opener]) -> Generator[None]:
    """Replace what opens the transports of the SDK, under whatever name somebody has imported them.

    They are decorated by `contextlib.asynccontextmanager`, which keeps the generator function in a variable of its
    wrapper: that variable is set.

    Args:
        make: returns the replacement of an opener for a kind of transport.

    Raises:
        SeamMoved: the SDK decorates its transports in another way.
    """
    cells: list[tuple[Any, Any]] = []
    try:
        for module, name, transport in _TRANSPORTS:
            function = _optional(module, name)
            if function is None:
                continue
            cell = _opener_cell(function)
            if cell is None:
                raise SeamMoved("mcp", version("mcp"), f"generator function in {module}.{name}")
            cells.append((cell, cell.cell_contents))
            cell.cell_contents = make(transport, cell.cell_contents)
        yield
    finally:
        for cell, original in reversed(cells):
            cell.cell_contents = original


def _optional(module: str, name: str) -> Any:
    try:
        return getattr(import_module(module), name, None)
    except ImportError:
        return None


def _opener_cell(function: Any) -> Any:
    """Return the variable of a decorated transport that holds its async generator function, or None."""
    while function is not None:
        code = getattr(function, "__code__", None)
        names = getattr(code, "co_freevars", ())
        for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=False):
            if name == "func":
                return cell
        function = getattr(function, "__wrapped__", None)
    return None


def sending_class() -> type[Any]:
    """Return the class that defines `send_request` of sessions."""
    from mcp import ClientSession

    return next(kind for kind in ClientSession.__mro__ if "send_request" in vars(kind))


def yields_session_id(transport: str) -> bool:
    """Return whether a transport yields a third value, which tells the HTTP session's id: in mcp 1.x."""
    return transport == "http" and meta_model() is not None


def jsonrpc(fields: dict[str, Any]) -> Any:
    """Return the SDK's message from the fields of a JSON-RPC message."""
    from mcp.shared.message import SessionMessage

    return SessionMessage(_messages().validate_python(fields))


@cache
def _messages() -> Any:
    from mcp.types import JSONRPCMessage
    from pydantic import TypeAdapter

    return TypeAdapter(JSONRPCMessage)


def fields_of(message: Any) -> dict[str, Any]:
    """Return the fields of a JSON-RPC message of the SDK."""
    inner = message.message
    fields: dict[str, Any] = inner.model_dump(by_alias=True, mode="json", exclude_none=True)
    return fields


def tool_result(fields: Any) -> Any:
    """Return the result of a tool call as the SDK's type, from the fields that an answer about a task holds."""
    from mcp.types import CallToolResult

    try:
        return CallToolResult.model_validate(fields)
    except ValueError:
        return fields


def meta_model() -> Any:
    """Return the class of a request's `_meta` in mcp 1.x, or None in 2.x, where it is a dict."""
    from mcp.types import RequestParams

    return getattr(RequestParams, "Meta", None)


def plain_meta(meta: Any) -> Mapping[str, Any] | None:
    """Return a request's `_meta` as a mapping: a model with extras in mcp 1.x, a dict in 2.x."""
    if meta is None or isinstance(meta, Mapping):
        return meta
    extras = getattr(meta, "model_extra", None)
    return extras if isinstance(extras, Mapping) else None
