"""Remote graphs: LangGraph tells no callback of a `RemoteGraph`, so its two streams are wrapped.

`invoke`, `batch` and everything else of it goes through `stream` or `astream`, directly and as a node. What the server
does inside is recorded there; `RemoteGraph(..., distributed_tracing=True)` hands trace and session on to it. The first
handler of a process wraps them: a `stream` that is looked up before is not recorded.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, closing
from typing import Any
from uuid import UUID, uuid4

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables.config import ensure_config, get_callback_manager_for_config, merge_configs

from langfuse_integration import propagation
from langfuse_integration.internals import forks
from langfuse_integration.internals.faults import shielded
from langfuse_integration.recording import tracing

from . import agents, private
from .binding import IDS
from .graphs import CHECKPOINTS, remote_graph
from .remote_parts import RemoteParts

_STARTING = shielded("starting the run of a remote graph")
_ENDING = shielded("ending the run of a remote graph")
_lock = forks.Lock()
_hooked: set[type[Any]] = set()


def hook(handler_kind: type[BaseCallbackHandler]) -> None:
    """Wrap the streams of `RemoteGraph`, as soon as LangGraph defines it; called again it changes nothing.

    Args:
        handler_kind: the handlers that are told of the runs; a call without one is left alone.
    """

    def wrap(kind: type[Any]) -> None:
        with _lock:
            if kind not in _hooked:
                _hooked.add(kind)
                for name, make in (("stream", _sync_stream), ("astream", _async_stream)):
                    original = vars(kind).get(name)
                    if original is not None:
                        setattr(kind, name, make(original, handler_kind))

    private.when_defined(*private.REMOTE_GRAPH, wrap)


class RemoteRun:
    """One call of a remote graph.

    Attributes:
        config: the call's configuration, with the session's ids if they are handed on.
    """

    __slots__ = ("_handlers", "_id", "_parts", "config")

    def __init__(self, handlers: list[Any], config: Any, parts: RemoteParts) -> None:
        self._handlers = handlers
        self._id: UUID = (config or {}).get("run_id") or uuid4()
        self._parts = parts
        self.config = config

    def start(self, graph: Any, value: Any, manager: Any, options: dict[str, Any]) -> None:
        """Open the run; put trace and session into *options* and the configuration if they are handed on."""
        metadata = dict(manager.metadata)
        configurable = ((self.config or {}).get("configurable")) or {}
        if "thread_id" in configurable:
            metadata.setdefault("thread_id", configurable["thread_id"])
        checkpoints = {CHECKPOINTS: remote_graph(graph)} if "thread_id" in metadata else {}
        for handler in self._handlers:
            handler.on_chain_start(
                None,
                value,
                run_id=self._id,
                parent_run_id=manager.parent_run_id,
                tags=manager.tags,
                metadata=metadata,
                name=(self.config or {}).get("run_name") or graph.name,
                **checkpoints,
            )
        run = tracing.registry.get(self._id.int)
        if run is None:
            return
        agents.is_graph(run)
        if getattr(graph, "distributed_tracing", False):
            self._hand_on(run.anchor, options)

    def _hand_on(self, row: Any, options: dict[str, Any]) -> None:
        options["headers"] = {**propagation.inject_from(row, {}), **(options.get("headers") or {})}
        ids = {key: getattr(row.session, name, None) for key, name in IDS.items() if name != "trace_name"}
        config = self.config or {}
        metadata = {key: value for key, value in ids.items() if value} | dict(config.get("metadata") or {})
        self.config = {**config, "metadata": metadata}

    def take(self, chunk: Any) -> None:
        """Keep a part of the answer."""
        with _ENDING:
            self._parts.take(chunk)

    def end(self) -> None:
        """End the run with what came."""
        with _ENDING:
            run = tracing.registry.get(self._id.int)
            if run is not None and self._parts.interrupted:
                run.state.interrupted = True
                if not run.folded:
                    run.observation.level, run.observation.status_message = "DEFAULT", "interrupted"
            for handler in self._handlers:
                handler.on_chain_end(self._parts.output(), run_id=self._id)

    def fail(self, error: BaseException) -> None:
        """End the run with an error, in control flow, or as given up half-way."""
        with _ENDING:
            run = tracing.registry.get(self._id.int)
            if run is not None:
                run.state.latest = self._parts.output()
            for handler in self._handlers:
                handler.on_chain_error(error, run_id=self._id)


def _started(
    graph: Any, value: Any, config: Any, options: dict[str, Any], kind: type[BaseCallbackHandler]
) -> RemoteRun | None:
    """Return the open run of a call, or None where no handler of *kind* listens."""
    merged = merge_configs(getattr(graph, "config", None), config)
    manager = get_callback_manager_for_config(ensure_config(merged))
    handlers = [handler for handler in manager.handlers if isinstance(handler, kind)]
    if not handlers:
        return None
    run = RemoteRun(handlers, config, RemoteParts(options))
    run.start(graph, value, manager, options)
    return run


def _sync_stream(original: Callable[..., Iterator[Any]], kind: type[BaseCallbackHandler]) -> Callable[..., Any]:
    @functools.wraps(original)
    def stream(self: Any, input: Any, config: Any = None, **options: Any) -> Iterator[Any]:  # noqa: A002
        run = None
        with _STARTING:
            run = _started(self, input, config, options, kind)
        if run is None:
            yield from original(self, input, config, **options)
            return
        try:
            with closing(original(self, input, run.config, **options)) as chunks:  # type: ignore[type-var]
                for chunk in chunks:
                    run.take(chunk)
                    yield chunk
        except BaseException as error:
            run.fail(error)
            raise
        run.end()

    return stream


def _async_stream(original: Callable[..., AsyncIterator[Any]], kind: type[BaseCallbackHandler]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def astream(self: Any, input: Any, config: Any = None, **options: Any) -> AsyncIterator[Any]:  # noqa: A002
        run = None
        with _STARTING:
            run = _started(self, input, config, options, kind)
        chunks = original(self, input, config if run is None else run.config, **options)
        try:
            async with aclosing(chunks):  # type: ignore[type-var]
                async for chunk in chunks:
                    if run is not None:
                        run.take(chunk)
                    yield chunk
        except BaseException as error:
            if run is not None:
                run.fail(error)
            raise
        if run is not None:
            run.end()

    return astream
