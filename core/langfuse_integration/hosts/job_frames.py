"""Jobs of threads and processes that serve one after the other: pools' functions, Ray's tasks, WSGI requests, Lambda's
invocations.

What a job sets outside of any block ends with the job. Jobs are found in the frames of who calls `set_session`: so a
WSGI server that nobody has heard of is served, too. The function of a pool is known by an object that lives as long as
its call; a request has a cell in its environ. The servers in servers.py begin each request in a cell of their own, so
that nobody has to look: but for the first request of a process, in which a session is set before they do.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from ..internals.faults import shielded, warn_once
from ..sessions.cells import Cell
from ..sessions.jobs import Job, NumberedJob, RequestCell
from ..sessions.store import SessionStore
from .numbered_jobs import NumberedJobs
from .ray import LOOPS as RAY_LOOPS
from .ray import current_task
from .servers import METHODS

_KEY = "langfuse_integration"
"""Where a WSGI environ keeps the cell of its request, and the keywords of a pool's function what dies with them."""
_START_RESPONSE = "start_response"
_EXECUTOR = ("run", "concurrent.futures.thread")
_DASK = ("run", "distributed._concurrent_futures_thread")
_LOOPS = {
    _EXECUTOR: "self",
    ("_process_worker", "concurrent.futures.process"): "call_item",
    ("_process_worker", "loky.process_executor"): "call_item",
    ("_process_worker", "joblib.externals.loky.process_executor"): "call_item",
    ("execute_next_task", "pebble.pool.thread"): "task",
    ("process_tasks", "pebble.pool.process"): "task",
    ("_execute", "huey.api"): "task",
    ("handle_event_request", "awslambdaric.bootstrap"): "lambda_context",
    _DASK: "self",
}
"""The variable with an object for one job, by the function that runs one job after the other, and its module.

Seen in Python 3.11, loky 3.7, joblib 1.6, Pebble 5.2, Huey 3.5, awslambdaric 4.2, distributed 2026. Where it is
missing, nothing ends a session that a job sets outside of a block.
"""
_CALLS = {("actor_execute", "distributed.worker"): "kwargs"}
"""The variable with a dict for one call of a method, in a coroutine that calls those of an actor (distributed 2026)."""
_POOL = ("worker", "multiprocessing.pool")
_CHUNKS: dict[tuple[str, str], Callable[[dict[str, Any]], int]] = {
    ("mapstar", "multiprocessing.pool"): lambda variables: len(variables["args"][1]),
    ("starmapstar", "multiprocessing.pool"): lambda variables: len(variables["args"][1]),
    ("_process_chunk", "concurrent.futures.process"): lambda variables: len(variables["chunk"]),
    ("process_chunk", "pebble.pool.thread"): lambda variables: len(variables["chunk"]),
    ("process_chunk", "pebble.pool.process"): lambda variables: len(variables["chunk"]),
    ("__call__", "joblib.parallel"): lambda variables: len(variables["self"].items),
}
"""How many items a function calls the application's for within one job."""
_MARKER = "_langfuse_integration_separated"
_NAMES = frozenset(name for name, _ in (*_LOOPS, *_CALLS, *_CHUNKS, *RAY_LOOPS, _POOL))
_SERVING = frozenset((module, method) for module, (_, method) in METHODS.items())
_LOOKING = shielded("looking for the request or job around a session")


def current_job(store: SessionStore) -> object | None:
    """Return an object that lives as long as the innermost pool's function around the caller, or None outside of one.

    In a WSGI request it is the request's cell, for which *store* is given a host: unless a server of servers.py runs
    the request, whose next ones have cells of their own.
    """
    with _LOOKING:
        return _job_above(store, sys._getframe(1))  # pyright: ignore[reportPrivateUsage]
    return None


def _job_above(store: SessionStore, caller: FrameType) -> object | None:
    frame: FrameType | None = caller
    while frame is not None:
        code = frame.f_code
        if code.co_name in _NAMES:
            function = (code.co_name, frame.f_globals.get("__name__", ""))
            job = _of_loop(store, frame, function)
            if function in (_EXECUTOR, _DASK):
                _leave_jobs_with(store, frame.f_globals.get("_WorkItem"))
            if job is not None:
                return job
        if 2 <= code.co_argcount <= 3 and _START_RESPONSE in code.co_varnames[1:3]:
            environ = _environ_of(frame)
            if environ is not None:
                return _request_in(store, frame, environ)
        frame = frame.f_back
    streaming = _streaming(caller)
    return _request_in(store, *streaming) if streaming is not None else None


def _request_in(store: SessionStore, frame: FrameType, environ: dict[Any, Any]) -> RequestCell | None:
    outer: FrameType | None = frame
    while outer is not None:
        if (outer.f_globals.get("__name__"), outer.f_code.co_name) in _SERVING:
            return None
        outer = outer.f_back
    store.add_host(REQUESTS)
    return _cell_in(environ)


