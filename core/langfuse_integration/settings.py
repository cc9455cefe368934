"""Every setting, in one place: from the environment, or from `configure()`.

LANGFUSE_* mean what they mean to Langfuse's own SDK; LANGFUSE_INTEGRATION_* are this package's.

More than 300 lines: every setting is here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from .destinations import OtlpDestination, conventions_of, distinct, headers_of, traces_url
from .errors import InvalidSettings
from .internals import forks, setting_values, standard_variables
from .internals.faults import warn_once
from .internals.setting_values import Parse, Secret

DEFAULT_BASE_URL = "https://cloud.langfuse.com"
Mode = Literal["langfuse", "local", "off"]
NO_PROJECT = "no project"
"""The key of every message that says why rows stay in the local journal: one of them is enough."""
_OURS = "LANGFUSE_INTEGRATION_"


def _setting(default: Any, parse: Parse, *variables: str, shown: bool = True) -> Any:
    """Return a field of `Settings`.

    Args:
        parse: returns the value that the setting holds for a given one.
        variables: of the environment; the first one that is set counts.
        shown: whether the value is in a repr.
    """
    return field(default=default, repr=shown, metadata={"parse": parse, "variables": variables})


def _headers(value: Any) -> Secret:
    secret = setting_values.secret(value) or Secret("")
    headers_of(secret.get_secret_value())
    return secret


def _conventions(value: Any) -> str:
    conventions_of(setting_values.text(value))
    return str(value)


def _traces_url(value: Any) -> str:
    return traces_url(setting_values.text(value))


def _destinations(value: Any) -> tuple[OtlpDestination, ...]:
    destinations = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not all(isinstance(destination, OtlpDestination) for destination in destinations):
        raise ValueError("each of them must be an OtlpDestination")
    return distinct(destinations)


@dataclass(frozen=True, repr=False)
class Settings:
    """All settings, with meaning and unit.

    Attributes:
        public_key, secret_key: LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY; without both, the mode is `local`.
        base_url: LANGFUSE_BASE_URL, or LANGFUSE_HOST.
        tracing_enabled: LANGFUSE_TRACING_ENABLED; false records nothing at all.
        environment: LANGFUSE_TRACING_ENVIRONMENT, lower case, 40 characters at most.
        release: LANGFUSE_RELEASE, else the commit that a build system names (GIT_COMMIT and the like).
        sample_rate: LANGFUSE_SAMPLE_RATE, the share of traces that is kept, 0 to 1.
        timeout_s: LANGFUSE_TIMEOUT, for one request, in seconds.
        flush_at: LANGFUSE_FLUSH_AT, observations in one request at most, and how many are sent without gathering more.
        flush_interval_s: LANGFUSE_FLUSH_INTERVAL, seconds for which observations in the journal wait for a request.
        debug: LANGFUSE_DEBUG logs each batch that a server takes, and each attempt that fails.
        media_upload: LANGFUSE_MEDIA_UPLOAD_ENABLED; false leaves images and sounds in payloads where they are.
        journal: LANGFUSE_INTEGRATION_JOURNAL, a file, or `off`; by default in the user's data directory.
        journal_max_bytes, journal_max_age_s: what the journal may hold; the oldest go first.
        durability: LANGFUSE_INTEGRATION_DURABILITY: `normal`, what is in the journal survives the end of the process;
            `fsync`, a power cut, too: each write waits for the disk.
        keep_delivered: LANGFUSE_INTEGRATION_KEEP_DELIVERED keeps what Langfuse has acknowledged, for the local replay.
        capture: LANGFUSE_INTEGRATION_CAPTURE: `full`; `truncated`, 2 KiB of each text; `none`, no inputs, outputs,
            metadata, error texts and other content; `metrics`, only ids, types, times, tokens, cost and the model.
        max_field_bytes: where one field is cut under `full`.
        replayable: LANGFUSE_INTEGRATION_REPLAYABLE keeps the exact form of answers in the journal, for the replay of a
            session as a test; by default in mode `local` and with `keep_delivered`. The exact form is never sent.
        mask_names: LANGFUSE_INTEGRATION_MASK_NAMES: names and tags are given to the mask, too.
        write_interval_s: how long the worker gathers before it writes.
        exit_timeout_s: what the end of a process may wait for Langfuse. What is in memory alone is first written to
            the journal, for up to 10 s more: it would be lost otherwise.
        thread_sessions: LANGFUSE_INTEGRATION_THREAD_SESSIONS: LangGraph's `thread_id` is the session of untagged runs.
        store: LANGFUSE_INTEGRATION_STORE, `memory` or redis://...
        otlp_endpoint: LANGFUSE_INTEGRATION_OTLP_ENDPOINT, a server that gets everything beside or without Langfuse, by
            OTLP over HTTP: its base URL, or the one that ends in /v1/traces.
        otlp_headers: LANGFUSE_INTEGRATION_OTLP_HEADERS, what is sent with it: name=value,name=value.
        otlp_conventions: LANGFUSE_INTEGRATION_OTLP_CONVENTIONS, what is added to rows for it: `genai`, `openinference`,
            `both` or `none`.
        destinations: further servers, each an `OtlpDestination`; `configure()` only.
        mask: called as mask(data=value) for every value with content, of every instrumentation; `configure()` only.
    """

    public_key: str | None = _setting(None, setting_values.key, "LANGFUSE_PUBLIC_KEY", shown=False)
    secret_key: Secret | None = _setting(None, setting_values.secret, "LANGFUSE_SECRET_KEY")
    base_url: str = _setting(DEFAULT_BASE_URL, setting_values.text, "LANGFUSE_BASE_URL", "LANGFUSE_HOST", shown=False)
    tracing_enabled: bool = _setting(True, setting_values.switch, "LANGFUSE_TRACING_ENABLED")
    environment: str | None = _setting(None, setting_values.text, "LANGFUSE_TRACING_ENVIRONMENT")
    release: str | None = _setting(None, setting_values.text, "LANGFUSE_RELEASE")
    sample_rate: float = _setting(1.0, setting_values.number(0, 1), "LANGFUSE_SAMPLE_RATE")
    timeout_s: float = _setting(10.0, setting_values.wait(above=0), "LANGFUSE_TIMEOUT")
    flush_at: int | None = _setting(None, setting_values.integer(1), "LANGFUSE_FLUSH_AT")
    flush_interval_s: float = _setting(1.0, setting_values.wait(0), "LANGFUSE_FLUSH_INTERVAL")
    debug: bool = _setting(False, setting_values.switch, "LANGFUSE_DEBUG")
    media_upload: bool = _setting(True, setting_values.switch, "LANGFUSE_MEDIA_UPLOAD_ENABLED")

    journal: Path | Literal["off"] | None = _setting(None, setting_values.path_or_off, f"{_OURS}JOURNAL")
    journal_max_bytes: int = _setting(512 * 1024 * 1024, setting_values.integer(1), f"{_OURS}JOURNAL_MAX_BYTES")
    journal_max_age_s: float = _setting(30 * 86_400.0, setting_values.number(above=0), f"{_OURS}JOURNAL_MAX_AGE_S")
    durability: Literal["normal", "fsync"] = _setting(
        "normal", setting_values.one_of("normal", "fsync"), f"{_OURS}DURABILITY"
    )
    keep_delivered: bool = _setting(False, setting_values.switch, f"{_OURS}KEEP_DELIVERED")
    replayable: bool | None = _setting(None, setting_values.switch, f"{_OURS}REPLAYABLE")
    mask_names: bool = _setting(False, setting_values.switch, f"{_OURS}MASK_NAMES")
    capture: Literal["full", "truncated", "none", "metrics"] = _setting(
        "full", setting_values.one_of("full", "truncated", "none", "metrics"), f"{_OURS}CAPTURE"
    )
    max_field_bytes: int = _setting(1024 * 1024, setting_values.integer(64), f"{_OURS}MAX_FIELD_BYTES")
    write_interval_s: float = _setting(0.01, setting_values.number(most=10, above=0), f"{_OURS}WRITE_INTERVAL_S")
    exit_timeout_s: float = _setting(2.0, setting_values.wait(0), f"{_OURS}EXIT_TIMEOUT_S")
    thread_sessions: bool = _setting(False, setting_values.switch, f"{_OURS}THREAD_SESSIONS")
    store: str = _setting("memory", setting_values.text, f"{_OURS}STORE", shown=False)
    otlp_endpoint: str | None = _setting(None, _traces_url, f"{_OURS}OTLP_ENDPOINT")
    otlp_headers: Secret | None = _setting(None, _headers, f"{_OURS}OTLP_HEADERS")
    otlp_conventions: str = _setting("both", _conventions, f"{_OURS}OTLP_CONVENTIONS")
    destinations: tuple[OtlpDestination, ...] = _setting((), _destinations)
    mask: Callable[..., Any] | None = _setting(None, setting_values.function, shown=False)

    @property
    def all_destinations(self) -> tuple[OtlpDestination, ...]:
        """The servers that get everything beside or without Langfuse, from the environment and from the code."""
        if self.otlp_endpoint is None:
            return self.destinations
        headers = headers_of(self.otlp_headers.get_secret_value()) if self.otlp_headers else {}
        conventions = conventions_of(self.otlp_conventions)
        first = OtlpDestination(self.otlp_endpoint, headers=headers, conventions=conventions)
        others = self.destinations
        return others if first.server in [other.server for other in others] else (first, *others)

    @property
    def mode(self) -> Mode:
        """Where observations go: to Langfuse, into the journal only, or nowhere."""
        if not self.tracing_enabled:
            return "off"
        return "langfuse" if self.public_key and self.secret_key else "local"

    @property
    def records_exact(self) -> bool:
        """Whether rows hold the exact form of answers: as `replayable` says, else wherever rows stay in the journal."""
        return self.mode == "local" or self.keep_delivered if self.replayable is None else self.replayable

    @property
    def address(self) -> str:
        """The base URL without a user and password in it, as it may be shown."""
        return address_of(self.base_url)

    @property
    def journal_path(self) -> Path | None:
        """The journal's file, or None when it is off, or when the user has no home directory."""
        if self.journal == "off":
            return None
        try:
            if self.journal is not None:
                return Path(self.journal).expanduser()
            from platformdirs import user_data_path

            folder = user_data_path("langfuse-integration", appauthor=False)
            if not folder.is_absolute():  # older releases of platformdirs keep a "~" that they cannot expand
                raise RuntimeError("the home directory cannot be determined")
            return folder / "journal.sqlite3"
        except RuntimeError as error:  # a container's user that is in no password file, without HOME
            warn_once(
                "no home",
                "rows are kept in memory until they are delivered, and in no journal: set "
                "LANGFUSE_INTEGRATION_JOURNAL to a file, or HOME (%s)",
                error,
            )
            return None

    def __repr__(self) -> str:
        shown = {each.name: getattr(self, each.name) for each in fields(self) if each.repr}
        shown.update(base_url=self.address, store=address_of(self.store))
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


