"""What importing costs: CPU of a fresh interpreter, beyond that of importing the framework alone."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from statistics import median
from typing import Any

from . import results, tables
from .processes import ROOT, surroundings

ROUNDS = 7
LANGCHAIN = """
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableLambda
"""
"""Names, not only modules: langchain_core loads a name's module when the name is imported."""
LLAMAINDEX = "import llama_index.core"
MCP = "import mcp"
INSTRUMENTOR = "from openinference.instrumentation.{} import {} as I; I().instrument()"

FIRST = "from langfuse_integration import langfuse_manager as m\nwith m.trace_span('a'): pass"

CASES = {
    "langfuse_integration": ("", "import langfuse_integration"),
    "langfuse_integration, first block": ("", FIRST),
    "langfuse_integration_langchain": (LANGCHAIN, "import langfuse_integration_langchain"),
    "langfuse_integration_llamaindex": (LLAMAINDEX, "import langfuse_integration_llamaindex"),
    "langfuse_integration_mcp": (MCP, "import langfuse_integration_mcp"),
    "OpenTelemetry SDK": ("", "import opentelemetry.sdk.trace.export"),
    "langfuse": ("", "import langfuse"),
    "langfuse.langchain": (LANGCHAIN, "import langfuse.langchain"),
    "openinference, langchain": (LANGCHAIN, INSTRUMENTOR.format("langchain", "LangChainInstrumentor")),
    "openinference, llamaindex": (LLAMAINDEX, INSTRUMENTOR.format("llama_index", "LlamaIndexInstrumentor")),
}
HEAVY = ("langfuse", "opentelemetry.sdk", "sqlite3", "pydantic_settings", "pydantic", "httpx", "orjson", "asyncio")


def report(options: argparse.Namespace) -> None:
    """Measure, and print a table."""
    print(results.machine(), flush=True)
    rows = []
    for name, (base, code) in CASES.items():
        pairs = [(_fresh(base), _fresh(f"{base}\n{code}")) for _ in range(ROUNDS)]
        cpu_ms = median(after["cpu_ms"] - before["cpu_ms"] for before, after in pairs)
        before, after = pairs[0]
        modules = after["modules"] - before["modules"]
        heavy = [module for module in after["heavy"] if module not in before["heavy"]]
        results.keep("imports", name, {"cpu_ms": cpu_ms, "modules": modules, "heavy": heavy})
        rows.append([name, tables.number(cpu_ms), str(modules), " ".join(heavy)])
    print(tables.table(["import", "CPU ms added", "modules", "of these"], rows))


def _fresh(code: str) -> dict[str, Any]:
    """Run *code* in a fresh interpreter; return its CPU in ms and the modules that it has loaded."""
    script = f"""
import time
{code}
cpu_ms = time.process_time() * 1e3
import sys
loaded = list(sys.modules)
import json
print(json.dumps({{"cpu_ms": cpu_ms, "modules": len(loaded), "heavy": [n for n in {HEAVY!r} if n in loaded]}}))
import os
sys.stdout.flush()
os._exit(0)
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT, env=surroundings()
    )
    measured: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return measured
