"""Phoenix, MLflow and a collector as real servers, each in an environment of its own: dependencies exclude ours.

The environments are made below `.venv` when they are first needed, which takes minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from peers import environments
from peers.ports import free_port
from peers.waiting import until

PACKAGES = {"phoenix": "arize-phoenix>=20.26,<21", "mlflow": "mlflow>=3.17,<4", "rotel": "rotel==0.0.1a15"}
START_S = 120.0


def python_of(name: str) -> Path:
    """Return the interpreter of a server's environment; the environment is made if it is missing."""
    return environments.python_of(name, PACKAGES[name])


def fetched(url: str, body: Any = None) -> Any:
    """Return the JSON that a server answers; *body* is posted as JSON."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


@contextmanager
def _served(command: list[str], url: str, folder: Path, environment: dict[str, str]) -> Generator[str]:
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        until(lambda: process.poll() is not None or _answers(url), START_S)
        assert process.poll() is None, log.read_text()[-2_000:]
        yield url
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


@contextmanager
def phoenix(folder: Path) -> Generator[str]:
    """Run Phoenix with its data in *folder*; yield its URL."""
    port = free_port()
    environment = {
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
    }
    command = [str(python_of("phoenix")), "-m", "phoenix.server.main", "serve"]
    with _served(command, f"http://127.0.0.1:{port}", folder, environment) as url:
        yield url


@contextmanager
def mlflow(folder: Path) -> Generator[str]:
    """Run MLflow with its data in *folder*; yield its URL. Its experiment 0 is there from the start."""
    port = free_port()
    command = [
        str(python_of("mlflow")), "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    environment = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with _served(command, f"http://127.0.0.1:{port}", folder, environment) as url:
        yield url


@contextmanager
def collector(folder: Path, onward: str) -> Generator[str]:
    """Run Rotel, an OpenTelemetry collector, which sends on what it gets; yield its URL.

    It stands for OpenTelemetry's own Collector, of which PyPI has no release.

    Args:
        onward: the base URL of an OTLP server.
    """
    (program,) = python_of("rotel").parents[1].glob("lib/*/site-packages/rotel/rotel-agent")
    ports = free_port(), free_port()
    environment = {
        "ROTEL_PID_FILE": str(folder / "pid"),
        "ROTEL_OTLP_HTTP_ENDPOINT": f"127.0.0.1:{ports[0]}",
        "ROTEL_OTLP_GRPC_ENDPOINT": f"127.0.0.1:{ports[1]}",
        "ROTEL_EXPORTER": "otlp",
        "ROTEL_OTLP_EXPORTER_ENDPOINT": onward,
        "ROTEL_OTLP_EXPORTER_PROTOCOL": "http",
    }
    with _served([str(program), "start"], f"http://127.0.0.1:{ports[0]}", folder, environment) as url:
        yield url


MLFLOW_ROWS = """
import json, sys
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
rows = [
    {
        "id": span.span_id, "parent": span.parent_id, "name": span.name, "kind": span.span_type,
        "failed": span.status.status_code.value == "ERROR", "input": span.inputs, "output": span.outputs,
        "tokens": span.attributes.get("mlflow.chat.tokenUsage"), "cost": span.llm_cost,
        "trace": trace.info.trace_id, "session": trace.info.trace_metadata.get("mlflow.trace.session"),
        "user": trace.info.trace_metadata.get("mlflow.trace.user"),
    }
    for trace in mlflow.MlflowClient().search_traces(locations=["0"], max_results=100) for span in trace.data.spans
]
print(json.dumps(rows))
"""


def mlflow_rows(url: str) -> list[dict[str, Any]]:
    """Return every row that MLflow has, read with its own client."""
    done = subprocess.run(
        [str(python_of("mlflow")), "-c", MLFLOW_ROWS, url], capture_output=True, text=True, timeout=120, check=True
    )
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows
