"""The viewer's routes: sessions, a session's replay, a trace, an observation, and a stream of changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ..errors import LangfuseIntegrationError
from ..reading.archive import Archive
from ..reading.comparison import Comparison
from ..reading.nearest import nearest_sessions
from .agent_graph import graph_of
from .comparison_page import compared_pairs
from .conversation_page import TURNS_PAGE, RowsView, tree_of, turns_of
from .events import Changes
from .guard import Guard
from .pages import HERE, rendered
from .paths import session_path
from .rows import hit, mark
from .sessions_page import ORDERS, SORTED_LIMIT, listed_sessions
from .step_filter import StepFilter, choices

HITS_LIMIT = 100


def application(journal: Path | None) -> Starlette:
    """Return the ASGI application that shows *journal*; a file that is not there yet is an empty one."""
    viewer = _Viewer(journal)
    routes = [
        Route("/", viewer.sessions),
        Route("/sessions", viewer.session),  # ?id=: for ids that browsers would take for a path, such as `..`
        Route("/sessions/{session_id:path}", viewer.session),
        Route("/untagged", viewer.session),
        Route("/compare", viewer.compare),
        Route("/traces/{trace_id}", viewer.trace),
        Route("/traces/{trace_id}/graph", viewer.graph),
        Route("/traces/{trace_id}/{span_id}", viewer.observation),
        Route("/events", Changes(journal)),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    app = Starlette(routes=routes, exception_handlers={LangfuseIntegrationError: viewer.trouble, 404: viewer.missing})
    app.add_middleware(Guard)
    return app


class _Viewer:
    def __init__(self, journal: Path | None) -> None:
        self._journal = journal

    def sessions(self, request: Request) -> Response:
        """List the sessions, the newest first."""
        query = request.query_params
        page = _number(query.get("page"))
        with Archive(self._journal) as archive:
            listed, more = listed_sessions(archive, query, page)
            untagged = archive.session(None) if not page else None
            running = {observation.session_id for observation in archive.running()}
        return _html(
            "sessions.html",
            sessions=listed,
            sorts={name: _paged(query, 0, sort=name) for name in ("", *ORDERS)},
            sorted_limit=SORTED_LIMIT,
            running=running,
            untagged=untagged,
            ask=query,
            page=page,
            journal=self._journal,
            earlier=_paged(query, page + 1) if more else None,
            later=_paged(query, page - 1) if page else None,
        )

    def session(self, request: Request) -> Response:
        """Replay a session: a page of its turns, those that are asked for opened; or search in it."""
        query = request.query_params
        session_id = request.path_params.get("session_id", query.get("id"))
        page, open_trace, at = _number(query.get("page")), query.get("open", ""), query.get("at", "")
        with Archive(self._journal) as archive:
            summary = archive.session(session_id)
            if summary is None:
                what = "no session " + session_id if session_id else "nothing untagged"
                nearest = nearest_sessions(archive, session_id) if session_id else []
                return _html("missing.html", 404, what=what, nearest=nearest)
            step_filter = StepFilter.of(query)
            if any(step_filter):
                observations = step_filter.selected(archive, session_id, HITS_LIMIT + 1)
                return _html(
                    "search.html",
                    summary=summary,
                    ask=query,
                    filter=step_filter,
                    choices=choices(archive, session_id),
                    hits=[hit(observation, step_filter.text) for observation in observations[:HITS_LIMIT]],
                    more=len(observations) > HITS_LIMIT,
                    running=False,
                )
            ids = archive.trace_ids(session_id)
            if open_trace in ids:
                page = ids.index(open_trace) // TURNS_PAGE
                tree = tree_of(archive, open_trace, session_id, RowsView(_number(query.get("rows")), at))
            else:
                open_trace, tree = "", None
            last = max(len(ids) - 1, 0) // TURNS_PAGE
            page = min(page, last)
            turns = turns_of(archive, summary, ids, page, open_trace)
            running = any(observation.session_id == session_id for observation in archive.running())
            scores = archive.scores(session_id)
            names, origin = choices(archive, session_id), archive.origin(session_id)
        return _html(
            "session.html",
            origin=origin,
            choices=names,
            filter=step_filter,
            summary=summary,
            scores=scores,
            turns=[turn._replace(tree=tree) if turn.head.trace.id == open_trace else turn for turn in turns],
            opened=open_trace,
            running=running,
            ask=query,
            page=page,
            last=last,
            first=page * TURNS_PAGE + 1,
            count=len(ids),
        )

    def compare(self, request: Request) -> Response:
        """Compare two sessions, each given by its id or the beginning of it."""
        query = request.query_params
        with Archive(self._journal) as archive:
            found = [archive.session(_only(archive, query.get(side, ""))) for side in ("a", "b")]
            if found[0] is None or found[1] is None:
                unknown = query.get("a" if found[0] is None else "b", "")
                return _html("missing.html", 404, what=f"not exactly one session that begins with {unknown}")
            comparison = Comparison(*(archive.replay(summary.session_id) for summary in found if summary is not None))
        everything = bool(query.get("all"))
        pairs, more = compared_pairs(comparison, everything)
        ids = {"a": found[0].session_id or "", "b": found[1].session_id or ""}
        return _html(
            "comparison.html",
            left=found[0],
            right=found[1],
            changes=len(comparison.changes),
            first=comparison.first_divergence,
            same_path=comparison.same_path,
            pairs=pairs,
            more=more,
            everything=everything,
            all="/compare?" + urlencode({**ids, "all": 1}),
            differences="/compare?" + urlencode(ids),
        )

    def trace(self, request: Request) -> Response:
        """Show a page of a trace's tree as a part for the session's page, or lead to that page."""
        trace_id, query = request.path_params["trace_id"], request.query_params
        with Archive(self._journal) as archive:
            if "part" not in query:
                owners = archive.owners(trace_id)
                if not owners:
                    return _html("missing.html", 404, what=f"no trace {trace_id}")
                return RedirectResponse(session_path(owners[0], f"t-{trace_id}", open=trace_id))
            tree = tree_of(archive, trace_id, query.get("session"), RowsView(_number(query.get("rows"))))
        if tree is None:
            return _html("missing.html", 404, what=f"no trace {trace_id}")
        return _html("tree.html", tree=tree)

    def graph(self, request: Request) -> Response:
        """Show which agents and tools took part in a trace."""
        trace_id, session_id = request.path_params["trace_id"], request.query_params.get("session") or None
        with Archive(self._journal) as archive:
            trace = archive.trace(trace_id, session_id)
        if trace is None:
            return _html("missing.html", 404, what=f"no trace {trace_id}")
        owner = next((each.session_id for each in trace.observations if each.session_id), None)
        return _html("graph.html", trace=trace, graph=graph_of(trace), owner=owner)

    def observation(self, request: Request) -> Response:
        """Return the page of one observation."""
        trace_id, span_id = request.path_params["trace_id"], request.path_params["span_id"]
        query = request.query_params
        with Archive(self._journal) as archive:
            observations = archive.observed(trace_id, [span_id])
        if not observations:
            return _html("missing.html", 404, what=f"no observation {span_id}")
        name = "detail.html" if "part" in query else "observation.html"
        return _html(name, found=observations[0], mark=mark(observations[0]), whole=bool(query.get("whole")))

    def trouble(self, request: Request, error: Exception) -> Response:
        """Return the page that tells why the journal cannot be read."""
        return _html("trouble.html", 500, error=str(error))

    def missing(self, request: Request, error: Exception) -> Response:
        """Return the page for an unknown address."""
        return _html("missing.html", 404, what=f"no page {request.url.path}")


def _html(name: str, status: int = 200, **values: Any) -> Response:
    return HTMLResponse(rendered(name, **values), status)


def _only(archive: Archive, beginning: str) -> str:
    """Return the only session id that begins like that; one that is in no journal if there are none or several."""
    ids = archive.matching(beginning, 2) if beginning else []
    return ids[0] if len(ids) == 1 else ""


def _paged(query: Mapping[str, str], page: int, **changes: str) -> str:
    kept = {key: query[key] for key in ("q", "user", "errors", "sort") if query.get(key)}
    return "/?" + urlencode({**kept, **changes, **({"page": page} if page else {})})


def _number(text: str | None) -> int:
    return min(int(text), 10**6) if text is not None and text.isascii() and text.isdigit() else 0
