"""The command `export`: a session as OTLP JSON for OpenTelemetry tools, or as one HTML file for people."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import chosen, complete_session
from .screen import Screen, note, reported, stop
from .text import in_one_line

_IDS = ("traceId", "spanId", "parentSpanId")


def export(
    session: Annotated[
        str,
        typer.Argument(metavar="SESSION", autocompletion=complete_session, help="The session's id, or its beginning."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; else to standard output.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="One HTML file that stands alone, to send to a colleague."),
    ] = None,
    conventions: Annotated[
        str | None,
        typer.Option(
            "--conventions", metavar="NAMES", help="Attributes for other tools: genai, openinference, both, none."
        ),
    ] = None,
) -> None:
    """Write a session as OTLP JSON, or as one HTML file."""
    if html is not None and conventions is not None:
        raise typer.BadParameter("--html and --conventions exclude each other.")
    if html is not None and output is not None:
        raise typer.BadParameter("--html and --output exclude each other.")
    with reported():
        if html is not None:
            _page(session, html)
            return
        from ..encoding.otlp import without_exact
        from ..presentation import counted
        from ..reading.archive import Archive
        from ..reading.replay import request_of
        from .text import printable_json

        with Archive.of_settings() as archive:
            session_id = chosen(archive, session)
            bodies = [body for body in archive.bodies(session_id) if request_of(body) is not None]
        bodies = list(map(without_exact, bodies)) if conventions is None else _translated(bodies, conventions)
        text = printable_json(_json(bodies)) + "\n"
        if output is None:
            Screen().raw(text)
            return
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise stop(f"{output} cannot be written: {error.strerror}.") from None
        note(f"{counted(len(bodies), 'observation')} written to {output}.")


def _translated(bodies: list[bytes], conventions: str) -> list[bytes]:
    from ..destinations import conventions_of
    from ..encoding.translation import Translation

    try:
        translation = Translation(conventions_of(conventions))
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None
    return [translation.translated(body).SerializeToString() for body in bodies]


def _page(session: str, target: Path) -> None:
    from ..errors import MissingExtra
    from ..reading.archive import Archive

    try:
        from ..viewer.document import document
    except ImportError as error:
        raise MissingExtra((error.name or "jinja2").partition(".")[0], "viewer") from None
    with Archive.of_settings() as archive:
        session_id = chosen(archive, session)
        try:
            with target.open("w", encoding="utf-8", errors="backslashreplace") as file:
                file.writelines(document(archive, session_id))
        except OSError as error:
            raise stop(f"{target} cannot be written: {error.strerror}.") from None
        size = target.stat().st_size
    note(f"{in_one_line(session_id)} written to {target} ({size / 1e6:,.1f} MB).")


def _json(bodies: list[bytes]) -> str:
    import json

    return json.dumps(otlp_json(bodies), ensure_ascii=False)


def otlp_json(bodies: list[bytes]) -> dict[str, Any]:
    """Return requests of one span each as one OTLP/JSON request, spans of the same resource and scope together.

    The form is that of OTLP 1.x: ids as hex text, enumerations as numbers, 64-bit numbers as text.
    """
    from google.protobuf.json_format import MessageToDict
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    grouped: dict[bytes, dict[str, Any]] = {}
    scopes: dict[tuple[bytes, bytes], list[dict[str, Any]]] = {}
    for body in bodies:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            origin = resource.resource.SerializeToString(deterministic=True)
            if origin not in grouped:
                grouped[origin] = {"resource": MessageToDict(resource.resource), "scopeSpans": []}
            for scope in resource.scope_spans:
                key = (origin, scope.scope.SerializeToString(deterministic=True))
                if key not in scopes:
                    scopes[key] = []
                    grouped[origin]["scopeSpans"].append({"scope": MessageToDict(scope.scope), "spans": scopes[key]})
                scopes[key].extend(_hex_ids(MessageToDict(span, use_integers_for_enums=True)) for span in scope.spans)
    return {"resourceSpans": list(grouped.values())}


def _hex_ids(span: dict[str, Any]) -> dict[str, Any]:
    for name in _IDS:
        if name in span:
            span[name] = base64.b64decode(span[name]).hex()
    for link in span.get("links", []):
        _hex_ids(link)
    return span
