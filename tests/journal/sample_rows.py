"""Rows with large texts, as an agent's steps have them: for the tests of the journal, and the processes that they kill.

Nothing here imports pytest: the server of multiprocessing imports this module.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from langfuse_integration.encoding import otlp
from langfuse_integration.encoding.row import Row
from langfuse_integration.encoding.shared_text import Rope, SharedText

HISTORIES = 4
ROWS_OF_A_SEED = 100_000
ROWS_OF_A_SESSION = 25


def row(number: int, text: str | Rope, *, session_id: str | None = "chat", output: str = "") -> Row:
    """An observation with this input."""
    attributes = {"langfuse.observation.type": "generation", "langfuse.observation.input": text, "output": output}
    parts = [otlp.ids(number + 1, number + 1, 0), otlp.field(otlp.NAME, b"model"), otlp.times(1, number, number + 1)]
    size = sum(map(len, parts)) + otlp.put(parts, otlp.ATTRIBUTE, attributes)
    request = otlp.rope_request if isinstance(text, Rope) else otlp.request
    body = request(otlp.field(b"\x0a", b""), otlp.scope_field("scope", ""), parts, size)
    ids = f"{number + 1:016x}", f"{number + 1:032x}"
    return Row(*ids, "", session_id, None, "model", "generation", "DEFAULT", number, number + 1, body)


def history(chance: random.Random, count: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": chance.randbytes(200).hex()} for _ in range(count)]


def grown(before: SharedText | None, messages: list[dict[str, str]]) -> SharedText:
    """What is said so far, without brackets."""
    part = text_of(messages)[1:-1].encode()
    return SharedText(before, b"," + part if before is not None else part)


def rope_of(text: SharedText, *more: SharedText) -> Rope:
    """A state with a history, or with several."""
    pieces = [piece for history in (text, *more) for piece in (b'"messages":[', history, b"],")]
    return Rope([b"{", *pieces, b'"done":false}'])


def text_of(messages: Any) -> str:
    return json.dumps(messages, separators=(",", ":"))


def rows_of(seed: int) -> Iterator[Row]:
    """Yield the rows of a process: histories that grow, are edited, cut, branched and put into states.

    Each process begins with what all of them say.
    """
    chance, common = random.Random(seed), random.Random(0)
    beginning = history(common, 8)
    histories = [beginning[:] for _ in range(HISTORIES)]
    texts: list[SharedText | None] = [grown(None, beginning) for _ in range(HISTORIES)]
    for place in range(ROWS_OF_A_SEED):
        who, other = chance.randrange(HISTORIES), chance.randrange(HISTORIES)
        step = chance.choice(("say", "say", "state", "edit", "cut", "branch", "grow", "grow", "fork", "text"))
        messages = histories[who]
        if step in ("grow", "fork"):
            before = texts[other if step == "fork" else who]
            shared = texts[who] = grown(before, history(chance, chance.randint(1, 3)))
            text: str | Rope = rope_of(shared, *([before] if step == "fork" and before is not None else []))
        elif step == "text":
            text = chance.choice(("}]}]", "line\n", "\u00e9", "},{")) * chance.randrange(9_000)
        else:
            if step == "edit":
                changed = chance.randrange(len(messages) + 1)
                messages = [*messages[:changed], *history(chance, 1), *messages[changed + 1 :]]
            elif step == "cut":
                messages = messages[chance.randrange(len(messages) + 1) :]
            elif step == "branch":
                messages = histories[other]
            messages = histories[who] = [*messages, *history(chance, chance.randint(1, 3))]
            text = text_of({"messages": messages, "more": "x" * 900} if step == "state" else messages)
        session_id = f"chat {seed} {place // ROWS_OF_A_SESSION}"
        yield row(seed * ROWS_OF_A_SEED + place, text, session_id=session_id)
