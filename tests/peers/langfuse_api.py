"""LangfuseApi: the endpoints of Langfuse's public API that its SDK uses beside traces (server 4.16, SDK 4.7 to 5.0).

Scores (SDK 5 posts a list, SDK 4 an ingestion batch), projects, health, prompts, and the upload of media.
"""

from __future__ import annotations

import base64
import json
import threading
from typing import Any
from urllib.parse import parse_qsl

from peers.server import Answer, Request

_PROMPT: dict[str, Any] = {"version": 1, "config": {}, "labels": ["production"], "tags": []}


def error(status: int, message: str, **headers: str) -> Answer:
    """Return an error in the form of Langfuse's API."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps({"message": message}).encode()
    return Answer(status, body, {"Content-Type": "application/json", **names})


class LangfuseApi:
    """Answers the endpoints below and keeps what came to them."""

    def __init__(self, public_key: str, secret_key: str, project_id: str) -> None:
        self._credentials = "Basic " + base64.b64encode(f"{public_key}:{secret_key}".encode()).decode()
        self.project_id = project_id
        self.scores: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        """The events of ingestion batches, scores among them."""
        self.media: dict[str, bytes] = {}
        """Uploaded media by their id."""
        self.media_requests: list[dict[str, Any]] = []
        """What the upload was announced with: traceId, observationId, field, contentType, ..."""
        self.prompts: dict[str, dict[str, Any]] = {}
        """Prompts that a test puts here: name to `{"type": "text", "prompt": ..., "version": 1}`."""
        self._guard = threading.Lock()

        self.traces: list[dict[str, str]] = []
        """Traces that a test puts here: `{"id": ..., "userId": ..., "sessionId": ...}`."""
        self.deleted: list[str] = []
        """Ids of the traces that were to be deleted."""
        self.lists_observations = True
        """False behaves as Langfuse 3, which lists traces."""

    def clear(self) -> None:
        """Forget what came; prompts stay."""
        with self._guard:
            for kept in (self.scores, self.events, self.media, self.media_requests):
                kept.clear()

    def refusal(self, request: Request) -> Answer | None:
        """Return the 401 that Langfuse answers without the right keys, None with them."""
        if request.headers.get("authorization") == self._credentials:
            return None
        return error(401, "Invalid credentials. Confirm that you've configured the correct host.")

    def answer(self, request: Request, url: str) -> Answer:
        """Answer a request to the server at *url* that is not for traces."""
        path = request.path.removeprefix("/api/public")
        if path == "/health":
            return _json({"status": "OK", "version": "4.16.0"})
        if request.method == "PUT" and path.startswith("/uploads/"):  # a presigned address: no keys
            with self._guard:
                self.media[path.removeprefix("/uploads/")] = request.body
            return Answer(200)
        return self.refusal(request) or self._answer_with_keys(request, path, url)

    def _answer_with_keys(self, request: Request, path: str, url: str) -> Answer:
        match request.method, path.strip("/").split("/"):
            case "GET", ["projects"]:
                organization = {"id": "test-organization", "name": "Test organization"}
                project = {"id": self.project_id, "name": "Test project", "organization": organization, "metadata": {}}
                return _json({"data": [project]})
            case _, ["v2", "observations"] | ["traces"]:
                return self._list_or_delete(request)
            case "POST", ["scores"]:
                return self._keep_scores(json.loads(request.body))
            case "POST", ["ingestion"]:
                return self._keep_events(json.loads(request.body)["batch"])
            case "POST", ["media"]:
                return self._announce_media(json.loads(request.body), url)
            case "PATCH", ["media", _]:
                return _json({})
            case "GET", ["v2", "prompts", name] if name in self.prompts:
                prompt: dict[str, Any] = {
                    "name": name,
                    "version": 1,
                    "config": {},
                    "labels": ["production"],
                    "tags": [],
                }
                return _json({**prompt, **self.prompts[name]})
            case _:
                return error(404, f"no {request.method} {request.path} here")

    def _list_or_delete(self, request: Request) -> Answer:
        if request.method == "DELETE":
            self.deleted += json.loads(request.body)["traceIds"]
            return _json({"message": "Traces deleted successfully"})
        if request.path.endswith("observations") != self.lists_observations:
            return error(404, f"no {request.method} {request.path} here")
        if self.lists_observations:
            data = [{"id": "0" * 16, "traceId": trace["id"]} for trace in self._listed(request)]
            return _json({"data": data, "meta": {}})
        return _json({"data": self._listed(request), "meta": {"page": 1, "totalPages": 1}})

    def _listed(self, request: Request) -> list[dict[str, str]]:
        """Return the traces of the user and the session in the query."""
        wanted = {name: value for name, value in parse_qsl(request.query) if name in ("userId", "sessionId")}
        return [trace for trace in self.traces if wanted.items() <= trace.items()]

    def _keep_scores(self, body: dict[str, Any] | list[dict[str, Any]]) -> Answer:
        with self._guard:
            self.scores.extend(body if isinstance(body, list) else [body])
        if isinstance(body, list):
            return _json({"message": "Accepted"}, 202)
        return _json({"id": body.get("id", "score")})

    def _keep_events(self, events: list[dict[str, Any]]) -> Answer:
        with self._guard:
            self.events.extend(events)
            self.scores.extend(event["body"] for event in events if event["type"] == "score-create")
        return _json({"successes": [{"id": event["id"], "status": 201} for event in events], "errors": []}, 207)

    def _announce_media(self, body: dict[str, Any], url: str) -> Answer:
        media_id = base64.urlsafe_b64encode(base64.b64decode(body["sha256Hash"])).decode()[:22]
        with self._guard:
            self.media_requests.append(body)
            uploaded = media_id in self.media
        upload_url = None if uploaded else f"{url}/api/public/uploads/{media_id}"
        return _json({"mediaId": media_id, "uploadUrl": upload_url}, 200 if uploaded else 201)


def _json(body: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})
