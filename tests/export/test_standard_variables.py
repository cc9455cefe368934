"""Variables that Langfuse's SDK obeys hold for our delivery, too."""

from __future__ import annotations

import pytest

from langfuse_integration import configure, langfuse_manager
from langfuse_integration.internals import standard_variables
from peers.otlp import Receiver


def test_they_hold_for_what_is_sent(langfuse: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resource, release, headers and compression; the project's own keys are never replaced."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging, team=a%20b,broken")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-gateway-key=abc,authorization=Bearer%20other")
    monkeypatch.setenv("LANGFUSE_OTEL_COMPRESSION", "none")
    for variable in standard_variables.RELEASES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("GIT_COMMIT", "deadbeef")
    configure()
    with langfuse_manager.trace_span("row"):
        pass
    assert langfuse_manager.flush(10) == (1, 0, 0)
    (request,) = langfuse.requests
    assert request.headers["x-gateway-key"] == "abc"
    assert "content-encoding" not in request.headers
    (group,) = request.message.resource_spans
    resource = {entry.key: entry.value.string_value for entry in group.resource.attributes}
    assert resource["deployment.environment.name"] == "staging"
    assert (resource["team"], resource["service.name"]) == ("a b", "shop")
    (span,) = langfuse.spans
    assert span.attributes["langfuse.release"] == "deadbeef"


@pytest.mark.parametrize(
    ("variables", "path", "compresses"),
    [
        ({}, None, True),
        ({"LANGFUSE_OTEL_TRACES_EXPORT_PATH": "/v1/traces/"}, "/v1/traces", True),
        ({"OTEL_EXPORTER_OTLP_COMPRESSION": "none"}, None, False),
        ({"LANGFUSE_OTEL_COMPRESSION": "GZIP", "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}, None, True),
        ({"LANGFUSE_OTEL_COMPRESSION": "brotli", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "none"}, None, False),
    ],
)
def test_path_and_compression(
    variables: dict[str, str], path: str | None, compresses: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The more special variable counts, and one that makes no sense is passed over."""
    for name in (standard_variables.EXPORT_PATH, *standard_variables.COMPRESSIONS):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert standard_variables.export_path() == path
    assert standard_variables.compresses() is compresses