_FIELDS = {each.name: each for each in fields(Settings)}
VARIABLES: dict[str, str] = {
    name: each.metadata["variables"][0] for name, each in _FIELDS.items() if each.metadata["variables"]
}
"""The environment variable of each setting, for messages."""


def address_of(url: str) -> str:
    """Return *url* without a user and password in it, as it may be shown."""
    return re.sub(r"^([A-Za-z][\w+.-]*://)?.*@", r"\1", url)


_lock = forks.Lock()
_given: dict[str, Any] = {}
_of_client: dict[str, Any] = {}
"""What the application's own Langfuse client was given; it counts before the environment and after `_given`."""
_settings: Settings | None = None


def settings() -> Settings:
    """Return the settings in force; an environment that makes no sense gets one warning and the default instead."""
    global _settings
    with _lock:
        if _settings is None:
            _settings = _usable({**_of_client, **_given})
        return _settings


def without_client() -> Settings:
    """Return what the settings would be if the application had no Langfuse client."""
    with _lock:
        return _usable(_given, _silent)


def use_client(values: Mapping[str, Any]) -> Settings:
    """Put what a Langfuse client was given before the environment; it replaces what an earlier one was given."""
    global _settings
    with _lock:
        _of_client.clear()
        _of_client.update(values)
        active = _usable({**_of_client, **_given})
        if active != _settings:
            _settings = active
        return active


