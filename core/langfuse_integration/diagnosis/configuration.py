"""Checks of the settings, from the environment and from `configure()`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from ..settings import VARIABLES
from ..settings import problems as settings_problems
from .installation import Finding, Installation

PREFIX = "LANGFUSE_INTEGRATION_"
KNOWN = frozenset({*map(str, VARIABLES.values()), "LANGFUSE_HOST", "LANGFUSE_BASE_URL"})
TESTS = frozenset({"LANGFUSE_INTEGRATION_REQUIRE_ALL", "LANGFUSE_INTEGRATION_IMAGES"})
"""Variables of this package's own tests."""
_VARIABLE = re.compile(r"^[ \t]*(?:export[ \t]+)?([A-Za-z_]\w*)[ \t]*=", re.MULTILINE)


def settings(installation: Installation) -> Iterator[Finding]:
    """Report settings with invalid values."""
    for problem in settings_problems():
        variable = problem.split(" ", 1)[0]
        yield Finding("settings", f"{problem}.", f"Correct {variable}, or remove it.")


def names(installation: Installation) -> Iterator[Finding]:
    """Report misspelt variables, with the variable that is probably meant."""
    given = sorted(name for name in installation.environment if name.startswith("LANGFUSE"))
    for name in given:
        if name in KNOWN or name in TESTS:
            continue
        meant = _meant(name)
        if meant and meant not in given:
            yield Finding(
                "settings", f"{name} is set, and nothing reads it.", f"Call it {meant}, if that is what is meant."
            )
        elif meant or name.startswith(PREFIX):
            yield Finding("settings", f"{name} is set, and nothing reads it.", "Remove it.")


def _meant(name: str) -> str | None:
    """Return the variable whose name is closest to *name*; the common prefix does not count."""
    start = PREFIX if name.startswith(PREFIX) else "LANGFUSE_"
    ends = [variable.removeprefix(start) for variable in KNOWN if variable.startswith(start)]
    closest = get_close_matches(name.removeprefix(start), ends, 1, 0.75)
    return start + closest[0] if closest else None


def env_file(installation: Installation) -> Iterator[Finding]:
    """Report a file `.env` here whose variables the environment lacks."""
    try:
        text = Path(".env").read_text(errors="replace")
    except OSError:
        return
    given = {name for name in _VARIABLE.findall(text) if name.startswith("LANGFUSE")}
    missing = sorted(given - set(installation.environment))
    if missing:
        yield Finding(
            "settings",
            f"The file .env sets {', '.join(missing)}: this command does not read it (in a shell: set -a; . ./.env)",
        )


def switch(installation: Installation) -> Iterator[Finding]:
    """Report where observations are sent, and settings that stop them."""
    current = installation.settings
    if current.mode == "off":
        yield Finding(
            "settings",
            "Tracing is switched off by LANGFUSE_TRACING_ENABLED: nothing is recorded.",
            "Unset LANGFUSE_TRACING_ENABLED.",
        )
        return
    if current.sample_rate == 0:
        yield Finding("settings", "LANGFUSE_SAMPLE_RATE is 0: nothing is recorded.", "Unset LANGFUSE_SAMPLE_RATE.")
    elif current.sample_rate < 1:
        yield Finding("settings", f"LANGFUSE_SAMPLE_RATE keeps {current.sample_rate:.0%} of the traces")
    if current.mode == "local" and current.journal_path is None:
        yield Finding(
            "settings",
            "There are no keys and the journal is off: what is recorded goes nowhere.",
            "Set LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY, or remove LANGFUSE_INTEGRATION_JOURNAL=off.",
        )
        return
    where = f"Langfuse at {current.address}" if current.mode == "langfuse" else "the local journal only (no keys)"
    yield Finding("settings", f"Observations go to {where}")


def keys(installation: Installation) -> Iterator[Finding]:
    """Report the keys, masked, and keys in the wrong variable."""
    current = installation.settings
    public, secret = current.public_key, current.secret_key.get_secret_value() if current.secret_key else None
    if public and public.startswith("sk-"):
        yield Finding(
            "keys", "LANGFUSE_PUBLIC_KEY holds a secret key (sk-...).", "Put the key that begins with pk- there."
        )
    if secret and secret.startswith("pk-"):
        yield Finding(
            "keys", "LANGFUSE_SECRET_KEY holds a public key (pk-...).", "Put the key that begins with sk- there."
        )
    for name, key in (("LANGFUSE_PUBLIC_KEY", public), ("LANGFUSE_SECRET_KEY", secret)):
        if key and key[0] in "\"'":
            yield Finding("keys", f"{name} begins with a quotation mark.", "Remove the quotation marks.")
    if public and secret:
        yield Finding("keys", f"public {masked(public)}, secret {masked(secret)}")


def masked(key: str) -> str:
    """Return a masked key: its prefix and its last four characters, if enough stays hidden."""
    kind = key[:6] if key[:6] in ("pk-lf-", "sk-lf-") else ""
    return f"{kind}...{key[-4:]}" if len(key) >= 16 else f"{kind}..."


def store(installation: Installation) -> Iterator[Finding]:
    """Check that the shared session store answers."""
    address = installation.settings.store
    if address == "memory":
        return
    if not address.startswith(("redis://", "rediss://", "unix://")):
        yield Finding(
            "store",
            "LANGFUSE_INTEGRATION_STORE is neither `memory` nor the address of a Redis server.",
            "Write redis://HOST:PORT/0, or remove it.",
        )
        return
    try:
        import redis
    except ImportError:
        yield Finding(
            "store",
            "The session store is Redis, but redis is not installed.",
            "pip install 'langfuse-integration[redis]'",
        )
        return
    try:
        with redis.Redis.from_url(address, socket_timeout=2, socket_connect_timeout=2) as client:
            client.ping()
    except Exception as error:  # noqa: BLE001  whatever it is, it does not answer
        yield Finding(
            "store",
            f"The session store does not answer: {type(error).__name__}.",
            "Start the Redis server, or correct LANGFUSE_INTEGRATION_STORE.",
        )
    else:
        yield Finding("store", "The session store answers")
