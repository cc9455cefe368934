"""Checks of this process: hosts, adapters and other tracers. An application has more of them than the command."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import Any

from ..recording import tracing
from .installation import Finding, Installation

ADAPTERS = {"langchain": "langchain_core", "llamaindex": "llama_index.core", "mcp": "mcp"}
"""The name of each adapter, and the module of its framework, which is looked up but never imported."""
OTHERS = {
    "openinference.instrumentation.langchain": ("LangChainInstrumentor", "langchain_core"),
    "openinference.instrumentation.llama_index": ("LlamaIndexInstrumentor", "llama_index.core"),
    "openinference.instrumentation.mcp": ("MCPInstrumentor", "mcp"),
    "opentelemetry.instrumentation.langchain": ("LangchainInstrumentor", "langchain_core"),
    "opentelemetry.instrumentation.llamaindex": ("LlamaIndexInstrumentor", "llama_index.core"),
    "opentelemetry.instrumentation.mcp": ("McpInstrumentor", "mcp"),
}
"""Instrumentors of other libraries by module, with the framework that they trace."""


def hosts(installation: Installation) -> Iterator[Finding]:
    """Report the hosts that keep sessions apart in this process."""
    names = sorted(name for name in tracing.store.automatic_hosts if _there(name))
    if names:
        yield Finding("hosts", f"Sessions are kept apart by {', '.join(names)}")


def adapters(installation: Installation) -> Iterator[Finding]:
    """Report the installed frameworks, and those that are instrumented in this process."""
    there = [name for name, framework in ADAPTERS.items() if _there(framework)]
    if there:
        yield Finding("adapters", f"Frameworks found: {', '.join(there)}")
    traced = [name for name in there if _instrumented(name)]
    if traced:
        yield Finding("adapters", f"Instrumented in this process: {', '.join(traced)}")


def two_tracers(installation: Installation) -> Iterator[Finding]:
    """Report tracers of other libraries on a framework that this package traces too."""
    for module, (name, framework) in OTHERS.items():
        kind: Any = getattr(sys.modules.get(module), name, None)
        ours = next((ending for ending, traced in ADAPTERS.items() if traced == framework), "")
        if kind is None or f"langfuse_integration_{ours}" not in sys.modules:
            continue
        instance = getattr(kind, "_instance", None)
        if getattr(instance, "_is_instrumented_by_opentelemetry", False):
            yield Finding(
                "tracers",
                f"{module} is attached to {framework} in this process, next to langfuse_integration_{ours}: "
                "every step is recorded twice.",
                f"Remove {name}().instrument().",
            )


def _instrumented(ending: str) -> bool:
    """Return whether the adapter instruments its framework; an adapter that is not loaded does not."""
    instrumented = getattr(sys.modules.get(f"langfuse_integration_{ending}"), "instrumented", None)
    return bool(instrumented()) if callable(instrumented) else False


def _there(module: str) -> bool:
    """Return whether *module* could be imported; `find_spec` of a dotted name would import what is above it."""
    top, _, below = module.partition(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return False
    if spec is None or not below:
        return spec is not None
    return PathFinder.find_spec(module, spec.submodule_search_locations) is not None