def change(**given: Any) -> Settings:
    """Put *given* before the environment from now on.

    Raises:
        InvalidSettings: a name is unknown or a value makes no sense; nothing has changed then.
    """
    global _settings
    with _lock:
        complete = {**_given, **given}
        read(complete, _raise)
        _given.clear()
        _given.update(complete)
        _settings = _usable({**_of_client, **_given})
        return _settings


def forget() -> None:
    """Drop given settings, and read the environment again on next use."""
    global _settings
    with _lock:
        _given.clear()
        _of_client.clear()
        _settings = None


def problems() -> list[str]:
    """Return the problems of the current settings, one sentence each."""
    sentences: list[str] = []
    with _lock:
        _usable({**_of_client, **_given}, lambda _, message, *values: sentences.append(message % values))
    return sentences


def read(given: Mapping[str, Any], on_invalid: Callable[[str, str], object]) -> Settings:
    """Return settings from *given*, and where it says nothing from the environment.

    Args:
        given: values by name; None stands for the default of a setting that has None as default.
        on_invalid: called with the name of a setting whose value makes no sense, and with what is wrong.
    """
    values: dict[str, Any] = {}
    for name in given.keys() - _FIELDS.keys():
        on_invalid(name, "is not a setting")
    for name, setting in _FIELDS.items():
        if name in given:
            value = given[name]
            if value is None and setting.default is None:
                continue
        else:
            value = next(filter(None, map(os.environ.get, setting.metadata["variables"])), None)
            if value is None:
                continue
        try:
            values[name] = setting.metadata["parse"](value)
        except ValueError as error:
            on_invalid(name, f"is not usable: {error}")
    return Settings(**values)


