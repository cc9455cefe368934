"""Other tracers, switched on as each of them documents it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

from ..contender import Contender, Terms
from .floor import Discarding, provider

INSTRUMENTORS = {"langchain": "langchain.LangChainInstrumentor", "llamaindex": "llama_index.LlamaIndexInstrumentor"}
OF_TRACELOOP = {"langchain": "langchain.LangchainInstrumentor", "llamaindex": "llamaindex.LlamaIndexInstrumentor"}


def switch_on(package: str, instrumentor: str, provider: Any = None) -> None:
    """Let an instrumentor instrument its framework, with *provider* or with the global one."""
    module, kind = instrumentor.split(".")
    options = {"tracer_provider": provider} if provider is not None else {}
    getattr(import_module(f"{package}.{module}"), kind)().instrument(**options)


class OnProvider(Contender):
    """A tracer that takes a provider of OpenTelemetry's."""

    def begin(self, terms: Terms) -> None:
        """Make the provider and hand it over."""
        self.provider, self.exporter = provider(terms)
        self.instrument(terms)

    def instrument(self, terms: Terms) -> None:
        """Switch the tracer on."""
        raise NotImplementedError

    def deliver(self) -> None:
        """Export."""
        self.provider.force_flush()

    def delivered(self) -> int | None:
        """Return how many spans were discarded."""
        return getattr(self.exporter, "count", None)


class OpenInference(OnProvider):
    """Arize's instrumentors."""

    def instrument(self, terms: Terms) -> None:
        """Instrument the framework."""
        switch_on("openinference.instrumentation", INSTRUMENTORS[terms.framework], self.provider)


class Traceloop(OnProvider):
    """OpenLLMetry's instrumentors."""

    def instrument(self, terms: Terms) -> None:
        """Instrument the framework."""
        switch_on("opentelemetry.instrumentation", OF_TRACELOOP[terms.framework], self.provider)


class McpItself(OnProvider):
    """The MCP SDK from 2.0 on makes spans of its own as soon as there is a provider."""

    def instrument(self, terms: Terms) -> None:
        """Set the provider."""
        from opentelemetry import trace

        trace.set_tracer_provider(self.provider)


class Langfuse(Contender):
    """Langfuse's own SDK: its handler for LangChain, OpenInference's spans for LlamaIndex, its blocks.

    For MCP it exports the spans that the MCP SDK makes.
    """

    def begin(self, terms: Terms) -> None:
        """Make the client and switch on its documented integration for the framework."""
        import langfuse

        self.discarding = Discarding() if terms.delivery == "discard" else None
        self.sdk = langfuse
        self.langfuse = langfuse.Langfuse(
            public_key="pk-lf-bench",
            secret_key="sk-lf-bench",
            base_url=terms.address,
            span_exporter=self.discarding,
        )
        self.callbacks: list[Any] = []
        if terms.framework == "langchain":
            from langfuse.langchain import CallbackHandler

            self.callbacks = [CallbackHandler()]
        elif terms.framework == "llamaindex":
            switch_on("openinference.instrumentation", INSTRUMENTORS["llamaindex"])

    def config(self) -> dict[str, Any]:
        """Return the callback handler."""
        return {"callbacks": self.callbacks}

    def session(self, session_id: str) -> AbstractContextManager[Any]:
        """Propagate the session."""
        return self.sdk.propagate_attributes(session_id=session_id)

    def block(self, name: str, given: Any) -> AbstractContextManager[Any]:
        """Make an observation current."""
        return self.langfuse.start_as_current_observation(name=name, as_type="span", input=given)

    def deliver(self) -> None:
        """Export."""
        self.langfuse.flush()

    def delivered(self) -> int | None:
        """Return how many spans were discarded."""
        return self.discarding.count if self.discarding is not None else None
