"""How chat messages are noted, on the application's thread: role, further fields, and the fields of each block."""

from __future__ import annotations

from typing import Any

from langfuse_integration.recording.noted_messages import Keeper
from langfuse_integration.recording.snapshot import ATOMS, containers

_are_plain = ATOMS.issuperset
_NO_ENTRIES: dict[str, Any] = {}
"""A copy of what is empty: each container that waits for the worker makes the garbage collector run more often."""


def _contents(messages: list[Any]) -> list[Any]:
    """Return the text of each message that has one block; None for another one."""
    return [
        parts[0].__dict__.get("text") if len(parts := message.__dict__["blocks"]) == 1 else None for message in messages
    ]


def _fields(messages: list[Any]) -> list[Any]:
    every: list[Any] = []
    for message in messages:
        fields = message.__dict__
        extra = fields["additional_kwargs"]
        if extra:
            extra = extra.copy() if _are_plain(map(type, extra.values())) else containers(extra)
        else:
            extra = _NO_ENTRIES
        noted = [fields["role"], extra]
        every.append(noted)
        for block in fields["blocks"]:
            values = block.__dict__.copy()
            noted += block, values
            if _are_plain(map(type, values.values())):
                continue
            for name, item in values.items():
                if type(item) is dict and _are_plain(map(type, item.values())):  # arguments of a tool, mostly
                    values[name] = item.copy()
                elif type(item) not in ATOMS:
                    values[name] = containers(item)
    return every


def _present(messages: list[Any]) -> list[Any]:
    every: list[Any] = []
    for message in messages:
        fields = message.__dict__
        noted = [fields["role"], fields["additional_kwargs"]]
        every.append(noted)
        for block in fields["blocks"]:
            noted += block, block.__dict__
    return every


def _message(message: Any, content: Any, fields: Any) -> Any:
    """Return a message as it was noted."""
    copy = message.model_copy()
    if fields is None:
        block = message.blocks[0].model_copy()
        block.__dict__["text"] = content
        copy.__dict__["blocks"] = [block]
    else:
        role, extra, *blocks = fields
        parts = list(map(_block, blocks[::2], blocks[1::2]))
        copy.__dict__.update(role=role, additional_kwargs=extra, blocks=parts)
    return copy


def _block(block: Any, fields: dict[str, Any]) -> Any:
    copy = block.model_copy()
    copy.__dict__.update(fields)
    return copy


MESSAGES = Keeper(_contents, _fields, _present, _message)
