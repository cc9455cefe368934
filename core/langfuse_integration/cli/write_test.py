"""The command `test`: a recorded session as a test that needs no model, no server and no key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import chosen, complete_session
from .screen import Screen, note, reported, stop
from .text import in_one_line

FOLDER = Path("tests/sessions")
NOT_EXACT = (
    "its answers were not recorded in their exact form: record it where rows stay in the journal, or with "
    "LANGFUSE_INTEGRATION_REPLAYABLE=1, and with everything captured."
)


def write_test(
    session: Annotated[
        str,
        typer.Argument(metavar="SESSION", autocompletion=complete_session, help="The session's id, or its beginning."),
    ],
    call: Annotated[
        str | None,
        typer.Option(
            "--call", "-c", metavar="MODULE:FUNCTION", help="Your function that takes a turn's text or input."
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where the two files go.")] = FOLDER,
) -> None:
    """Write a session as a test: models and MCP servers answer from the recording."""
    with reported():
        from ..reading.archive import Archive
        from ..testing_kit.replay import session_file
        from ..testing_kit.replay.entry import TurnFunction
        from ..testing_kit.replay.recording import recording_of
        from ..testing_kit.replay.test_file import file_name, module_name, module_text

        function = TurnFunction.of(call) if call is not None else None
        with Archive.of_settings() as archive:
            session_id = chosen(archive, session)
            recording = recording_of(archive.replay(session_id))
        if not recording.forms:
            raise stop(f"{in_one_line(session_id)} cannot be replayed: {NOT_EXACT}")
        name = file_name(session_id)
        target, module = output / (name + session_file.SUFFIX), output / module_name(name)
        try:
            output.mkdir(parents=True, exist_ok=True)
            session_file.write(recording, target)
            if not module.exists() or function is not None:
                module.write_text(module_text(session_id, target.name, name, function), encoding="utf-8")
        except OSError as error:
            raise stop(f"{output} cannot be written: {error.strerror}.") from None
        screen = Screen()
        screen.line(f"{target}: {len(recording.turns)} turns, {len(recording.steps)} steps")
        screen.line(f"{module}: run it here with python -m pytest {module}")
        if function is None:
            note("Put the call of your application where the test says so, or name it with --call module:function.")
        for step in recording.incomplete:
            note(f"Step {step.number} ({step.label}) has no exact answer: the application must not ask for it.")
