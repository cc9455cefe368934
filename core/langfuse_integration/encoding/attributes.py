"""An observation in Langfuse's words: the attributes that its server maps, one function per aspect.

Names and forms follow the Langfuse Python SDK 5.0 and server 4.16. To send something new, write a function and list it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from ..internals.faults import shielded
from ..recording.anchor import companion_parents
from ..recording.sdk_metadata import plain_text
from .fields import Fields
from .json_text import to_json
from .otlp import COMPANION
from .usage import in_buckets

if TYPE_CHECKING:
    from ..recording.observation import Observation
    from ..sessions.session import Session

Value = str | bool | int | float | list[str]
Attributes = dict[str, Any]
"""Values that OpenTelemetry takes, see `Value`; None where a value is not captured at all."""

TYPE = "langfuse.observation.type"
ENVIRONMENT = "langfuse.environment"
VERSION = "langfuse.version"
PROMPT = "langfuse.observation.prompt."
OUTPUT = "langfuse.observation.output"
USAGE = "langfuse.observation.usage_details"
COST = "langfuse.observation.cost_details"
STATUS_MESSAGE = "langfuse.observation.status_message"
IS_APP_ROOT = "langfuse.internal.is_app_root"
METADATA = "langfuse.observation.metadata."
TRACE_METADATA = "langfuse.trace.metadata."
TRACE_TAGS = "langfuse.trace.tags"
MAX_METADATA_KEYS = 200
PRICED = frozenset({"generation", "embedding"})
"""Types whose tokens the server counts and prices when no row says what they were."""


PLAIN = Fields()
_COMPLETING = shielded("completing an observation")


def attributes_of(observation: Observation, fields: Fields = PLAIN) -> Attributes:
    """Return all attributes of *observation* as they are sent.

    Args:
        fields: turns values into text: masking, capture and size limits are applied there.
    """
    if observation.late is not None:
        with _COMPLETING:
            observation.late(observation)
    attributes: Attributes = {}
    for read in ASPECTS:
        read(observation, fields, attributes)
    raw = observation.raw_attributes
    if raw:
        tags = attributes.get(TRACE_TAGS)
        kind = attributes[TYPE]
        attributes.update({key: _plain(key, value, fields) for key, value in raw.items()})
        if attributes[TYPE] == "span":  # update_current_span of langfuse 4.7 says so of whatever is current
            attributes[TYPE] = kind
        if tags and attributes.get(TRACE_TAGS):  # propagate_attributes inside of the block adds to them
            attributes[TRACE_TAGS] = list(dict.fromkeys((*tags, *attributes[TRACE_TAGS])))
    return {key: value for key, value in attributes.items() if value is not None}


def companion_of(span_id: int) -> dict[str, str]:
    """Return what names the span of another library that a row stands below where Langfuse does not have it."""
    companion = companion_parents.get(span_id)
    return {} if companion is None else {COMPANION: f"{companion:016x}"}


def _session(observation: Observation, fields: Fields, attributes: Attributes) -> None:
    session = observation.session
    if session is None:
        return
    if session.session_id is not None:
        attributes["session.id"] = session.session_id
        attributes["gen_ai.conversation.id"] = session.session_id
    if session.user_id is not None:
        attributes["user.id"] = session.user_id
    if session.environment is not None:
        attributes[ENVIRONMENT] = session.environment


def _trace(observation: Observation, fields: Fields, attributes: Attributes) -> None:
    session = observation.session
    if session is None:
        return
    _put_trace(session, fields, attributes)
    for key, value in session.extra.items():
        if not key.startswith(PROMPT) or (observation.type == "generation" and observation.prompt is None):
            attributes[key] = _plain(key, value, fields)


def _put_trace(session: Session, fields: Fields, attributes: Attributes) -> None:
    if session.tags:
        attributes[TRACE_TAGS] = fields.raw(TRACE_TAGS, session.tags)
    for key, value in session.metadata.items():
        attributes[TRACE_METADATA + key] = fields.metadata(TRACE_METADATA + key, value)
    for key, name in (("langfuse.trace.name", session.trace_name), (VERSION, session.version)):
        if name is not None:
            attributes[key] = fields.name(name)


@lru_cache(256)
def span_attributes(session: Session) -> Mapping[str, Value]:
    """Return the attributes that a span of another library in *session* gets: those of the session and of its trace.

    `gen_ai.conversation.id` is not among them: it would make any span one that Langfuse takes.
    """
    attributes: Attributes = {}
    for key, value in (
        ("session.id", session.session_id),
        ("user.id", session.user_id),
        (ENVIRONMENT, session.environment),
    ):
        if value is not None:
            attributes[key] = value
    _put_trace(session, PLAIN, attributes)
    return {**attributes, **session.extra}


def _kind(observation: Observation, fields: Fields, attributes: Attributes) -> None:
    attributes[TYPE] = observation.type
    if observation.app_root and observation.parent:
        attributes[IS_APP_ROOT] = True


def _payload(observation: Observation, fields: Fields, attributes: Attributes) -> None:
    if observation.input is not None:
        attributes["langfuse.observation.input"] = fields.payload(observation.input)
    if observation.output is not None:
        attributes[OUTPUT] = fields.payload(observation.output)


def _outcome(observation: Observation, fields: Fields, attributes: Attributes) -> None:
    if observation.level is not None:
        attributes["langfuse.observation.level"] = observation.level
    if observation.status_message:
        attributes[STATUS_MESSAGE] = fields.message(observation.status_message)
    if observation.version:
        attributes[VERSION] = fields.name(observation.version)


def _metadata(observation: Observation, fields: Fields, attributes: Attributes) -> None:
    for index, (key, value) in enumerate((observation.metadata or {}).items()):
        if index >= MAX_METADATA_KEYS:
            attributes[METADATA + "cut"] = fields.name(f"{len(observation.metadata or {}) - index} more entries")
            return
        name = METADATA + str(key)
        attributes[name] = fields.metadata(name, value)


def _model(observation: Observation, fields: Fields, attributes: Attributes) -> None:
    if observation.model:
        attributes["langfuse.observation.model.name"] = observation.model
    if observation.model_parameters:
        attributes["langfuse.observation.model.parameters"] = fields.parameters(observation.model_parameters)
    if observation.prompt is not None and observation.type == "generation":
        name, version = observation.prompt
        attributes[PROMPT + "name"] = fields.name(name)
        if version is not None:
            attributes[PROMPT + "version"] = version
    if observation.first_token_ns:
        attributes["langfuse.observation.completion_start_time"] = iso(observation.first_token_ns)


def _usage(observation: Observation, fields: Fields, attributes: Attributes) -> None:
    if observation.usage_details:
        usage = whole_numbers(in_buckets(observation.usage_details, observation.model))
        if usage:
            attributes[USAGE] = to_json(usage)
    if observation.cost_details:
        attributes[COST] = to_json(dict(observation.cost_details))


def _failure(observation: Observation, fields: Fields, attributes: Attributes) -> None:
    if observation.level == "ERROR":
        attributes.update(failed_attributes(attributes, attributes.get(STATUS_MESSAGE)))


ASPECTS = (_session, _trace, _kind, _payload, _outcome, _metadata, _model, _usage, _failure)


def failed_attributes(attributes: Mapping[str, Any], message: str | None) -> dict[str, str]:
    """Return the additional attributes of a failed observation.

    Its error is its output: Langfuse's session view hides rows without one, so that a failed turn would be empty. And
    it costs nothing where no usage is known: the server would count the tokens of its texts, and price them.
    """
    further: dict[str, str] = {}
    if message and OUTPUT not in attributes:
        further[OUTPUT] = message
    if attributes.get(TYPE) in PRICED and USAGE not in attributes and COST not in attributes:
        further[COST] = '{"total":0}'
    return further


def whole_numbers(usage: Mapping[str, Any] | None) -> dict[str, int]:
    """Return the buckets that are whole numbers of 0 or more: one other value makes the server drop all of them."""
    return {
        str(key): int(value)
        for key, value in (usage or {}).items()
        if isinstance(value, (int, float)) and value == value and value >= 0 and value == int(value)
    }


def iso(at_ns: int) -> str:
    """Return wall time in ns as ISO 8601 in UTC, with microseconds."""
    return datetime.fromtimestamp(at_ns / 1_000_000_000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _plain(key: str, value: Any, fields: Fields) -> Value | None:
    """Return an attribute that was set through OpenTelemetry's API."""
    if isinstance(value, (list, tuple)):
        value = [str(item) for item in cast("list[Any]", value)]
    elif isinstance(value, str) and key.startswith((METADATA, TRACE_METADATA)):
        value = plain_text(value)
    plain: Value | None = fields.raw(key, value)
    return plain
