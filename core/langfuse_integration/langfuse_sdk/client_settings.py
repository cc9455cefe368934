"""The arguments of `Langfuse(...)` in the application's code, as our settings.

It holds for all rows: keys, base URL, environment, release, sampling, time-out, debugging. `configure()` takes
precedence over it, and it takes precedence over the environment. Of several clients the one of the keys in the settings
counts; where no key is set and two clients were made, nobody can tell whose the rows are: they stay in the journal.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from .. import settings as settings_module
from ..internals import faults
from ..internals.faults import warn_once
from ..recording import tracing
from ..settings import Settings, settings
from . import sdk_clients

SDK_TIMEOUT_S = 5
"""The SDK's own default, which cannot be told from a given value."""
_GIVEN = {
    "environment": "environment",
    "release": "release",
    "sample_rate": "sample_rate",
    "flush_at": "flush_at",
    "flush_interval": "flush_interval_s",
}


def take_settings() -> None:
    """Apply the arguments of this process's clients; they take precedence over the environment."""
    clients = sdk_clients.applications()
    configured = settings_module.without_client().public_key
    if configured is not None:
        chosen = clients.get(configured)
    else:
        chosen = next(iter(clients.values())) if len(clients) == 1 else None
        if len(clients) > 1:
            warn_once(
                settings_module.NO_PROJECT,
                "Langfuse clients were made in code for %s, and LANGFUSE_PUBLIC_KEY names none of them: what this "
                "package records stays in the local journal. Set LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY, or call "
                "configure(public_key=..., secret_key=...), for the project that it belongs to",
                " and ".join(clients),
            )
    before = settings()
    active = settings_module.use_client(_given(chosen) if chosen is not None else {})
    if active == before:
        return
    _contradictions(before, active)
    if active.debug and not before.debug:
        faults.log_everything()
    worker: Any = tracing.recorder.worker
    if worker is not None:
        worker.sample(active.sample_rate)
    tracing.recorder.enabled = active.mode != "off"


def _given(client: Any) -> dict[str, Any]:
    values = {ours: getattr(client, theirs, None) for theirs, ours in _GIVEN.items()}
    values.update(
        public_key=client.public_key,
        secret_key=getattr(client, "secret_key", None),
        base_url=getattr(client, "base_url", None),
    )
    timeout_s = getattr(client, "timeout", None)
    if timeout_s != SDK_TIMEOUT_S:
        values["timeout_s"] = timeout_s
    if getattr(client, "tracing_enabled", True) is False:
        values["tracing_enabled"] = False
    if logging.getLogger("langfuse").level == logging.DEBUG:  # what the SDK makes of `debug=True`, and does not keep
        values["debug"] = True
    return {name: value for name, value in values.items() if value is not None}


def _contradictions(before: Settings, active: Settings) -> None:
    for name, variable in settings_module.VARIABLES.items():
        if name != "secret_key" and variable in os.environ and getattr(before, name) != getattr(active, name):
            warn_once(
                f"client {name}",
                "Langfuse(...) in code says %s=%r and the environment %s=%r: what is said in code holds",
                name,
                _shown(name, active),
                variable,
                _shown(name, before),
            )


def _shown(name: str, active: Settings) -> Any:
    return active.address if name == "base_url" else getattr(active, name)
