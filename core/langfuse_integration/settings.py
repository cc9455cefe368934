"""Every setting, in one place: from the environment, or from `configure()`.

LANGFUSE_* mean what they mean to Langfuse's own SDK; LANGFUSE_INTEGRATION_* are this package's.

More than 300 lines: every setting is here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, InstanceOf, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .destinations import OtlpDestination, conventions_of, distinct, headers_of, traces_url
from .errors import InvalidSettings
from .internals import forks, standard_variables
from .internals.faults import warn_once

DEFAULT_BASE_URL = "https://cloud.langfuse.com"
Mode = Literal["langfuse", "local", "off"]


def _langfuse(name: str) -> AliasChoices:
    return AliasChoices(name, f"LANGFUSE_{name.upper()}")


def _ours(name: str) -> AliasChoices:
    return AliasChoices(name, f"LANGFUSE_INTEGRATION_{name.upper()}")


def _switch(value: Any) -> Any:
    """Langfuse's SDK takes everything but "false" and "0" as true."""
    return value.strip().lower() not in ("false", "0") if isinstance(value, str) else value


def _stripped(value: Any) -> Any:
    """A key that was read from a file ends in a line break, which HTTP forbids."""
    return value.strip() or None if isinstance(value, str) else value


def _headers(value: Any) -> Any:
    if isinstance(value, str):
        headers_of(value)
    return value


def _conventions(value: str) -> str:
    conventions_of(value)
    return value


class Settings(BaseSettings):
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
        media_upload: LANGFUSE_MEDIA_UPLOAD_ENABLED; false leaves images and sounds in payloads where they are.
        journal: LANGFUSE_INTEGRATION_JOURNAL, a file, or `off`; by default in the user's data directory.
        journal_max_bytes, journal_max_age_s: what the journal may hold; the oldest go first.
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

    model_config = SettingsConfigDict(
        env_prefix="LANGFUSE_INTEGRATION_", extra="forbid", populate_by_name=True, env_ignore_empty=True, frozen=True
    )

    public_key: Annotated[str | None, BeforeValidator(_stripped)] = Field(
        None, repr=False, validation_alias=_langfuse("public_key")
    )
    secret_key: Annotated[SecretStr | None, BeforeValidator(_stripped)] = Field(
        None, validation_alias=_langfuse("secret_key")
    )
    base_url: str = Field(
        DEFAULT_BASE_URL, validation_alias=AliasChoices("base_url", "LANGFUSE_BASE_URL", "LANGFUSE_HOST")
    )
    tracing_enabled: Annotated[bool, BeforeValidator(_switch)] = Field(
        True, validation_alias=_langfuse("tracing_enabled")
    )
    environment: str | None = Field(None, validation_alias=AliasChoices("environment", "LANGFUSE_TRACING_ENVIRONMENT"))
    release: str | None = Field(None, validation_alias=_langfuse("release"))
    sample_rate: float = Field(1.0, ge=0, le=1, validation_alias=_langfuse("sample_rate"))
    timeout_s: float = Field(10.0, gt=0, validation_alias=AliasChoices("timeout_s", "LANGFUSE_TIMEOUT"))
    flush_at: int | None = Field(None, gt=0, validation_alias=_langfuse("flush_at"))
    flush_interval_s: float = Field(
        1.0, ge=0, validation_alias=AliasChoices("flush_interval_s", "LANGFUSE_FLUSH_INTERVAL")
    )
    media_upload: Annotated[bool, BeforeValidator(_switch)] = Field(
        True, validation_alias=AliasChoices("media_upload", "LANGFUSE_MEDIA_UPLOAD_ENABLED")
    )

    journal: Path | Literal["off"] | None = Field(None, validation_alias=_ours("journal"))
    journal_max_bytes: int = Field(512 * 1024 * 1024, gt=0, validation_alias=_ours("journal_max_bytes"))
    journal_max_age_s: float = Field(30 * 86_400.0, gt=0, validation_alias=_ours("journal_max_age_s"))
    keep_delivered: bool = Field(False, validation_alias=_ours("keep_delivered"))
    replayable: Annotated[bool | None, BeforeValidator(_switch)] = Field(None, validation_alias=_ours("replayable"))
    mask_names: Annotated[bool, BeforeValidator(_switch)] = Field(False, validation_alias=_ours("mask_names"))
    capture: Literal["full", "truncated", "none", "metrics"] = Field("full", validation_alias=_ours("capture"))
    max_field_bytes: int = Field(1024 * 1024, ge=64, validation_alias=_ours("max_field_bytes"))
    write_interval_s: float = Field(0.05, gt=0, le=10, validation_alias=_ours("write_interval_s"))
    exit_timeout_s: float = Field(2.0, ge=0, validation_alias=_ours("exit_timeout_s"))
    thread_sessions: Annotated[bool, BeforeValidator(_switch)] = Field(False, validation_alias=_ours("thread_sessions"))
    store: str = Field("memory", validation_alias=_ours("store"))
    otlp_endpoint: Annotated[str | None, AfterValidator(lambda url: url and traces_url(url))] = Field(
        None, validation_alias=_ours("otlp_endpoint")
    )
    otlp_headers: Annotated[SecretStr | None, BeforeValidator(_headers)] = Field(
        None, validation_alias=_ours("otlp_headers")
    )
    otlp_conventions: Annotated[str, AfterValidator(_conventions)] = Field(
        "both", validation_alias=_ours("otlp_conventions")
    )
    destinations: Annotated[tuple[InstanceOf[OtlpDestination], ...], NoDecode, AfterValidator(distinct)] = Field(
        (), exclude=True
    )
    mask: Callable[..., Any] | None = Field(None, exclude=True, repr=False)

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

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, address_of(value) if name in ("base_url", "store") else value

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


