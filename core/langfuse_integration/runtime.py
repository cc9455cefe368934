"""The composition root: puts the parts together that do not know each other.

Importing it plugs factories and hooks into recording; nothing is loaded or started before the first use.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .hosts.inherited import separate_pools, threads_inherit
from .hosts.job_frames import current_job
from .hosts.servers import SERVERS, separate_requests
from .internals import faults, forks, resets
from .internals.faults import shielded
from .recording import span_interface, tracing
from .recording.recorder import QueueRecorder
from .sessions import cells, ownership
from .sessions.store import Host, HostLoader, SessionStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .export.worker import Worker
    from .recording.observation import Observation

_PREPARING = shielded("making tracing ready")


class Readiness:
    """Whether this process is ready to nest the spans of other libraries.

    Attributes:
        registered: our provider is in place.
        langfuse_seen: the application has loaded langfuse, and its client was looked after.
    """

    def __init__(self) -> None:
        self.lock = forks.Lock()
        self.registered = False
        self.langfuse_seen = False


_readiness = Readiness()


def ready() -> None:
    """Register our provider once, and once the application has loaded langfuse, look after its client."""
    if not _readiness.registered or (not _readiness.langfuse_seen and "langfuse" in sys.modules):
        with _PREPARING:
            forks.announce_child()
            _prepare()
    elif os.getpid() != forks.process_id:
        forks.announce_child()
    if _readiness.registered:
        tracing.hooks.process_id = os.getpid()
        tracing.hooks.awaited = "" if _readiness.langfuse_seen else "langfuse"


def look_again() -> None:
    """Look after the application's Langfuse client again at the next use: the settings have changed."""
    _readiness.langfuse_seen = False
    tracing.hooks.awaited = "langfuse"


def make_worker(recorder: QueueRecorder) -> Worker:
    """Return the worker for the current settings, with its outlet loaded."""
    from .export.outlet import Outlet
    from .export.routing import RoutingOutlet
    from .export.worker import Worker
    from .langfuse_sdk.customised_client import CustomisedClient
    from .settings import settings

    active = settings()
    recorder.exit_timeout_s = active.exit_timeout_s
    recorder.has_destinations = bool(active.all_destinations)
    recorder.replayable = active.records_exact
    if active.debug:
        faults.log_everything()
    outlet = Outlet()
    if active.mode == "off":
        recorder.enabled = False
    else:
        outlet = RoutingOutlet(active, CustomisedClient(settings).outlet, settings)
    outlet.prepare()
    return Worker(recorder, outlet, active.write_interval_s, active.sample_rate)


def reset() -> None:
    """Reset all state of this process and its logged-once messages; for tests."""
    from . import settings

    tracing.recorder.close(5.0)
    tracing.recorder.enabled = True
    tracing.registry.clear()
    tracing.misuse.forget()
    tracing.store.declare_default(None)
    ownership.forget()
    settings.forget()
    faults.forget()
    look_again()
    resets.reset_all()


def _prepare() -> None:
    if os.environ.get("LANGFUSE_TRACING_ENABLED", "").strip().lower() in ("false", "0"):
        return
    with _readiness.lock:
        if not _readiness.registered:
            _readiness.registered = True
            if threads_inherit():
                separate_pools()
            from .langfuse_sdk.provider import register
            from .recording import otel_api, otel_spans

            tracing.store.propagated_session = otel_spans.propagated
            tracing.store.propagation_context = otel_api.get_context
            register()
        if not _readiness.langfuse_seen and hasattr(sys.modules.get("langfuse"), "Langfuse"):
            _readiness.langfuse_seen = True
            from .langfuse_sdk.provider import adopt_clients, record_locally

            adopt_clients()
            record_locally()


def _host_loader(module: str, function: str) -> HostLoader:
    """Return what makes a host by *function* of a module of `hosts`, imported only then."""

    def load(store: SessionStore) -> Host:
        host: Host = getattr(import_module(f".hosts.{module}", __package__), function)(store)
        return host

    return load


def _read_attributes(observation: Observation) -> Mapping[str, Any]:
    from .encoding.attributes import attributes_of

    return attributes_of(observation)


tracing.hooks.make_worker = make_worker
tracing.hooks.ready = ready
for _imported, _module, _function in (
    ("streamlit", "streamlit", "host"),
    ("gradio", "gradio", "host"),
    ("IPython", "ipython", "host"),
    ("chainlit", "visits", "chainlit_host"),
    ("nicegui", "visits", "nicegui_host"),
):
    tracing.store.load_host_with(_imported, _host_loader(_module, _function))
tracing.store.separate_requests_with(SERVERS, separate_requests)
tracing.store.current_job = current_job
if threads_inherit():
    cells.before_first_cell = separate_pools
span_interface.read_attributes = _read_attributes
