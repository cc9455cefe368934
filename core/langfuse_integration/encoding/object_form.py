"""Exact forms of objects: JSON from which an equal object of the same class is rebuilt.

Plain values stay as they are. Anything else is a dict whose key `$` names what it is:

    {"$": "model", "class": "module:Name", "fields": {...}}    pydantic; fields that have their default are left out
    {"$": "dataclass", "class": ..., "fields": {...}}
    {"$": "enum", "class": ..., "value": ...}
    {"$": "text", "class": ..., "text": ...}                   what is made from its text: dates, paths, addresses
    {"$": "bytes", "base64": ...}, {"$": "tuple" | "set" | "frozenset", "items": [...]}
    {"$": "dict", "items": [[key, value], ...]}                keys that JSON does not have
    {"$": "number", "text": ...}                               numbers that JSON does not have
    {"$": "lost", "class": ..., "text": ...}                   no exact form; rebuilt as the text

Rebuilding calls no code of the file's choice: classes have to be of packages that are imported already, and only
models, dataclasses, enums and the classes in `TEXTS` are made, without their validators.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import importlib
import math
import pathlib
import sys
import uuid
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeGuard

from pydantic import AnyUrl, BaseModel

from ..recording.noted_messages import History, NotedMessage

KIND = "$"
MAX_DEPTH = 100
LARGEST = 2**63
TEXTS: tuple[type, ...] = (
    datetime.datetime, datetime.date, datetime.time, uuid.UUID, decimal.Decimal, pathlib.PurePath, AnyUrl,
)  # fmt: skip
_SEQUENCES: dict[type, str] = {tuple: "tuple", set: "set", frozenset: "frozenset"}
_MISSING: Any = object()


# -- to JSON


def form_of(value: Any, depth: int = 0) -> Any:
    """Return *value* as JSON; what has no exact form is marked as lost."""
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int or kind is float:
        plain = -LARGEST <= value < LARGEST if kind is int else math.isfinite(value)
        return value if plain else {KIND: "number", "text": repr(value)}
    if depth > MAX_DEPTH:
        return _lost(value)
    if isinstance(value, Enum):
        return {KIND: "enum", "class": _name(kind), "value": form_of(value.value, depth + 1)}
    if kind is dict:
        return _form_of_dict(value, depth)
    if kind is list:
        return [form_of(item, depth + 1) for item in value]
    if kind in _SEQUENCES:
        return {KIND: _SEQUENCES[kind], "items": [form_of(item, depth + 1) for item in value]}
    if kind in (bytes, bytearray):
        return {KIND: "bytes", "base64": base64.b64encode(value).decode()}
    if isinstance(value, TEXTS):
        text = value.isoformat() if hasattr(value, "isoformat") else str(value)
        return {KIND: "text", "class": _name(kind), "text": text}
    return _form_of_object(value, depth)


def _form_of_dict(value: dict[Any, Any], depth: int) -> Any:
    if all(type(key) is str for key in value) and KIND not in value:
        return {key: form_of(item, depth + 1) for key, item in value.items()}
    return {KIND: "dict", "items": [[form_of(key, depth + 1), form_of(item, depth + 1)] for key, item in value.items()]}


def _form_of_object(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is NotedMessage or kind is History:
        return form_of(value.restored(), depth)
    if isinstance(value, BaseModel):
        return form_of_fields(kind, value.__dict__, value, depth)
    if dataclasses.is_dataclass(kind):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {KIND: "dataclass", "class": _name(kind), "fields": _form_of_dict(fields, depth)}
    if isinstance(value, Mapping):
        return _form_of_dict(dict(value), depth)
    if isinstance(value, (str, int, float)):
        return form_of(_plain(value), depth)
    return _lost(value)


def form_of_fields(kind: type[BaseModel], values: Mapping[str, Any], model: BaseModel, depth: int = 0) -> Any:
    """Return the form of a model of class *kind* with these field values; all else is taken from *model*."""
    fields = {name: item for name, item in values.items() if not _is_default(kind, name, item)}
    form: dict[str, Any] = {KIND: "model", "class": _name(kind), "fields": _form_of_dict(fields, depth)}
    set_ = model.model_fields_set
    unset = sorted(name for name in fields if name not in set_)
    defaults = sorted(name for name in set_ if name in kind.model_fields and name not in fields)
    private = {
        name: item
        for name, item in (model.__pydantic_private__ or {}).items()
        if item != _private_default(kind, name) and not _is_lost(form_of(item, depth + 1))
    }
    form |= {name: part for name, part in (("unset", unset), ("set", defaults)) if part}
    more = {"extra": model.__pydantic_extra__, "private": private}
    return form | {name: _form_of_dict(entries, depth) for name, entries in more.items() if entries}


def _is_default(kind: type[BaseModel], name: str, value: Any) -> bool:
    field = kind.model_fields.get(name)
    if field is None:
        return False
    if field.default_factory in (list, dict):
        default: Any = field.default_factory()
    else:
        default = field.default
    return type(value) is type(default) and value == default


def _private_default(kind: type[BaseModel], name: str) -> Any:
    attribute = kind.__private_attributes__.get(name)
    return attribute.default if attribute is not None else _MISSING


def _plain(value: Any) -> Any:
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    return None


def _lost(value: Any) -> dict[str, Any]:
    try:
        text = repr(value)[:1000]
    except Exception:  # noqa: BLE001  values of the application
        text = ""
    return {KIND: "lost", "class": _name(type(value)), "text": text}


def _is_lost(form: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(form, dict) and form.get(KIND) == "lost"


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


# -- from JSON


def rebuilt(form: Any) -> Any:
    """Return the object whose form this is.

    A model or a dataclass of a class that is not there is rebuilt as the dict of its fields.

    Raises:
        ValueError: this is no form, or names a class that is none of its kind.
    """
    if isinstance(form, list):
        return [rebuilt(item) for item in form]
    if not isinstance(form, dict):
        return form
    if KIND not in form:
        return {key: rebuilt(item) for key, item in form.items()}
    build = _BUILDERS.get(form[KIND])
    if build is None:
        raise ValueError(f"{form[KIND]!r} is no kind of an exact form: the recording may be of a newer release.")
    try:
        return build(form)
    except (KeyError, TypeError) as error:
        raise ValueError(f"The exact form of kind {form[KIND]!r} is incomplete ({error}).") from error


def _rebuilt_model(form: dict[str, Any]) -> Any:
    kind = _class(form, BaseModel)
    fields = {name: rebuilt(item) for name, item in form["fields"].items()}
    if kind is None:
        return fields
    extra = rebuilt(form.get("extra"))
    set_ = ({*fields} - {*form.get("unset", ())}) | {*form.get("set", ())} | {*(extra or ())}
    made = _constructed(kind, fields, set_)
    if extra:
        object.__setattr__(made, "__pydantic_extra__", extra)
    for name, item in form.get("private", {}).items():
        (made.__pydantic_private__ or {})[name] = rebuilt(item)
    return made


def _constructed(kind: type[BaseModel], fields: dict[str, Any], set_: set[str]) -> BaseModel:
    """Return a model without validation, as pydantic's own `model_construct`, which providers override."""
    made = kind.__new__(kind)
    values = {
        name: fields[name] if name in fields else field.get_default(call_default_factory=True)
        for name, field in kind.model_fields.items()
    }
    object.__setattr__(made, "__dict__", {**values, **fields})
    object.__setattr__(made, "__pydantic_fields_set__", set_)
    object.__setattr__(made, "__pydantic_extra__", {} if kind.model_config.get("extra") == "allow" else None)
    if kind.__pydantic_post_init__:
        made.model_post_init(None)
    if not hasattr(made, "__pydantic_private__") or made.__pydantic_private__ is None:
        private = {name: attribute.get_default() for name, attribute in kind.__private_attributes__.items()}
        object.__setattr__(made, "__pydantic_private__", private or None)
    return made


