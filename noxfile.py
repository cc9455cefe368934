"""Run the tests at the oldest and newest supported releases and on newer Pythons, each in its own environment."""

from __future__ import annotations

import re
from collections.abc import Iterable

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.sessions = ["newest", "lowest", "mcp1", "langfuse4"]

PROJECT = nox.project.load_toml("pyproject.toml")["project"]

CORE = ("sessions", "recording", "encoding", "reading", "test_settings.py")
"""The tests of core that need no framework."""

# They allow no mcp 1.
MCP_2_ONLY = {
    "fastmcp",
    "fastmcp-tasks",
    "mcp-server-fetch",
    "mcp-server-git",
    "mcp-server-time",
    "llama-index-tools-mcp",
}
# They do not work with the oldest llama-index-core; using both together is tested at the newest releases.
OTHER_INSTRUMENTATION = {
    f"{family}-instrumentation-{framework}"
    for family, framework in [
        ("openinference", "langchain"),
        ("openinference", "llama-index"),
        ("opentelemetry", "langchain"),
        ("opentelemetry", "llamaindex"),
    ]
}

# Newer than the oldest of what they share with the rest.
HOSTS = {"blockbuster", "distributed", "gevent", "ipykernel", "nbclient"}
TEAMS = {"deepagents", "langgraph-supervisor", "langgraph-swarm", "llama-agents-server"}

# Their oldest releases do not go with the oldest of the rest; one of each provider is enough.
PROVIDERS = {f"llama-index-llms-{name}" for name in ("bedrock-converse", "google-genai", "mistralai", "ollama")}


def requirements(*extras: str, without: Iterable[str] = ()) -> list[str]:
    """Return the requirements of the extras, and of the extras that they name, except those in *without*."""
    lines: list[str] = []
    for extra in extras:
        for line in PROJECT["optional-dependencies"][extra]:
            named = re.fullmatch(r"langfuse-integration\[(.+)\]", line)
            lines += requirements(*named[1].split(",")) if named else [line]
    return sorted({line for line in lines if re.split(r"[^\w.-]", line)[0] not in without})


def run_tests(session: nox.Session, *folders: str, warnings: str | None = None) -> None:
    """Run the tests of *folders* or files (default: all) except the slow ones; or what follows `--`."""
    chosen = session.posargs or ["-m", "not slow", *(f"tests/{folder}" for folder in folders)]
    filters = ["-o", f"filterwarnings={warnings}"] if warnings else []
    session.run("python", "-m", "pytest", "-n", "2", "--dist", "loadfile", *filters, *chosen)


@nox.session
def newest(session: nox.Session) -> None:
    """Use the newest release of everything, regardless of constraints.txt."""
    session.install("--upgrade", "--editable", ".[test]")
    run_tests(session)


@nox.session
def lowest(session: nox.Session) -> None:
    """Use the oldest release of everything that pyproject.toml allows, with mcp 1."""
    session.install(
        "--resolution=lowest-direct",
        "--editable=.",
        *PROJECT["dependencies"],
        *requirements("test", without=MCP_2_ONLY | OTHER_INSTRUMENTATION | PROVIDERS | HOSTS | TEAMS),
        # langfuse sets its lower bound; it raises the rest of OpenTelemetry to its own release.
        "opentelemetry-exporter-otlp-proto-http>=1.33.1",
        # langgraph 1.0.1 allows later releases, which cannot be imported with it.
        "langgraph-prebuilt>=1.0.1,<1.0.2",
    )
    # Only what depends on releases of others: the rest was tested already.
    hosts = (f"hosts/test_{name}.py" for name in ("asgi", "shared", "streamlit", "threads"))
    sdk = (f"langfuse_sdk/test_{name}.py" for name in ("habits", "set_up_order"))
    folders = (*CORE, "langchain", "llamaindex", "mcp_client", "end_to_end")
    run_tests(session, *folders, *hosts, *sdk, warnings="default")


@nox.session
def mcp1(session: nox.Session) -> None:
    """Use the last mcp 1 and the newest releases that work with it, langchain-mcp-adapters included."""
    session.install(
        "--editable=.",
        *requirements("test", without=MCP_2_ONLY | PROVIDERS | HOSTS),
        "mcp<2",
        "langchain-mcp-adapters",
        "llama-index-tools-mcp<0.6",
    )
    run_tests(session, "mcp_client")


@nox.session
def langfuse4(session: nox.Session) -> None:
    """Use the last langfuse 4 and the newest release of everything else."""
    session.install("--editable=.[test]", "langfuse<5")
    # Tests in which Langfuse's own client takes part.
    names = ("current", "models", "nested_propagation", "repeated", "sdk_inside")
    langchain = (f"langchain/test_{name}.py" for name in names)
    run_tests(session, *CORE, "langfuse_sdk", "diagnosis", "end_to_end", "peers/test_otlp.py", *langchain)


@nox.session(python=["3.12", "3.13", "3.14"])
def newer_python(session: nox.Session) -> None:
    """Run all tests on a newer Python, at the versions of constraints.txt; skipped where it is not installed.

    `tools/debian_python.sh 3.14` runs them on Debian where 3.14 is not.
    """
    session.install("--constraint=constraints.txt", "--editable", ".[test]")
    run_tests(session)


@nox.session
def hosts(session: nox.Session) -> None:
    """Use hosts whose requirements hold others back, such as Gradio; not part of `make compat`."""
    servers = ("a2wsgi", "cheroot", "eventlet", "granian", "hypercorn", "uwsgi")
    session.install("--editable=.[test]", *servers, "awslambdaric", "gradio", "nicegui", "pyramid")
    files = (f"tests/hosts/test_{name}.py" for name in ("gradio", "lambda_runtime", "pages"))
    session.run(
        "python",
        "-m",
        "pytest",
        *(session.posargs or ["-m", "application", "-k", "not fifty and not ten_thousand", *files]),
    )


@nox.session
def providers(session: nox.Session) -> None:
    """Use the clients of model providers beyond those of the extra `test`; aioboto3 and Cohere's hold others back."""
    clients = ("aws", "cohere", "google-genai", "litellm", "mistralai", "ollama", "xai")
    others = ("aioboto3", "llama-index-llms-cohere")
    session.install("--editable=.[test]", *others, *(f"langchain-{name}" for name in clients))
    files = (f"tests/{framework}/test_more_providers.py" for framework in ("langchain", "llamaindex"))
    session.run("python", "-m", "pytest", *(session.posargs or ["-m", "slow or not slow", *files]))


@nox.session
def chainlit(session: nox.Session) -> None:
    """Use Chainlit, which holds even more back."""
    pytest = ("hypothesis", "pytest", "pytest-asyncio", "pytest-timeout")
    session.install("--editable=.[langchain]", "aiohttp", "chainlit", *pytest)
    session.run("python", "-m", "pytest", "-m", "application", "-k", "not ten_thousand", "tests/hosts/test_pages.py")


@nox.session
def ray(session: nox.Session) -> None:
    """Use Ray, which is large."""
    pytest = ("hypothesis", "pytest", "pytest-asyncio", "pytest-timeout")
    session.install("--editable=.", "ray", "uvicorn", *pytest)
    session.run("python", "-m", "pytest", "-m", "application or not application", "tests/hosts/test_ray.py")


@nox.session
def arq(session: nox.Session) -> None:
    """Use arq, which needs an older client of Redis."""
    pytest = ("hypothesis", "pytest", "pytest-asyncio", "pytest-timeout")
    session.install("--editable=.", "arq", "uvicorn", *pytest)
    session.run("python", "-m", "pytest", "-m", "application or not application", "tests/hosts/test_arq.py")
