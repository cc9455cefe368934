"""`export`: OTLP JSON."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from commands import Lfi, record_turn, settle
from peers.otlp import Receiver


def test_what_is_exported_can_be_sent(lfi: Lfi, receiver: Receiver) -> None:
    """The text is an OTLP/JSON request: a server takes it, and has the whole tree with session and user."""
    record_turn("chat-1", "ada", question="日本語\x1b")
    record_turn("chat-2", "bob")
    settle()
    text = lfi.ok("export", "chat-1")
    answer = httpx.post(
        receiver.traces_url,
        content=text.encode(),
        headers={"Content-Type": "application/json"},
        auth=(receiver.public_key, receiver.secret_key),
    )
    assert answer.status_code == 200
    assert receiver.trees() == [("herder", ("ChatModel",), ("search",), ("ChatModel",))]
    assert {span.attributes["session.id"] for span in receiver.spans} == {"chat-1"}
    assert {span.attributes["user.id"] for span in receiver.spans} == {"ada"}


def test_ids_are_hex_and_numbers_are_those_of_otlp(lfi: Lfi) -> None:
    """Ids as OTLP/JSON wants them, enumerations as numbers, one resource and scope for all, and it parses."""
    record_turn("chat-1")
    settle()
    exported = json.loads(lfi.ok("export", "chat"))
    (resource,) = exported["resourceSpans"]
    (scope,) = resource["scopeSpans"]
    assert [span["name"] for span in scope["spans"]] == ["herder", "ChatModel", "search", "ChatModel"]
    root = scope["spans"][0]
    assert all(span["parentSpanId"] == root["spanId"] for span in scope["spans"][1:])
    assert (len(root["traceId"]), len(root["spanId"]), root["kind"]) == (32, 16, 1)
    int(root["traceId"], 16)
    for span in scope["spans"]:
        for name in ("traceId", "spanId", "parentSpanId"):
            span.pop(name, None)
    assert len(Parse(json.dumps(exported), ExportTraceServiceRequest()).resource_spans[0].scope_spans[0].spans) == 4


def test_it_goes_to_a_file(lfi: Lfi, tmp_path: Path) -> None:
    """--output writes the file and says so; a place that cannot be written is a sentence and exit code 1."""
    record_turn("chat-1")
    settle()
    target = tmp_path / "chat.json"
    done = lfi("export", "chat-1", "-o", str(target))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"4 observations written to {target}.\n")
    assert len(json.loads(target.read_text())["resourceSpans"]) == 1
    failed = lfi("export", "chat-1", "-o", str(tmp_path / "no" / "where.json"))
    assert failed.returncode == 1
    assert failed.stderr.endswith("where.json cannot be written: No such file or directory.\n")
