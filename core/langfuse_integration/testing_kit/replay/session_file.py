"""The session file `NAME.session.json`: a recording as readable JSON in a stable order, for a version control system.

A step whose messages begin with those of an earlier step of the same agent holds the new ones only, and the number of
that step in `continues`; its tools are those of that step unless it has an entry `tools`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from ...errors import SessionFileUnreadable
from ...reading.redaction import BY_NAMES, answer_redacted, redacted
from .question import KINDS
from .recording import RecordedStep, RecordedTurn, Recording

FORMAT = "langfuse-integration session"
VERSION = 3
READ_VERSIONS = (1, 2, 3)
"""Version 1 has no steps of tools, retrievers and embedding models; up to 2, secrets are hidden by names alone."""
SUFFIX = ".session.json"


def write(recording: Recording, path: Path) -> None:
    """Write a recording, without secrets and paths of this machine."""
    path.write_text(text_of(recording), encoding="utf-8")


def text_of(recording: Recording) -> str:
    """Return the session file of a recording."""
    latest: dict[str | None, RecordedStep] = {}
    values: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "session": recording.session_id,
        "user": recording.user_id,
        "turns": [redacted(_turn_fields(turn)) for turn in recording.turns],
        "steps": [_step_fields(step, latest) for step in recording.steps],
        "servers": {name: redacted(server) for name, server in recording.servers.items()},
    }
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace").decode()


def read(path: Path) -> Recording:
    """Return the recording in a session file.

    Raises:
        SessionFileUnreadable: the file is missing, cut, of another version, or was edited into something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SessionFileUnreadable(str(path), error.strerror or "it cannot be opened") from None
    except (ValueError, RecursionError) as error:
        raise SessionFileUnreadable(str(path), f"it is no JSON: {error}") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise SessionFileUnreadable(str(path), f'it has no "format": "{FORMAT}"')
    if values.get("version") not in READ_VERSIONS:
        problem = f"it has version {values.get('version')!r}, this release reads {', '.join(map(str, READ_VERSIONS))}"
        raise SessionFileUnreadable(str(path), problem)
    try:
        return _recording(values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}" if not isinstance(error, KeyError) else f"{error} is missing"
        raise SessionFileUnreadable(str(path), problem) from None


def _recording(values: Mapping[str, Any]) -> Recording:
    turns = [
        RecordedTurn(_number(turn, "turn"), turn["name"], turn["input"], turn["output"], turn["text"], turn["reply"])
        for turn in values["turns"]
    ]
    steps: dict[int, RecordedStep] = {}
    for fields in values["steps"]:
        step = _step(fields, steps)
        if step.number in steps or (steps and step.number != len(steps) + 1):
            raise ValueError(f"step {step.number} does not follow step {len(steps)}")
        steps[step.number] = step
    servers = cast("dict[str, dict[str, Any]]", dict(values.get("servers") or {}))
    recording = Recording(values["session"], values["user"], turns, list(steps.values()), servers)
    if values["version"] < 3:
        recording.redaction = BY_NAMES
    return recording


def _number(fields: Mapping[str, Any], name: str) -> int:
    number = fields[name]
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"{name} {number!r} is no number from 1 on")
    return number


def _turn_fields(turn: RecordedTurn) -> dict[str, Any]:
    fields = {"name": turn.name, "text": turn.text, "reply": turn.reply, "input": turn.input, "output": turn.output}
    return {"turn": turn.number, **fields}


def _step_fields(step: RecordedStep, latest: dict[str | None, RecordedStep]) -> dict[str, Any]:
    fields: dict[str, Any] = {"step": step.number, "turn": step.turn, "label": step.label, "kind": step.kind}
    if step.agent is not None:
        fields["agent"] = step.agent
    fields["name"] = step.name
    if step.alongside:
        fields["alongside"] = list(step.alongside)
    if step.think is not None:
        fields["think"] = step.think
    if step.inside is not None:
        fields["inside"] = step.inside
    before = latest.get(step.agent) if step.kind == "model" else None
    fields.update(_input_fields(step.input, before))
    if step.kind == "model":
        latest[step.agent] = step
    return {**redacted(fields), "answer": answer_redacted(step.exact)}


def _input_fields(value: Any, before: RecordedStep | None) -> dict[str, Any]:
    messages, rest = _parts(value)
    if before is None or messages is None:
        return {"input": value}
    earlier, earlier_rest = _parts(before.input)
    if not earlier or len(earlier) > len(messages) or messages[: len(earlier)] != earlier:
        return {"input": value}
    further: dict[str, Any] = {"continues": before.number, "messages": messages[len(earlier) :]}
    return further if rest == earlier_rest else {**further, "with": rest}


def _parts(value: Any) -> tuple[list[Any] | None, dict[str, Any] | None]:
    """Return the messages of an input and the rest of it; the rest is None for a plain list of messages."""
    if isinstance(value, list):
        return value, None
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        return value["messages"], {key: item for key, item in value.items() if key != "messages"}
    return None, None


def _step(fields: Mapping[str, Any], steps: Mapping[int, RecordedStep]) -> RecordedStep:
    if fields["kind"] not in KINDS:
        raise ValueError(f"kind {fields['kind']!r} is none of {', '.join(KINDS)}")
    for name, kinds in (("name", str), ("label", str), ("agent", (str, type(None)))):
        if not isinstance(fields.get(name), kinds):
            raise TypeError(f"the {name} of step {fields['step']} is no text")
    answer = fields["answer"]
    if answer is not None and not isinstance(answer, dict):
        raise TypeError(f"the answer of step {fields['step']} is no object")
    return RecordedStep(
        _number(fields, "step"),
        _number(fields, "turn"),
        fields["kind"],
        fields.get("agent"),
        fields["name"],
        fields["label"],
        _input(fields, steps),
        answer,
        tuple(fields.get("alongside", ())),
        fields.get("think"),
        fields.get("inside"),
    )


def _input(fields: Mapping[str, Any], steps: Mapping[int, RecordedStep]) -> Any:
    if "continues" not in fields:
        return fields["input"]
    if fields["continues"] not in steps:
        raise ValueError(f"step {fields['step']} continues step {fields['continues']}, which is not before it")
    messages, rest = _parts(steps[fields["continues"]].input)
    rest = fields.get("with", rest)
    joined = [*(messages or []), *fields["messages"]]
    return joined if rest is None else {"messages": joined, **rest}
