"""The Langfuse clients of this process, and their effect on our rows.

A plain client, of the keys in our settings and with nothing customised, needs no exporter of its own: our journal
delivers what it records. A client that the application customised (mask, exporter, filter, provider, other keys) is
used as it is, and our rows go through it.
"""

from __future__ import annotations

import sys
from typing import Any

from opentelemetry import trace as trace_api

from ..settings import Settings, settings
from . import private

LOCAL_PUBLIC_KEY = "pk-lf-local"
NO_PUBLIC_KEY = "fake"
"""The public key of the client that the SDK makes when several exist and none is named."""
NO_ADDRESS = "http://127.0.0.1:9"
CUSTOMS = ("mask", "mask_otel_spans", "should_export_span", "span_exporter", "additional_headers")


def instances() -> dict[str, Any]:
    """Return the resource managers of the clients in this process, by public key."""
    return dict(private.client_instances() or {})


def applications() -> dict[str, Any]:
    """Return the clients that the application made: neither ours, nor the SDK's placeholder."""
    return {key: client for key, client in instances().items() if key not in (LOCAL_PUBLIC_KEY, NO_PUBLIC_KEY)}


def is_plain(instance: Any, active: Settings, ours: object) -> bool:
    """Return whether our own delivery replaces this client's.

    Args:
        ours: our own tracer provider.
    """
    if instance.public_key == LOCAL_PUBLIC_KEY:
        return True
    provider = getattr(instance, "tracer_provider", None)
    return (
        instance.public_key == active.public_key
        and str(instance.base_url).rstrip("/") == active.base_url
        and (provider is ours or provider is trace_api.get_tracer_provider())
        and not any(getattr(instance, custom, None) for custom in CUSTOMS)
    )


def customised(active: Settings, ours: object) -> Any:
    """Return the client that our rows have to go through, or None.

    With several it is the one of the keys in the settings; if there is none of these, nobody can tell, and our own
    delivery serves.
    """
    others = {key: client for key, client in instances().items() if not is_plain(client, active, ours)}
    if active.public_key in others:
        return others[active.public_key]
    if active.mode == "local" and len(others) == 1:
        return next(iter(others.values()))
    return None


def exports(span: Any, provider: object, ours: object) -> bool:
    """Return whether a customised client exports *span*, which ends in *provider*.

    A span that a client made is that client's alone; one of another library is exported by every client there.
    """
    if "langfuse" not in sys.modules:
        return False
    active = settings()
    here = _behind(provider, ours)
    clients = {key: client for key, client in instances().items() if _behind(client.tracer_provider, ours) is here}
    maker = maker_of(span)
    if maker is not None:
        return maker in clients and not is_plain(clients[maker], active, ours)
    return bool(clients) and not any(is_plain(client, active, ours) for client in clients.values())


def give_way(public_key: str) -> None:
    """Drop our local client when the application makes one: with two the SDK would record for neither."""
    clients = private.client_instances()
    if public_key != LOCAL_PUBLIC_KEY and clients is not None:
        clients.pop(LOCAL_PUBLIC_KEY, None)


def _behind(provider: object, ours: object) -> object:
    """Return the SDK's provider that makes the spans of *provider*."""
    behind: object = getattr(ours, "behind", None)
    return behind or ours if provider is ours else provider


def maker_of(span: Any) -> str | None:
    """Return the public key of the client that made *span*, or None when no client did."""
    scope = getattr(span, "instrumentation_scope", None)
    key = (getattr(scope, "attributes", None) or {}).get("public_key")
    return key if scope is not None and scope.name == "langfuse-sdk" and isinstance(key, str) else None
