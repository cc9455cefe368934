"""A service that another one of ours calls: by the middleware, and by hand in a plain handler."""

from fastapi import FastAPI, Request

from langfuse_integration import langfuse_manager
from langfuse_integration.hosts.asgi import SessionMiddleware
from langfuse_integration.propagation import extract

app = FastAPI()


def search(name: str) -> dict[str, str | None]:
    """Record a step and say whose it was."""
    langfuse_manager.trace_agent_step("act", name, "found", name=name)
    return {"session": langfuse_manager.current_session_id, "user": langfuse_manager.current_user_id}


trusting = FastAPI()
trusting.add_middleware(SessionMiddleware, baggage=True)
app.mount("/trusting", trusting)


@trusting.get("/search")
def search_below(name: str) -> dict[str, str | None]:
    """Search in the caller's session, by the middleware."""
    with langfuse_manager.trace_span("middleware"):
        return search(name)


@app.get("/by-hand")
async def search_by_hand(name: str, request: Request) -> dict[str, str | None]:
    """Search in the caller's session, by `extract`."""
    async with extract(request.headers):
        return search(name)


@app.get("/doubting")
def search_alone(name: str) -> dict[str, str | None]:
    """Search in nobody's session: nothing was declared."""
    return search(name)