class WsgiCell(RequestCell):
    """The cell of a request on a server that servers.py does not know, kept in the request's environ."""

    __slots__ = ()

    def serves_here(self) -> bool:
        """Return whether a function around the caller has an environ with this cell."""
        frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        streaming = _streaming(frame)
        return REQUESTS.cell() is self or (streaming is not None and streaming[1].get(_KEY) is self)


class WsgiRequests:
    """Knows a request by its environ, in the frame of the application that the server has called."""

    def cell(self) -> Cell | None:
        """Return the cell of the request whose application runs here, or None."""
        frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        while frame is not None:
            code = frame.f_code
            if 2 <= code.co_argcount <= 3 and _START_RESPONSE in code.co_varnames[1:3]:
                environ = _environ_of(frame)
                if environ is not None:
                    return _cell_in(environ)
            frame = frame.f_back
        return None


REQUESTS = WsgiRequests()
"""The host of every server that servers.py does not know."""


class PoolJob(NumberedJob):
    """A job of a ThreadPool: nothing lives as long as it, but each has a number."""

    __slots__ = ("number",)

    def __init__(self, number: tuple[object, object]) -> None:
        self.number = number

    def serves_here(self) -> bool:
        """Return whether the loop of the pool's thread runs this job now, around the caller."""
        frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        while frame is not None:
            if frame.f_code.co_name == _POOL[0] and frame.f_globals.get("__name__") == _POOL[1]:
                return _number(_variables(frame)) == self.number
            frame = frame.f_back
        return False


POOL_JOBS = NumberedJobs()
"""The host of every ThreadPool."""


def _number(variables: dict[str, Any]) -> tuple[object, object]:
    """Return the number of a job and of its part: no two jobs of a process have the same."""
    return variables.get("job"), variables.get("i")


def _cell_in(environ: dict[Any, Any]) -> WsgiCell:
    cell = environ.get(_KEY)
    if not isinstance(cell, WsgiCell):
        cell = environ[_KEY] = WsgiCell.of_request()
    return cell


def _environ_of(frame: FrameType) -> dict[Any, Any] | None:
    """Return the environ with which *frame*, that of an application, was called."""
    names = frame.f_code.co_varnames
    return _environ(_variables(frame).get(names[names.index(_START_RESPONSE) - 1]))


def _streaming(caller: FrameType) -> tuple[FrameType, dict[Any, Any]] | None:
    """Return the innermost function around *caller* with a variable `environ`, and that: a server that streams."""
    frame: FrameType | None = caller
    while frame is not None:
        if "environ" in frame.f_code.co_varnames:
            environ = _environ(_variables(frame).get("environ"))
            if environ is not None:
                return frame, environ
        frame = frame.f_back
    return None


def _environ(value: object) -> dict[Any, Any] | None:
    return value if isinstance(value, dict) and "wsgi.version" in value else None


def _of_loop(store: SessionStore, frame: FrameType, function: tuple[str, str]) -> object | None:
    if function == _POOL:
        variables = _variables(frame)
        if "kwds" not in variables:  # the pool's initializer
            return None
        if hasattr(variables["inqueue"], "_reader"):  # of processes: each task is a copy
            return _token_in(variables["kwds"])
        return POOL_JOBS.job(store, _number(variables), PoolJob)
    elif function in _CALLS:
        keywords = _variables(frame).get(_CALLS[function])
        return _token_in(keywords) if isinstance(keywords, dict) else None
    elif function in RAY_LOOPS:
        return current_task(store)
    elif function in _CHUNKS:
        if _CHUNKS[function](_variables(frame)) > 1:
            _warn("that a pool calls for several items in one go")
    elif function in _LOOPS:
        job: object = _variables(frame).get(_LOOPS[function])
        if function == _EXECUTOR and not hasattr(job, "future"):  # 3.14 has a second `run`, of the thread
            return None
        return job if hasattr(job, "__weakref__") else None
    return None


def _leave_jobs_with(store: SessionStore, item: Any) -> None:
    """Have an executor's threads leave what earlier items have set, as soon as one of them has set a session.

    An item itself may live longer than its run: who submitted it holds it, too.
    """
    original: Callable[..., Any] | None = getattr(item, "__dict__", {}).get("run")
    if not callable(original) or hasattr(original, _MARKER):
        return

    @functools.wraps(original)
    def run(*arguments: Any, **options: Any) -> Any:
        store.leave_jobs()
        return original(*arguments, **options)

    setattr(run, _MARKER, True)
    item.run = run


def _warn(kind: str) -> None:
    warn_once(
        f"pool {kind}",
        "set_session was called in a function %s: the session holds for what is called after it, too. Use "
        "`with langfuse_manager.session(...)` in the function",
        kind,
    )


def _token_in(values: dict[Any, Any]) -> Job:
    job = values.get(_KEY)
    if not isinstance(job, Job):
        job = values[_KEY] = Job()
    return job


def _variables(frame: FrameType) -> dict[str, Any]:
    """Return the variables of a function, and keep nothing of them in its frame, where they would outlive the job."""
    snapshot = frame.f_locals
    variables = dict(snapshot)
    if type(snapshot) is dict:  # before Python 3.13
        snapshot.clear()
    return variables
