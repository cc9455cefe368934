"""The rules of `init`: the lines that trace each framework and host. To support another one, add it here."""

from __future__ import annotations

from dataclasses import dataclass

WEB_SOURCE = 'cookie="chat", issue="chat"'


@dataclass(frozen=True, slots=True)
class FrameworkRule:
    """A framework that one call traces in the whole process, in each entry point that imports it.

    Attributes:
        modules: modules whose import shows that the framework is used.
        package: the module of this package that traces it; an import of it shows that the project does so already.
        extra: the extra to install, or empty.
        alias: the local name of the package's `instrument`.
    """

    name: str
    modules: tuple[str, ...]
    package: str
    extra: str
    alias: str


@dataclass(frozen=True, slots=True)
class ObjectRule:
    """An object of a host that one line, after its creation, connects.

    Attributes:
        kinds: dotted names of what makes the object.
        package: the module of this package that connects it.
        imported: the name that is imported from *package*.
        line: the line; `{name}` is the object's name.
        extra: the extra to install, or empty.
        gives_session: each request or task then has a session.
    """

    name: str
    kinds: tuple[str, ...]
    package: str
    imported: str
    line: str
    extra: str = ""
    gives_session: bool = True


FRAMEWORKS = (
    FrameworkRule(
        "LangChain and LangGraph",
        ("langchain", "langchain_core", "langchain_classic", "langgraph", "deepagents"),
        "langfuse_integration_langchain",
        "langchain",
        "trace_langchain",
    ),
    FrameworkRule(
        "LlamaIndex", ("llama_index", "workflows"), "langfuse_integration_llamaindex", "llamaindex", "trace_llamaindex"
    ),
    FrameworkRule(
        "MCP clients",
        ("mcp.client", "mcp.ClientSession", "mcp.Client", "mcp.StdioServerParameters", "fastmcp.Client",
         "langchain_mcp_adapters", "llama_index.tools.mcp"),
        "langfuse_integration_mcp",
        "mcp",
        "trace_mcp",
    ),
    FrameworkRule("Celery", ("celery",), "langfuse_integration.hosts.celery", "", "trace_tasks"),
    FrameworkRule("RQ", ("rq",), "langfuse_integration.hosts.rq", "", "trace_jobs"),
)  # fmt: skip

OBJECTS = (
    ObjectRule(
        "FastAPI or Starlette",
        ("fastapi.FastAPI", "fastapi.applications.FastAPI", "starlette.applications.Starlette"),
        "langfuse_integration.hosts.asgi",
        "SessionMiddleware",
        f"{{name}}.add_middleware(SessionMiddleware, {WEB_SOURCE})",
    ),
    ObjectRule(
        "Flask",
        ("flask.Flask", "flask.app.Flask"),
        "langfuse_integration.hosts.wsgi",
        "SessionMiddleware",
        f"{{name}}.wsgi_app = SessionMiddleware({{name}}.wsgi_app, {WEB_SOURCE})",
    ),
    ObjectRule(
        "Django",
        ("django.core.wsgi.get_wsgi_application",),
        "langfuse_integration.hosts.wsgi",
        "SessionMiddleware",
        f"{{name}} = SessionMiddleware({{name}}, {WEB_SOURCE})",
    ),
    ObjectRule(
        "Django (ASGI)",
        ("django.core.asgi.get_asgi_application",),
        "langfuse_integration.hosts.asgi",
        "SessionMiddleware",
        f"{{name}} = SessionMiddleware({{name}}, {WEB_SOURCE})",
    ),
    ObjectRule(
        "Dramatiq",
        ("dramatiq.brokers.redis.RedisBroker", "dramatiq.brokers.rabbitmq.RabbitmqBroker"),
        "langfuse_integration.hosts.dramatiq",
        "SessionMiddleware",
        "{name}.add_middleware(SessionMiddleware())",
    ),
    ObjectRule(
        "an MCP server",
        ("mcp.server.fastmcp.FastMCP", "mcp.server.mcpserver.MCPServer", "mcp.server.MCPServer", "fastmcp.FastMCP",
         "mcp.server.Server", "mcp.server.lowlevel.Server"),
        "langfuse_integration_mcp",
        "trace_server",
        "trace_server({name})",
        extra="mcp",
        gives_session=False,
    ),
)  # fmt: skip

OTHER_TRACERS = {
    "langfuse.langchain.CallbackHandler": "Langfuse's CallbackHandler",
    "langfuse.callback.CallbackHandler": "Langfuse's CallbackHandler",
    "openinference.instrumentation.langchain": "OpenInference for LangChain",
    "openinference.instrumentation.llama_index": "OpenInference for LlamaIndex",
    "opentelemetry.instrumentation.langchain": "Traceloop for LangChain",
    "opentelemetry.instrumentation.llamaindex": "Traceloop for LlamaIndex",
}
"""Imports of tracers that record the same steps; `init` names them and changes nothing about them."""
