"""`demo`: two users talk to an agent at the same time; then their sessions are replayed from the journal.

The application is the one in `examples/demo_agent`, run as a process of its own: core knows no framework, and what is
shown comes from the journal alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Annotated

import typer

from .screen import Screen, note, reported, stop

if TYPE_CHECKING:
    from ..reading.archive import Archive

NEEDED = ("langchain", "langgraph", "llama_index", "mcp")
PLACES = (Path(__file__).parents[1] / "examples", Path(__file__).parents[3] / "examples")
"""Places of the demo application: in an installed package, in a checkout."""


def demo(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="PROVIDER:NAME",
            help="A real model, such as openai:gpt-5-mini; its key is in the environment.",
        ),
    ] = None,
) -> None:
    """Watch two users talk to an agent at once, and replay their sessions. Needs no account and no key."""
    with reported():
        from ..settings import settings

        if settings().mode == "off":
            raise stop("Tracing is switched off by LANGFUSE_TRACING_ENABLED: unset it to see the demo.")
        application = _application()
        screen = Screen()
        run = uuid.uuid4().hex[:6]
        with _journal() as journal:
            screen.lines(_opening(application))
            _talk(screen, application, journal, run, model)
            _replay(screen, journal, run, _names(context))


def _application() -> Path:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise stop(f"The demo needs {', '.join(missing)}: pip install 'langfuse-integration[demo]'.")
    for place in PLACES:
        if (place / "demo_agent" / "__main__.py").exists():
            return place / "demo_agent"
    raise stop(
        "The demo's agent is not there: neither this package nor a checkout around it holds examples/demo_agent."
    )


@contextmanager
def _journal() -> Generator[Path, None, None]:
    """Yield the journal of the settings, or one for the time of the demo when it is switched off."""
    from ..settings import settings

    path = settings().journal_path
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="langfuse-integration-") as folder:
        yield Path(folder) / "journal.sqlite3"


def _opening(application: Path) -> Iterator[str]:
    code = application / "agent.py"
    here = Path.cwd()
    yield "Two users talk at the same time, ada to an agent of LangChain, bob to one of"
    yield "LlamaIndex. Both call the tools of llama-mcp, an MCP server of its own over"
    yield "stdio. No step is traced by hand:"
    yield f"  {code.relative_to(here) if code.is_relative_to(here) else code}"
    yield ""


def _talk(screen: Screen, application: Path, journal: Path, run: str, model: str | None) -> None:
    from .text import in_one_line, wrapped

    command = [sys.executable, "-u", str(application), "--run", run, *(["--model", model] if model else [])]
    environment = {
        **os.environ,
        "PYTHONIOENCODING": "utf-8",
        "LANGFUSE_INTEGRATION_JOURNAL": str(journal),
        # Delivered rows have to stay in the journal: the demo replays them.
        "LANGFUSE_INTEGRATION_KEEP_DELIVERED": "1",
    }
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
        with subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            encoding="utf-8",
        ) as process:
            try:
                for line in process.stdout or ():
                    screen.lines(f"  {part}" for part in wrapped(in_one_line(line), screen.width - 2))
            except BaseException:
                process.terminate()
                raise
        if process.returncode:
            complaints.seek(0)
            note(complaints.read().rstrip())
            raise stop(f"The demo's agent ended with exit code {process.returncode}.")


def _replay(screen: Screen, journal: Path, run: str, commands: list[str]) -> None:
    from ..reading.archive import Archive
    from .replaying import replayed

    with Archive(journal) as archive:
        sessions = sorted(session for session in archive.matching("demo-", limit=1_000) if session.endswith(f"-{run}"))
        if not sessions:
            raise stop(f"The journal {journal} holds nothing of the demo.")
        for session in sessions:
            screen.line()
            screen.lines(replayed(archive, session, screen))
        screen.line()
        screen.lines(_where_next(archive, sessions, commands))


def _where_next(archive: Archive, sessions: list[str], commands: list[str]) -> Iterator[str]:
    from ..links import session_url
    from ..presentation import counted
    from ..settings import settings

    current = settings()
    yield "Where to look next"
    if current.mode == "langfuse":
        waiting = archive.states(sessions)
        if waiting["pending"] or waiting["set aside"]:
            missing = waiting["pending"] + waiting["set aside"]
            yield f"  {counted(missing, 'observation')} did not reach Langfuse at {current.address} yet:"
            yield "  what is pending waits in the journal."
        for session in sessions:
            yield f"  in Langfuse     {session_url(session)}"
    if current.journal_path is not None:
        me = _myself()
        yield f"  in full         {me} show {sessions[0]} --full"
        yield f"  all sessions    {me} sessions"
        if "view" in commands:
            yield f"  in a browser    {me} view"
    if current.mode == "local":
        yield "  in Langfuse     with LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY set"


def _names(context: typer.Context) -> list[str]:
    root = context.find_root()
    return list(getattr(root.command, "commands", {}))


def _myself() -> str:
    """Return how to run this command: its name, or its path when the shell does not find it."""
    called = Path(sys.argv[0])
    path = which(called.name)
    if path is not None and called.exists() and Path(path).samefile(called):
        return called.name
    here = Path.cwd()
    return str(called.relative_to(here) if called.is_relative_to(here) else called)
