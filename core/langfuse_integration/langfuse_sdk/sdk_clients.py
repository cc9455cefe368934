"""The Langfuse clients of this process, and what they mean for our rows.

Our provider is the global one, so that a client that the SDK makes (`get_client()`, `@observe`, `Langfuse()`) exports
from it. A plain client, of the keys in our settings and with nothing customised, needs no exporter of its own: our
journal delivers what it records. A client that the application customised (mask, exporter, filter, provider, other
keys) is used as it is, and our rows go through it.

All that we touch of the SDK's private parts is here, found out by looking (langfuse 4.7 to 5.0):
`langfuse._client.resource_manager.LangfuseResourceManager._instances` by public key with the attributes read below,
and `_active_span_processor._span_processors` of a provider.
"""

from __future__ import annotations

import sys
from typing import Any

from ..settings import Settings, settings

LOCAL_PUBLIC_KEY = "pk-lf-local"
NO_ADDRESS = "http://127.0.0.1:9"
CUSTOMS = ("mask", "mask_otel_spans", "should_export_span", "span_exporter", "additional_headers")


def instances() -> dict[str, Any]:
    """Return the resource managers of the clients in this process, by public key."""
    module = sys.modules.get("langfuse._client.resource_manager")
    manager = getattr(module, "LangfuseResourceManager", None)
    return dict(getattr(manager, "_instances", {}))


def is_plain(instance: Any, active: Settings, ours: object) -> bool:
    """Return whether our own delivery does all that this client would.

    Args:
        ours: our own tracer provider.
    """
    if instance.public_key == LOCAL_PUBLIC_KEY:
        return True
    return (
        instance.public_key == active.public_key
        and str(instance.base_url).rstrip("/") == active.base_url
        and getattr(instance, "tracer_provider", None) is ours
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


def exports(provider: object, ours: object) -> bool:
    """Return whether a customised client exports from *provider*."""
    if "langfuse" not in sys.modules:
        return False
    active = settings()
    return any(
        getattr(client, "tracer_provider", None) is provider and not is_plain(client, active, ours)
        for client in instances().values()
    )


def give_way(public_key: str) -> None:
    """Drop our local client when the application makes one: with two the SDK would record for neither."""
    module = sys.modules.get("langfuse._client.resource_manager")
    manager = getattr(module, "LangfuseResourceManager", None)
    held = getattr(manager, "_instances", None)
    if public_key != LOCAL_PUBLIC_KEY and isinstance(held, dict):
        held.pop(LOCAL_PUBLIC_KEY, None)
