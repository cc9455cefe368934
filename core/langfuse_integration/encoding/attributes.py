"""An observation in Langfuse's words: the attributes that its server maps, one function per aspect.

Names and forms follow the Langfuse Python SDK 5.0 and server 4.16. To send something new, write a function and list it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from ..internals.faults import shielded
from .fields import Fields
from .json_text import to_json

if TYPE_CHECKING:
    from ..recording.observation import Observation

Value = str | bool | int | float | list[str]
Attributes = dict[str, Value]

TYPE = "langfuse.observation.type"
IS_APP_ROOT = "langfuse.internal.is_app_root"
METADATA = "langfuse.observation.metadata."
TRACE_METADATA = "langfuse.trace.metadata."
TRACE_TAGS = "langfuse.trace.tags"
MAX_METADATA_KEYS = 200


PLAIN = Fields()
_COMPLETING = shielded("completing an observation")


def attributes_of(observation: Observation, fields: Fields = PLAIN) -> Attributes:
    """Return everything that is sent of *observation*, by attribute name.

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
        attributes.update({key: _plain(key, value, fields) for key, value in raw.items()})
        if isinstance(tags, list) and TRACE_TAGS in raw:  # propagate_attributes inside of the block adds to them
            attributes[TRACE_TAGS] = list(dict.fromkeys((*tags, *cast("list[str]", attributes[TRACE_TAGS]))))
    return attributes


def _session(observation: Observation, fields: Fields, attributes: Attributes) -> None:
    session = observation.session
    if session is None:
        return
    if session.session_id is not None:
        attributes["session.id"] = session.session_id
        attributes["gen_ai.conversation.id"] = session.session_id
    if session.user_id is not None:
        attributes["user.id"] = session.user_id
    if session.tags:
        attributes[TRACE_TAGS] = list(session.tags)
    for key, value in session.metadata.items():
        attributes[TRACE_METADATA + key] = fields.text(value)
    for key, name in (("langfuse.trace.name", session.trace_name), ("langfuse.version", session.version)):
        if name is not None:
            attributes[key] = name
    if session.environment is not None:
        attributes["langfuse.environment"] = session.environment
    for key, value in session.extra.items():
        attributes[key] = _plain(key, value, fields)


def _kind(observation: Observation, fields: Fields, attributes: Attributes) -> None:
    attributes[TYPE] = observation.type
    if observation.app_root and observation.parent:
        attributes[IS_APP_ROOT] = True


def _payload(observation: Observation, fields: Fields, attributes: Attributes) -> None:
    if observation.input is not None:
        attributes["langfuse.observation.input"] = fields.payload(observation.input)
    if observation.output is not None:
        attributes["langfuse.observation.output"] = fields.payload(observation.output)


def _outcome(observation: Observation, fields: Fields, attributes: Attributes) -> None:
    if observation.level is not None:
        attributes["langfuse.observation.level"] = observation.level
    if observation.status_message:
        attributes["langfuse.observation.status_message"] = fields.text(observation.status_message)
    if observation.version:
        attributes["langfuse.version"] = observation.version


def _metadata(observation: Observation, fields: Fields, attributes: Attributes) -> None:
    for index, (key, value) in enumerate((observation.metadata or {}).items()):
        if index >= MAX_METADATA_KEYS:
            attributes[METADATA + "cut"] = f"{len(observation.metadata or {}) - index} more entries"
            return
        attributes[METADATA + str(key)] = fields.text(value)


def _model(observation: Observation, fields: Fields, attributes: Attributes) -> None:
    if observation.model:
        attributes["langfuse.observation.model.name"] = observation.model
    if observation.model_parameters:
        attributes["langfuse.observation.model.parameters"] = fields.text(observation.model_parameters)
    if observation.prompt is not None and observation.type == "generation":
        name, version = observation.prompt
        attributes["langfuse.observation.prompt.name"] = name
        if version is not None:
            attributes["langfuse.observation.prompt.version"] = version
    if observation.first_token_ns:
        attributes["langfuse.observation.completion_start_time"] = iso(observation.first_token_ns)


def _usage(observation: Observation, fields: Fields, attributes: Attributes) -> None:
    if observation.usage_details:
        usage = whole_numbers(observation.usage_details)
        if usage:
            attributes["langfuse.observation.usage_details"] = to_json(usage)
    if observation.cost_details:
        attributes["langfuse.observation.cost_details"] = to_json(dict(observation.cost_details))


ASPECTS = (_session, _kind, _payload, _outcome, _metadata, _model, _usage)


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


def _plain(key: str, value: Any, fields: Fields) -> Value:
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return str(fields.raw(key, value))
    if isinstance(value, (list, tuple)):
        return [str(item) for item in cast("list[Any]", value)]
    return fields.text(value)