VARIABLES = {
    name: field.validation_alias.choices[-1 if name != "base_url" else 1]
    for name, field in Settings.model_fields.items()
    if isinstance(field.validation_alias, AliasChoices)
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
        wanted = {**_given, **given}
        try:
            Settings(**wanted)
        except ValidationError as error:
            name, problem = _first(error)
            raise InvalidSettings(name, problem) from None
        _given.clear()
        _given.update(wanted)
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
    found: list[str] = []
    with _lock:
        _usable({**_of_client, **_given}, lambda _, message, *values: found.append(message % values))
    return found


def _silent(*_: object) -> None:
    pass


def _usable(given: dict[str, Any], say: Callable[..., object] = warn_once) -> Settings:
    replaced: dict[str, Any] = {}
    for _ in range(len(Settings.model_fields)):
        try:
            return _checked(Settings(**{**replaced, **given}), say)
        except ValidationError as error:
            name, problem = _first(error)
            say(f"setting {name}", "%s %s: the default is used", VARIABLES.get(name, name), problem)
            replaced[name] = Settings.model_fields[name].default
    return Settings(**{**replaced, **given})


def _first(error: ValidationError) -> tuple[str, str]:
    detail = error.errors(include_url=False, include_input=False)[0]
    place = str(detail["loc"][0])
    name = next((name for name, variable in VARIABLES.items() if variable == place), place)
    name = "base_url" if place == "LANGFUSE_HOST" else name
    return name, "is not usable: " + detail["msg"]


def _checked(found: Settings, say: Callable[..., object]) -> Settings:
    changes: dict[str, Any] = {}
    if bool(found.public_key) != bool(found.secret_key):
        missing, there = ("secret", "public") if found.public_key else ("public", "secret")
        say(
            "keys",
            "LANGFUSE_%s_KEY is set but LANGFUSE_%s_KEY is not: nothing is sent to Langfuse, "
            "observations stay in the local journal",
            there.upper(),
            missing.upper(),
        )
    url = urlsplit(found.base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        say(
            "base_url",
            "LANGFUSE_BASE_URL (or LANGFUSE_HOST) is %r, not a URL such as %s: observations stay in the local journal",
            found.address,
            DEFAULT_BASE_URL,
        )
        changes.update(public_key=None, secret_key=None)
    if found.environment and not re.fullmatch(r"(?!langfuse)[a-z0-9_-]{1,40}", found.environment):
        say(
            "environment",
            "LANGFUSE_TRACING_ENVIRONMENT is %r, but must be 1 to 40 of a-z, 0-9, - and _ and not start with langfuse: "
            "it is left out",
            found.environment,
        )
        changes["environment"] = None
    if found.otlp_headers and not found.otlp_endpoint:
        say("headers", "LANGFUSE_INTEGRATION_OTLP_HEADERS is set without LANGFUSE_INTEGRATION_OTLP_ENDPOINT")
    if found.release is None:
        changes["release"] = standard_variables.release()
    changes["base_url"] = found.base_url.rstrip("/")
    return found.model_copy(update=changes)
