"""The commands put together."""

from __future__ import annotations

from typing import Annotated

import typer

from .browse import sessions, show
from .demo import demo
from .doctor import doctor
from .export import export
from .prune import prune
from .push import push
from .tail import tail
from .view import view

app = typer.Typer(
    name="langfuse-integration",
    help="Agent sessions, recorded without a manual call: try it, and look at what is in the local journal.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="The environment says where the journal lies and what is sent to Langfuse: LANGFUSE_INTEGRATION_JOURNAL, "
    "LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY, LANGFUSE_BASE_URL.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("langfuse-integration"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Take what comes before the command."""


for command in (demo, sessions, show, tail, view, push, export, prune, doctor):
    app.command()(command)
