"""Variables of OpenTelemetry and of build systems that Langfuse's SDK obeys, too."""

from __future__ import annotations

import os
from urllib.parse import unquote

RELEASES = (
    "RENDER_GIT_COMMIT",
    "CI_COMMIT_SHA",
    "CIRCLE_SHA1",
    "SOURCE_VERSION",
    "TRAVIS_COMMIT",
    "GIT_COMMIT",
    "GITHUB_SHA",
    "BITBUCKET_COMMIT",
    "BUILD_SOURCEVERSION",
    "DRONE_COMMIT_SHA",
)
"""Where build systems put the commit: the release, if LANGFUSE_RELEASE says nothing (langfuse 5.0, in its order)."""
EXPORT_PATH = "LANGFUSE_OTEL_TRACES_EXPORT_PATH"
COMPRESSIONS = ("LANGFUSE_OTEL_COMPRESSION", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION")


def release() -> str | None:
    """Return the commit that a build system names, or None."""
    return next((os.environ[variable] for variable in RELEASES if variable in os.environ), None)


def resource_attributes() -> dict[str, str]:
    """Return the entries of OTEL_RESOURCE_ATTRIBUTES, and OTEL_SERVICE_NAME as `service.name`."""
    attributes = _entries("OTEL_RESOURCE_ATTRIBUTES")
    name = os.environ.get("OTEL_SERVICE_NAME", "").strip()
    return {**attributes, "service.name": name} if name else attributes


def export_headers() -> dict[str, str]:
    """Return what OTEL_EXPORTER_OTLP_TRACES_HEADERS, else OTEL_EXPORTER_OTLP_HEADERS, tells exporters to send."""
    return _entries("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or _entries("OTEL_EXPORTER_OTLP_HEADERS")


def export_path() -> str | None:
    """Return the path below the base URL where traces go instead of Langfuse's own, or None."""
    path = os.environ.get(EXPORT_PATH, "").strip().strip("/")
    return f"/{path}" if path else None


def compresses() -> bool:
    """Return whether requests are compressed with gzip: unless the first usable variable says `none`."""
    for variable in COMPRESSIONS:
        value = os.environ.get(variable, "").strip().lower()
        if value in ("gzip", "none"):
            return value == "gzip"
    return True


def _entries(variable: str) -> dict[str, str]:
    """Return `key=value` entries that stand behind commas, percent-encoded; what is no such entry is left out."""
    pairs = (entry.partition("=") for entry in os.environ.get(variable, "").split(","))
    return {key.strip(): unquote(value.strip()) for key, sign, value in pairs if sign and key.strip()}
