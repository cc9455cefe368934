"""An interpreter that has the frameworks imported, and forks for each piece of code that it is to run.

For code that needs a process of its own but does not care when others were imported: importing LangChain, LlamaIndex
and MCP takes longer than most pieces. Our own packages are imported by each piece.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

IMPORTED = (
    "langfuse",
    "langgraph.prebuilt",
    "langchain.agents",
    "langchain_openai",
    "llama_index.core.agent.workflow",
    "mcp.client.stdio",
)
SERVER = """
import contextlib, importlib, json, os, sys, threading
for module in sys.argv[1:]:
    with contextlib.suppress(ImportError):
        importlib.import_module(module)
assert threading.active_count() == 1, threading.enumerate()
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    os._exit(0)
os.environ.clear()
os.environ.update(job["environment"])
os.chdir(job["cwd"])
for number, path in ((0, os.devnull), (1, job["stdout"]), (2, job["stderr"])):
    os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
sys.argv[1:] = []
sys.path[0] = ""
exec(compile(job["code"], "<piece>", "exec"), {"__name__": "__main__"})
"""


class WarmInterpreter:
    """Runs pieces of code one after the other, each in a forked process; a context manager."""

    def __enter__(self) -> WarmInterpreter:
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER, *IMPORTED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.communicate(timeout=60)

    def run(self, code: str, cwd: Path, environment: Mapping[str, str]) -> str:
        """Run *code* as the main module of a process, in *cwd* and with just this *environment*.

        Returns:
            Its standard output, followed by its stderr if there is any.

        Raises:
            AssertionError: the process did not end with 0; the message has all its output.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            stdout, stderr = Path(folder, "stdout"), Path(folder, "stderr")
            job: dict[str, Any] = {
                "code": textwrap.dedent(code),
                "cwd": str(cwd),
                "environment": dict(environment),
                "stdout": str(stdout),
                "stderr": str(stderr),
            }
            self._server.stdin.write(json.dumps(job) + "\n")
            self._server.stdin.flush()
            ended = self._server.stdout.readline().strip()
            printed, complaint = stdout.read_text(), stderr.read_text()
        assert ended == "0", f"exit {ended}\n{printed}\n{complaint}"
        return printed + (f"\n[stderr]\n{complaint}" if complaint.strip() else "")
