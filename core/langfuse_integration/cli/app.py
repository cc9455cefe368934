"""The command line: all commands in one application."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from .browse import sessions, show
from .demo import demo
from .diff import diff
from .doctor import doctor
from .export import export
from .forget import forget
from .fork import fork
from .init import init
from .mcp import mcp
from .prune import prune
from .push import push
from .score import score
from .tail import tail
from .view import view
from .write_test import write_test


def _flags_take_no_value(parameters: list[Any]) -> list[Any]:
    """Remove the `<bool>` that newer releases of typer add to flags in the help."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters


class Command(TyperCommand):
    """A command whose flags show no `<bool>`."""

    def get_params(self, ctx: Any) -> Any:
        """Return its parameters."""
        return _flags_take_no_value(super().get_params(ctx))


class Group(TyperGroup):
    """The group of all commands."""

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters before the command."""
        return _flags_take_no_value(super().get_params(ctx))


app = typer.Typer(
    name="langfuse-integration",
    cls=Group,
    help="Record the sessions of agents without manual calls, and read them from the local journal.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="These environment variables set the journal's file and the Langfuse project: LANGFUSE_INTEGRATION_JOURNAL, "
    "LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY, LANGFUSE_BASE_URL.",
)


def _version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(version("langfuse-integration"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Parse the options before the command."""


RECORDED = (demo, init, sessions, show, diff, tail, view, push, export, write_test, fork)
for command in (*RECORDED, prune, forget, score, doctor, mcp):
    # pytest would collect a function that is called `test`.
    app.command("test" if command is write_test else None, cls=Command)(command)
