"""Checks of this process: hosts, adapters and other tracers. An application has more of them than the command."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from importlib.util import find_spec

from ..recording import tracing
from .installation import Finding, Installation

ADAPTERS = {"langchain": "langchain_core", "llamaindex": "llama_index.core", "mcp": "mcp"}
"""The name of each adapter, and the module of its framework, which is looked up but never imported."""
OTHERS = {
    "openinference.instrumentation.langchain": ("LangChainInstrumentor", "langchain_core"),
    "openinference.instrumentation.llama_index": ("LlamaIndexInstrumentor", "llama_index.core"),
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
    for name, (module, framework) in _attached():
        ours = next((ending for ending, traced in ADAPTERS.items() if traced == framework), "")
        if f"langfuse_integration_{ours}" in sys.modules:
            yield Finding(
                "tracers",
                f"{module} is attached to {framework} in this process, next to langfuse_integration_{ours}: "
                "both record every step.",
                f"Remove {name}().instrument().",
            )


def gave_way(installation: Installation) -> Iterator[Finding]:
    """Report the tracers of others whose spans gave way to this package's rows in this process."""
    seen = getattr(sys.modules.get("langfuse_integration.langfuse_sdk.second_tracers"), "seen", {})
    for name, cure in seen.values():
        if not any(name.endswith(instrumentor) for instrumentor, _ in _attached()):
            yield Finding("tracers", f"{name} records in this process what this package records as well.", f"{cure}.")


def _attached() -> Iterator[tuple[str, tuple[str, str]]]:
    """Return the instrumentors of others that are in force: (name, (module, framework))."""
    for module, (name, framework) in OTHERS.items():
        instance = getattr(getattr(sys.modules.get(module), name, None), "_instance", None)
        if getattr(instance, "_is_instrumented_by_opentelemetry", False):
            yield name, (module, framework)


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