def _rebuilt_dataclass(form: dict[str, Any]) -> Any:
    kind = _class(form, object)
    fields = {name: rebuilt(item) for name, item in form["fields"].items()}
    if kind is None:
        return fields
    if not hasattr(kind, "__dataclass_fields__"):
        raise ValueError(f"{form['class']} is no dataclass.")
    made = kind.__new__(kind)
    for name, item in fields.items():
        object.__setattr__(made, name, item)
    return made


def _rebuilt_enum(form: dict[str, Any]) -> Any:
    kind = _class(form, Enum)
    value = rebuilt(form["value"])
    return value if kind is None else kind(value)


def _rebuilt_text(form: dict[str, Any]) -> Any:
    kind: Any = _class(form, object)
    if kind is None or not issubclass(kind, TEXTS):
        raise ValueError(f"{form['class']} is not made from a text.")
    return kind.fromisoformat(form["text"]) if hasattr(kind, "fromisoformat") else kind(form["text"])


def _rebuilt_number(form: dict[str, Any]) -> float | int:
    text = form["text"]
    return float(text) if text in ("nan", "inf", "-inf") else int(text)


def _class(form: dict[str, Any], base: type) -> Any:
    """Return the class that a form names, or None if it is not there.

    Raises:
        ValueError: it is not of the kind *base*.
    """
    module, _, name = str(form["class"]).partition(":")
    if module.partition(".")[0] not in sys.modules:
        return None
    try:
        found: Any = sys.modules.get(module) or importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return None
    if not isinstance(found, type) or not issubclass(found, base):
        raise ValueError(f"{form['class']} is no {base.__name__}.")
    return found


_BUILDERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "model": _rebuilt_model,
    "dataclass": _rebuilt_dataclass,
    "enum": _rebuilt_enum,
    "text": _rebuilt_text,
    "number": _rebuilt_number,
    "bytes": lambda form: base64.b64decode(form["base64"]),
    "tuple": lambda form: tuple(rebuilt(form["items"])),
    "set": lambda form: set(rebuilt(form["items"])),
    "frozenset": lambda form: frozenset(rebuilt(form["items"])),
    "dict": lambda form: {rebuilt(key): rebuilt(item) for key, item in form["items"]},
    "lost": lambda form: form["text"],
}
