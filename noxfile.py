"""The tests at the oldest and newest releases that we support, each set in an environment of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.sessions = ["newest", "lowest", "mcp1", "langfuse4"]

PROJECT = nox.project.load_toml("pyproject.toml")["project"]

# They allow no mcp 1.
MCP_2_ONLY = {"fastmcp", "llama-index-tools-mcp"}
# Of no use with the oldest llama-index-core; that ours and theirs go together is tested at the newest.
OTHER_INSTRUMENTATION = {"openinference-instrumentation-langchain", "openinference-instrumentation-llama-index"}


def requirements(*extras: str, without: Iterable[str] = ()) -> list[str]:
    """Return what the extras require, and what the extras that they name require, without some packages."""
    found: list[str] = []
    for extra in extras:
        for line in PROJECT["optional-dependencies"][extra]:
            named = re.fullmatch(r"langfuse-integration\[(.+)\]", line)
            found += requirements(*named[1].split(",")) if named else [line]
    return sorted({line for line in found if re.split(r"[^\w.-]", line)[0] not in without})


def run_tests(session: nox.Session, *folders: str, warnings: str = "error") -> None:
    """Run the tests of *folders*, or files (default: all), but the slow ones; or what stands after `--`."""
    chosen = session.posargs or ["-m", "not slow", *(f"tests/{folder}" for folder in folders)]
    session.run(
        "python", "-m", "pytest", "-n", "2", "--dist", "loadfile", "-o", f"filterwarnings={warnings}", *chosen,
    )  # fmt: skip


@nox.session
def newest(session: nox.Session) -> None:
    """The newest release of everything, whatever constraints.txt says."""
    session.install("--upgrade", "--editable", ".[test]")
    run_tests(session)


@nox.session
def lowest(session: nox.Session) -> None:
    """The oldest release of everything that the bounds in pyproject.toml allow, with mcp 1."""
    session.install(
        "--resolution=lowest-direct",
        "--editable=.",
        *PROJECT["dependencies"],
        *requirements("test", without=MCP_2_ONLY | OTHER_INSTRUMENTATION),
        # langfuse sets its lower bound, and it pulls the rest of OpenTelemetry up to its own release.
        "opentelemetry-exporter-otlp-proto-http>=1.33.1",
        # langgraph 1.0.1 allows later ones, which cannot be imported with it.
        "langgraph-prebuilt>=1.0.1,<1.0.2",
    )
    # What depends on other people's releases; what is ours alone was tested already.
    hosts = (f"hosts/test_{name}.py" for name in ("asgi", "shared", "streamlit", "threads"))
    run_tests(session, "core", "langchain", "llamaindex", "mcp_client", "end_to_end", *hosts, warnings="default")


@nox.session
def mcp1(session: nox.Session) -> None:
    """The newest of everything that goes with the last mcp 1, langchain-mcp-adapters among it."""
    session.install(
        "--editable=.",
        *requirements("test", without=MCP_2_ONLY),
        "mcp<2",
        "langchain-mcp-adapters",
        "llama-index-tools-mcp<0.6",
    )
    run_tests(session, "mcp_client")


@nox.session
def langfuse4(session: nox.Session) -> None:
    """The last langfuse 4, with the newest of everything else."""
    session.install("--editable=.[test]", "langfuse<5")
    # Whatever has Langfuse's own client in it.
    files = ("langchain/test_current.py", "langchain/test_models.py", "peers/test_otlp.py")
    run_tests(session, "core", "doctor", "end_to_end", *files)
