"""The exact form of an exception: enough to raise an equal one in a replay, and no reference to its frames."""

from __future__ import annotations

from typing import Any

ATTRIBUTES = ("status_code", "code", "type", "param", "body", "error", "data", "request_id", "message")
"""What applications read from the exceptions of providers and servers; only plain values are kept."""
_PLAIN = (str, int, float, bool, dict, list)


def error_form(error: BaseException) -> dict[str, Any]:
    """Return class, arguments and plain attributes of *error*; cheap, and safe to call where it was raised."""
    kind = type(error)
    form: dict[str, Any] = {
        "type": f"{kind.__module__}.{kind.__qualname__}",
        "args": [item if isinstance(item, _PLAIN) or item is None else str(item) for item in error.args],
    }
    values = vars(error) if hasattr(error, "__dict__") else {}
    attributes = {name: values[name] for name in ATTRIBUTES if isinstance(values.get(name), _PLAIN)}
    return {**form, "attributes": attributes} if attributes else form