def _raise(name: str, problem: str) -> None:
    raise InvalidSettings(name, problem)


def _silent(*_: object) -> None:
    pass


def _usable(given: Mapping[str, Any], say: Callable[..., object] = warn_once) -> Settings:
    def say_invalid(name: str, problem: str) -> None:
        say(f"setting {name}", "%s %s: the default is used", VARIABLES.get(name, name), problem)

    return _checked(read(given, say_invalid), say)


def _checked(active: Settings, say: Callable[..., object]) -> Settings:
    changes: dict[str, Any] = {}
    if bool(active.public_key) != bool(active.secret_key):
        missing, there = ("secret", "public") if active.public_key else ("public", "secret")
        say(
            NO_PROJECT,
            "LANGFUSE_%s_KEY is set but LANGFUSE_%s_KEY is not: nothing is sent to Langfuse, "
            "observations stay in the local journal",
            there.upper(),
            missing.upper(),
        )
    url = urlsplit(active.base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        say(
            NO_PROJECT,
            "LANGFUSE_BASE_URL (or LANGFUSE_HOST) is %r, not a URL such as %s: observations stay in the local journal",
            active.address,
            DEFAULT_BASE_URL,
        )
        changes.update(public_key=None, secret_key=None)
    if active.environment and not re.fullmatch(r"(?!langfuse)[a-z0-9_-]{1,40}", active.environment):
        say(
            "environment",
            "LANGFUSE_TRACING_ENVIRONMENT is %r, but must be 1 to 40 of a-z, 0-9, - and _ and not start with langfuse: "
            "it is left out",
            active.environment,
        )
        changes["environment"] = None
    if active.otlp_headers and not active.otlp_endpoint:
        say("headers", "LANGFUSE_INTEGRATION_OTLP_HEADERS is set without LANGFUSE_INTEGRATION_OTLP_ENDPOINT")
    if active.release is None:
        changes["release"] = standard_variables.release()
    changes["base_url"] = active.base_url.rstrip("/")
    return replace(active, **changes)
