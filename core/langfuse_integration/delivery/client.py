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
from ..shield import shielded

LOCAL_PUBLIC_KEY = "pk-lf-local"
NO_ADDRESS = "http://127.0.0.1:9"
CUSTOMS = ("mask", "mask_otel_spans", "should_export_span", "span_exporter", "additional_headers")

_MAKING = shielded("making a Langfuse client for the local journal")


def instances() -> dict[str, Any]:
    """Return the resource managers of the clients in this process, by public key."""
    module = sys.modules.get("langfuse._client.resource_manager")
    manager = getattr(module, "LangfuseResourceManager", None)
    return dict(getattr(manager, "_instances", {}))


def is_plain(instance: Any, found: Settings) -> bool:
    """Return whether our own delivery does all that this client would."""
    from .provider import provider

    if instance.public_key == LOCAL_PUBLIC_KEY:
        return True
    return (
        instance.public_key == found.public_key
        and str(instance.base_url).rstrip("/") == found.base_url
        and getattr(instance, "tracer_provider", None) is provider
        and not any(getattr(instance, custom, None) for custom in CUSTOMS)
    )


def customised(found: Settings) -> Any:
    """Return the client that our rows have to go through, or None.

    With several it is the one of the keys in the settings; if there is none of these, nobody can tell, and our own
    delivery serves.
    """
    others = {key: instance for key, instance in instances().items() if not is_plain(instance, found)}
    if found.public_key in others:
        return others[found.public_key]
    if found.mode == "local" and len(others) == 1:
        return next(iter(others.values()))
    return None


def exports(provider: Any) -> bool:
    """Return whether a customised client exports from *provider* (None: from ours)."""
    if "langfuse" not in sys.modules:
        return False
    if provider is None:
        from .provider import provider as mine

        provider = mine
    found = settings()
    return any(
        getattr(instance, "tracer_provider", None) is provider and not is_plain(instance, found)
        for instance in instances().values()
    )


def processor_of(instance: Any) -> Any:
    """Return the span processor of a client, or None."""
    from .provider import provider

    held: Any = getattr(instance, "tracer_provider", None)
    active = getattr(provider.sdk() if held is provider else held, "_active_span_processor", None)
    for processor in getattr(active, "_span_processors", ()):
        inner = getattr(processor, "inner", processor)
        if type(inner).__name__ == "LangfuseSpanProcessor" and inner.public_key == instance.public_key:
            return inner
    return None


def record_locally() -> None:
    """Without keys and without a client, make one that leads nowhere: else `@observe` would record nothing."""
    from opentelemetry import trace

    from .provider import provider

    with _MAKING:
        if settings().mode != "local" or instances() or trace.get_tracer_provider() is not provider:
            return
        from langfuse import Langfuse

        on_ours: Any = provider  # the SDK asks for its own class, and uses add_span_processor and get_tracer
        Langfuse(
            public_key=LOCAL_PUBLIC_KEY,
            secret_key="sk-lf-local",
            base_url=NO_ADDRESS,
            tracer_provider=on_ours,
            sample_rate=1.0,  # the SDK raises where LANGFUSE_SAMPLE_RATE is no number; our delivery samples
        )


def give_way(public_key: str) -> None:
    """Drop our local client when the application makes one: with two the SDK would record for neither."""
    module = sys.modules.get("langfuse._client.resource_manager")
    manager = getattr(module, "LangfuseResourceManager", None)
    held = getattr(manager, "_instances", None)
    if public_key != LOCAL_PUBLIC_KEY and isinstance(held, dict):
        held.pop(LOCAL_PUBLIC_KEY, None)
