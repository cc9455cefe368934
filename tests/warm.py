"""An interpreter that has modules imported, and forks for each piece of code that it is to run.

For code that needs a process of its own but does not care when others were imported: importing LangChain, LlamaIndex
and MCP takes longer than most pieces. Our own packages are imported by each piece.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

FRAMEWORKS = (
    "langfuse",
    "langgraph.prebuilt",
    "langchain.agents",
    "langchain_openai",
    "llama_index.core.agent.workflow",
    "mcp.client.stdio",
)
LIBRARIES = (
    "google.protobuf.message",
    "httpx",
    "jsonpatch",
    "numpy",
    "pydantic.fields",
    "pydantic_settings",
    "requests",
    "rich.console",
    "tenacity",
    "yaml",
)
"""What Langfuse's SDK and the frameworks stand on: most of their import's time, and nothing that we look at."""
SERVER = """
import contextlib, gc, importlib, json, os, sys, threading
for module in sys.argv[1:]:
    with contextlib.suppress(ImportError):
        importlib.import_module(module)
assert threading.active_count() == 1, threading.enumerate()
gc.freeze()  # else the end of each piece looks at all that is imported
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        break
    print(child, flush=True)
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
    """Runs pieces of code one after the other, each in a forked process; a context manager.

    Attributes:
        modules: what it imports; those that are not installed are left out.
    """

    def __init__(self, modules: Sequence[str] = FRAMEWORKS) -> None:
        self.modules = modules

    def __enter__(self) -> WarmInterpreter:
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER, *self.modules], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.communicate(timeout=60)

    def run(
        self,
        code: str,
        cwd: Path | None,
        environment: Mapping[str, str],
        *,
        timeout_s: float = 180,
        returncode: int = 0,
    ) -> str:
        """Run *code* as the main module of a process, in *cwd* and with just this *environment*.

        Returns:
            Its standard output, followed by its stderr if there is any.

        Raises:
            AssertionError: the process did not end with *returncode*; the message has all its output.
            TimeoutError: it did not end in time, and was killed.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            stdout, stderr = Path(folder, "stdout"), Path(folder, "stderr")
            job: dict[str, Any] = {
                "code": textwrap.dedent(code),
                "cwd": str(cwd or Path.cwd()),
                "environment": dict(environment),
                "stdout": str(stdout),
                "stderr": str(stderr),
            }
            self._server.stdin.write(json.dumps(job) + "\n")
            self._server.stdin.flush()
            late = threading.Timer(timeout_s, os.kill, (int(self._server.stdout.readline()), signal.SIGKILL))
            late.start()
            ended = self._server.stdout.readline().strip()
            in_time = not late.finished.is_set()
            late.cancel()
            late.join()
            printed, complaint = (path.read_text() if path.exists() else "" for path in (stdout, stderr))
        whole = f"exit {ended}\n{printed}\n{complaint}"
        if not in_time:
            raise TimeoutError(f"not within {timeout_s} s: {whole}")
        assert ended == str(returncode), whole
        return printed + (f"\n[stderr]\n{complaint}" if complaint.strip() else "")
