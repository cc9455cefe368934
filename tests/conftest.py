"""State that every test starts from: no session, no open run, our own faults raising, a journal of its own."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Container, Generator, Iterator
from pathlib import Path

import certifi
import pytest
from hypothesis import settings
from opentelemetry.trace import get_current_span

from langfuse_integration import configure, runtime

# The worker would import these in its own thread: pytest rewrites our modules, and Python 3.11 cannot parse in two
# threads at a time (python/cpython#106905), which LangChain's RunnableLambda does as well.
from langfuse_integration.export import routing, sender, worker  # noqa: F401
from langfuse_integration.internals import faults
from langfuse_integration.langfuse_sdk import adoption, client_outlet, customised_client  # noqa: F401
from langfuse_integration.recording import tracing
from langfuse_integration.testing import RecordedSessions
from peers.otlp import Receiver
from peers.waiting import until

pytest_plugins = ["peers.plugin"]

settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")

LANGFUSE_VARIABLES = (
    "LANGFUSE_PUBLIC_KEY",
    "LANGFUSE_SECRET_KEY",
    "LANGFUSE_BASE_URL",
    "LANGFUSE_HOST",
    "LANGFUSE_TRACING_ENABLED",
    "LANGFUSE_TRACING_ENVIRONMENT",
    "LANGFUSE_RELEASE",
    "LANGFUSE_SAMPLE_RATE",
    "LANGFUSE_INTEGRATION_STORE",
    "LANGFUSE_INTEGRATION_CAPTURE",
    "LANGFUSE_INTEGRATION_OTLP_ENDPOINT",
    "LANGFUSE_INTEGRATION_OTLP_HEADERS",
    "LANGFUSE_INTEGRATION_OTLP_CONVENTIONS",
)


def pytest_configure() -> None:
    """Let the processes that tests start be stopped by SIGINT, which what runs in a shell's background ignores."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import the test modules without the garbage collector, and let it ignore what they imported.

    Both are for speed: the frameworks make a million objects, which each `gc.collect()` of a test would visit again.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what runs whole applications out of the ordinary run; `-m application` runs it."""
    for item in items:
        if "pytester" in getattr(item, "fixturenames", ()):
            item.add_marker("application")
        if item.get_closest_marker("application"):
            item.add_marker("slow")


@pytest.fixture(scope="session", autouse=True)
def one_authority(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let clients, also those of child processes, trust one authority: to read all of them takes each 30 ms.

    The slow tests keep them all, since some install from a package index.
    """
    with pytest.MonkeyPatch.context() as monkeypatch:
        if not any(item.get_closest_marker("slow") for item in request.session.items):
            end = "-----END CERTIFICATE-----\n"
            file = tmp_path_factory.mktemp("authority") / "one.pem"
            file.write_text(Path(certifi.where()).read_text("utf-8").partition(end)[0] + end, "utf-8")
            monkeypatch.setenv("SSL_CERT_FILE", str(file))
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
        yield


@pytest.fixture(autouse=True)
def clean_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin and end with nothing set, nothing open and nothing swallowed."""
    for name in LANGFUSE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANGFUSE_INTEGRATION_JOURNAL", str(tmp_path / "journal.sqlite3"))
    # Streamlit's AppTest leaves its script there, and multiprocessing would run that script in every new process.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    threads = set(threading.enumerate())
    runtime.reset()
    faults.strict = True
    with tracing.store.unset():
        yield
    faults.strict = False
    runtime.reset()
    _forget_clients()
    _end_exporters(threads)
    assert not get_current_span().get_span_context().is_valid, "a span is left attached to the context of the tests"


def _forget_clients() -> None:
    """Let no Langfuse client outlive its test: what is recorded later would go through it."""
    module = sys.modules.get("langfuse._client.resource_manager")
    if module is not None:
        for client in list(module.LangfuseResourceManager._instances.values()):
            client.shutdown()
            client.httpx_client.close()  # else another test sees the warning of its unclosed socket
            client.prompt_cache._task_manager.shutdown()
        module.LangfuseResourceManager._instances.clear()


def _end_exporters(others: Container[threading.Thread]) -> None:
    """End the batch processors of the test's OpenTelemetry clients, which wake up for ever, all but *others*."""
    for thread in threading.enumerate():
        run = getattr(thread, "_target", None)
        if thread.name.startswith("OtelBatch") and run is not None and thread not in others:
            run.__self__.shutdown()


@pytest.fixture
def no_open_runs(sessions: RecordedSessions) -> Iterator[RecordedSessions]:
    """The recorded sessions of a test that must leave no framework run open."""
    yield sessions
    assert sessions.still_open == []


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The journal's file."""
    return tmp_path / "journal.sqlite3"


@pytest.fixture
def langfuse(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """The receiver, with its keys in the environment."""
    for name, value in receiver.environment().items():
        monkeypatch.setenv(name, value)
    configure()
    return receiver


@pytest.fixture
def no_threads_left(clean_state: None) -> Iterator[None]:
    """Wait for the end of the delivery's threads that the test has started, so that no other test meets them."""
    others = set(threading.enumerate())
    yield
    configure()
    until(
        lambda: (
            not [
                one
                for one in threading.enumerate()
                if one.name.startswith("langfuse-integration") and one not in others
            ]
        ),
        what=f"the end of the threads {threading.enumerate()}",
    )
