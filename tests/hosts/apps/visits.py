"""One application in plain WSGI, Flask, Django, Pyramid and FastAPI: a user logs in, a stranger not, answers stream."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

from langfuse_integration import langfuse_manager


def work(who: str) -> None:
    with langfuse_manager.trace_span(f"work of {who}"):
        pass


def answer(who: str, user: str) -> Iterator[bytes]:
    """The work of a request: half of it before the first byte is out, half of it while the answer streams."""
    if user:
        langfuse_manager.set_session(f"chat-of-{user}", user_id=user)
    work(who)

    def stream() -> Iterator[bytes]:
        yield b"first "
        work(who)
        yield b"second"

    return stream()


def plain(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    query = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
    body = answer(query["who"], query.get("user", ""))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return body


def make_flask() -> Any:
    import flask

    app = flask.Flask(__name__)

    @app.get("/")
    def page() -> Any:
        return flask.Response(answer(flask.request.args["who"], flask.request.args.get("user", "")))

    return app


def make_django() -> Any:
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpRequest, StreamingHttpResponse
    from django.urls import path

    def page(request: HttpRequest) -> StreamingHttpResponse:
        return StreamingHttpResponse(answer(request.GET["who"], request.GET.get("user", "")))

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=(path("", page),), SECRET_KEY="x")
    return get_wsgi_application()


def make_pyramid() -> Any:
    from pyramid.config import Configurator
    from pyramid.response import Response

    def page(request: Any) -> Any:
        return Response(app_iter=answer(request.params["who"], request.params.get("user", "")))

    with Configurator() as config:
        config.add_route("page", "/")
        config.add_view(page, route_name="page")
        return config.make_wsgi_app()


def make_fastapi() -> Any:
    from fastapi import FastAPI
    from fastapi.responses import StreamingResponse

    app = FastAPI()

    @app.get("/")
    def page(who: str, user: str = "") -> StreamingResponse:
        return StreamingResponse(answer(who, user))

    return app


def make(name: str) -> Any:
    """Make `plain`, `flask_app`, `django_app`, `pyramid_app` or `fastapi_app`, each also as `..._in_middleware`."""
    inner, _, wrapped = name.partition("_in_")
    makers = {"flask_app": make_flask, "django_app": make_django, "pyramid_app": make_pyramid}
    app = {**makers, "fastapi_app": make_fastapi, "plain": lambda: plain}[inner]()
    if not wrapped:
        return app
    from langfuse_integration.hosts import asgi, wsgi

    return asgi.SessionMiddleware(app) if inner == "fastapi_app" else wsgi.SessionMiddleware(app)


def for_asgi() -> Any:
    """Return the application as one of ASGI."""
    from a2wsgi import WSGIMiddleware

    return WSGIMiddleware(application)


application = make(os.environ.get("VISITS", "plain"))
