"""Makes this process ready to nest spans of others, at the first touch and not at import."""

from __future__ import annotations

import os
import sys
import threading

from .shield import shielded

_READYING = shielded("making tracing ready")
_lock = threading.Lock()
_registered = False
_langfuse_seen = False


def ready() -> None:
    """Register our provider once, and once the application has loaded langfuse, look after its client."""
    if _registered and (_langfuse_seen or "langfuse" not in sys.modules):
        return
    with _READYING:
        _make_ready()


def _make_ready() -> None:
    global _registered, _langfuse_seen
    if os.environ.get("LANGFUSE_TRACING_ENABLED", "").strip().lower() in ("false", "0"):
        return
    with _lock:
        if not _registered:
            _registered = True
            from . import otel, tracing
            from .delivery.provider import register

            tracing.store.elsewhere = otel.propagated
            register()
        if not _langfuse_seen and hasattr(sys.modules.get("langfuse"), "Langfuse"):
            _langfuse_seen = True
            from .delivery.client import record_locally

            record_locally()


def forget() -> None:
    """Look again at the next touch: after settings have changed."""
    global _langfuse_seen
    _langfuse_seen = False
