"""The command `fork`: runs a session again from the recording, and goes on live at a step."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from .options import chosen, complete_session
from .screen import Screen, note, reported
from .text import in_one_line

DELIVER_S = 10.0


class ToolSource(StrEnum):
    """Where the application's own tools are answered from before the fork."""

    RECORDED = "recorded"
    LIVE = "live"


def fork(
    session: Annotated[
        str,
        typer.Argument(metavar="SESSION", autocompletion=complete_session, help="The session's id, or its beginning."),
    ],
    at: Annotated[str, typer.Option("--at", metavar="STEP", help="A step's number, or its label: 'think 2'.")],
    call: Annotated[
        str,
        typer.Option("--call", "-c", metavar="MODULE:FUNCTION", help="Your function that takes a turn's input."),
    ],
    answer: Annotated[
        str | None, typer.Option("--answer", "-a", metavar="TEXT", help="Answer in place of that step; live after it.")
    ] = None,
    tools: Annotated[
        ToolSource,
        typer.Option("--tools", help="The application's own tools before that step: recorded ones do not run."),
    ] = ToolSource.LIVE,
) -> None:
    """Replay a session up to a step, go on live from there, and record that as a new session."""
    with reported():
        import uuid

        from .. import langfuse_manager
        from ..errors import ReplayDiverged
        from ..reading.archive import Archive
        from ..sessions.session import Session
        from ..testing_kit.replay.entry import TurnFunction
        from ..testing_kit.replay.fork import step_at
        from ..testing_kit.replay.recording import recording_of
        from ..testing_kit.replay.replaying import Replaying, ReplayOptions

        function = TurnFunction.of(call)
        with Archive.of_settings() as archive:
            session_id = chosen(archive, session)
            recording = recording_of(archive.replay(session_id))
        step = step_at(recording, at)
        options: ReplayOptions = {"until": step.number} if answer is None else {"answers": {step.number: answer}}
        options["tools"] = "recorded" if tools is ToolSource.RECORDED else "live"
        forked_id = f"{session_id[:180]}-fork-{uuid.uuid4().hex[:6]}"
        metadata = {"forked_from": session_id, "forked_at": f"step {step.number} ({step.label})"}
        forked = Session(forked_id, recording.user_id, metadata=metadata)
        try:
            with Replaying(recording, options, session=forked) as replayed:
                function.run(list(replayed.turns[: step.turn]))
        except ReplayDiverged as error:
            for divergence in error.divergences:
                note(divergence)
        langfuse_manager.flush(DELIVER_S)
        screen = Screen()
        screen.line(f"{in_one_line(forked_id)}: forked from {in_one_line(session_id)} at {metadata['forked_at']}")
        screen.line(f"lfi diff {in_one_line(session_id)} {in_one_line(forked_id)}")
