"""Secrets among plain values, by the names of their entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .secret_names import Strength, is_secret, strength_of

Change = Callable[[str], str]

_SCHEMA = ("type", "$ref", "anyOf", "allOf", "oneOf", "enum", "const", "description", "title", "properties")
_FIELDS = ("properties", "patternProperties", "$defs", "definitions")
"""Entries of a JSON schema that hold the names of fields, not values."""
_KIND = "$"
_STAY: dict[Any, tuple[str, ...]] = {
    **dict.fromkeys(
        ("model", "dataclass", "tuple", "set", "frozenset", "dict", "lost"), ("$", "class", "unset", "set")
    ),
    **dict.fromkeys(("text", "bytes"), ("$", "class", "text", "base64")),
    **dict.fromkeys(("enum", "number"), ("$", "class", "value", "text")),
}
"""Kinds of exact forms (`encoding/object_form.py`), and the entries without which an object cannot be rebuilt."""
_WRITTEN = {"text": "text", "bytes": "base64"}
"""Kinds of objects that are rebuilt from one text: where it is a secret, no such object can be."""
_LABELS = ("name", "key")


def secrets_changed(value: Any, change: Change, strength: Strength = Strength.NONE, *, tokens: bool = False) -> Any:
    """Return *value* with *change* applied to each text that its name tells to be a secret; its form stays.

    Args:
        strength: of the name of *value*.
        tokens: it is among a model's tokens with their probabilities, where no `token` is a secret.
    """
    if isinstance(value, dict):
        return _entries_changed(value, change, strength, tokens)
    if not isinstance(value, list):
        return value
    if all(isinstance(item, list) and len(item) == 2 and all(isinstance(each, str) for each in item) for item in value):
        return [[name, _text(name, text, change, tokens)] for name, text in value]
    return [
        change(item)
        if strength is Strength.STRONG and isinstance(item, str) and item
        else secrets_changed(item, change, strength, tokens=tokens)
        for item in value
    ]


def _entries_changed(value: dict[str, Any], change: Change, strength: Strength, tokens: bool) -> dict[str, Any]:
    if isinstance(kind := value.get(_KIND), str) and kind in _STAY:
        return _form_changed(value, change, strength, tokens)
    tokens = tokens or any("logprob" in name.lower() or name == "logProbability" for name in value)
    inherited = Strength.NONE if any(name in value for name in _SCHEMA) else strength
    changed: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, str):
            own = Strength.STRONG if inherited is Strength.STRONG else None
            changed[name] = _text(_label(value) if name == "value" else name, item, change, tokens, own)
        elif name in _FIELDS and isinstance(item, dict):
            changed[name] = {
                field: secrets_changed(schema, change, tokens=tokens)
                if not isinstance(schema, str)
                else _text(field, schema, change, tokens)
                for field, schema in item.items()
            }
        else:
            below = max(inherited, strength_of(name))
            changed[name] = secrets_changed(item, change, below, tokens=tokens)
    return changed


def _form_changed(form: dict[str, Any], change: Change, strength: Strength, tokens: bool) -> dict[str, Any]:
    """Return an exact form of an object that can still be rebuilt: what says how to rebuild it stays."""
    kind, name = form[_KIND], form.get("class")
    if kind in _WRITTEN and not str(name).startswith("datetime:"):
        text = form.get(_WRITTEN[kind])
        if isinstance(text, str) and is_secret("", text, strength):
            return {_KIND: "lost", "class": name or "builtins:bytes", "text": change(text)}
    stay = {entry: form[entry] for entry in _STAY[kind] if entry in form}
    below = {entry: item for entry, item in form.items() if entry not in stay}
    return {**form, **_entries_changed(below, change, strength, tokens), **stay}


def _label(value: dict[str, Any]) -> str:
    """Return the name that an entry `value` belongs to, as in a list of headers or of variables."""
    return next((label for name in _LABELS if isinstance(label := value.get(name), str)), "value")


def _text(name: str, text: str, change: Change, tokens: bool, strength: Strength | None = None) -> str:
    strength = strength_of(name) if strength is None else strength
    if tokens and strength is Strength.WEAK:
        return text
    return change(text) if is_secret(name, text, strength) else text
