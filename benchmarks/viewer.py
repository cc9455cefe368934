"""How long the viewer takes for a session of 10,000 observations, and its resident memory after many page views.

python -m benchmarks.viewer
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from langfuse_integration import langfuse_manager

OBSERVATIONS = 10_000
LOOKS = 50
RECORD = "from benchmarks.viewer import record; record()"


def record() -> None:
    """Record one session of one trace and one of many traces, 10,000 observations each."""
    with (
        langfuse_manager.session("one-trace", "ada"),
        langfuse_manager.trace_span("herder", as_type="agent", input="all"),
    ):
        for number in range((OBSERVATIONS - 1) // 2):
            _step(number)
    for turn in range(OBSERVATIONS // 5):
        with langfuse_manager.session("many-traces", "ada"):
            request = {"messages": [{"role": "user", "content": f"Question {turn}"}]}
            with langfuse_manager.trace_span("herder", as_type="agent", input=request) as top:
                for number in range(2):
                    _step(number)
                top.update(output={"messages": [{"role": "assistant", "content": "Hay. " * 40}]})
    assert langfuse_manager.flush(60).pending == 0


def _step(number: int) -> None:
    think = {"step_type": "think", "step_index": number}
    with langfuse_manager.trace_span("ChatModel", as_type="generation", metadata=think) as generation:
        messages = [{"role": "user", "content": "word " * 200}]
        generation.update(input=messages, output={"role": "assistant", "content": "hay"}, model="llama-1")
        generation.update(usage_details={"input": 1_000, "output": 10}, cost_details={"total": 0.001})
    with langfuse_manager.trace_span("search", as_type="tool", input={"query": number}) as tool:
        tool.update(output="hay " * 100)


def main() -> None:
    """Print the milliseconds of each page, first and repeated, and the resident memory."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "LANGFUSE_INTEGRATION_JOURNAL": str(Path(folder) / "journal.sqlite3")}
        subprocess.run([sys.executable, "-c", RECORD], env=environment, check=True)
        command = [str(Path(sys.executable).with_name("langfuse-integration")), "view", "--no-browser", "--port", "0"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as viewer:
            try:
                assert viewer.stdout is not None
                _measure(viewer.stdout.readline().strip().rstrip("/"), viewer.pid)
            finally:
                viewer.terminate()


def _measure(address: str, pid: int) -> None:
    print(f"{'page':34}{'first, ms':>12}{'of it CPU':>12}{'then, ms':>12}{'of it CPU':>12}{'bytes':>12}")
    with httpx.Client(base_url=address, timeout=60) as client:
        style_sheet = client.get("/static/viewer.css")
        assert style_sheet.status_code == 200
        paths = ["/sessions/one-trace", "/sessions/many-traces", "/sessions/many-traces?page=60", "/"]
        (trace,) = re.findall(r'id="t-([0-9a-f]{32})"', _timed(client, pid, paths[0]))
        for path in [*paths[1:], f"/traces/{trace}?part=1&session=one-trace&rows=30", "/sessions/one-trace?q=nothing"]:
            _timed(client, pid, path)
        before = _resident_mb(pid)
        for _ in range(LOOKS):
            for path in paths:
                client.get(path)
        print(f"resident: {before:.1f} MB, after {LOOKS * len(paths)} more pages {_resident_mb(pid):.1f} MB")


def _timed(client: httpx.Client, pid: int, path: str) -> str:
    taken: list[tuple[float, float]] = []
    text = ""
    for _ in range(6):
        cpu, begun = _cpu_ms(pid), time.perf_counter()
        text = client.get(path).text
        taken.append(((time.perf_counter() - begun) * 1000, _cpu_ms(pid) - cpu))
    then = [statistics.median(one[place] for one in taken[1:]) for place in (0, 1)]
    shown = re.sub("[0-9a-f]{32}", "ID", path)
    print(f"{shown:34.34}{taken[0][0]:12.0f}{taken[0][1]:12.0f}{then[0]:12.0f}{then[1]:12.0f}{len(text):12,}")
    return text


def _cpu_ms(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def _resident_mb(pid: int) -> float:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
