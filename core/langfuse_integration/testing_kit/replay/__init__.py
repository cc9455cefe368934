"""Replay of a recorded session: the application runs, models and MCP servers answer from the recording.

Tools, retrievers and embedding models of the application answer from it where a replay asks for that.

What is recorded: a row holds in `langfuse_integration.exact` the exact form of its answer, plain JSON with an entry
`form` that names its kind: `langchain.chat`, `langchain.tool`, `llamaindex.answer`, `mcp.exchanges`. An adapter sets
`Observation.exact` to a function that returns that form; it is called on the worker, only where the setting
`replayable` is on, then masked, written to the journal, and removed wherever rows leave (`otlp.without_exact`). A form
may hold an entry `server` for what has no row of its own, such as a handshake and the list of tools: `{"name": ...,
"initialize": ..., "tools/list": ...}`; a session file keeps it once for each server, as `session.servers[name]`. The
part of a form before the dot is the name of the seam that reads it.

A seam is how an adapter answers from the recording. An adapter has a module `replay` with

    def answering(session: ReplaySession) -> AbstractContextManager[None]: ...

which patches the framework for the time of the block, below its callbacks, and names it in pyproject.toml:

    [project.entry-points."langfuse_integration.replay"]
    langchain = "langfuse_integration_langchain.replay:answering"

Only seams that the recording needs are loaded. For each call, a seam asks

    form = session.answer(Question("model", "ChatOpenAI", observation))

and gets the exact form to rebuild the answer from, or None: the call goes on live, because models (or MCP servers) are
live in this replay or the replay was forked before this call. It raises NotRecorded where the recording has no answer.
A form with an entry `error` stands for an exception: `raise session.error(form)` raises one like it. A form with an
entry `replaced` has another answer instead of the recorded one: a text, or plain values in the form's own words.
An answer is made within `with rebuilding(session, form):`, so that a form which was edited into something else refuses
the call with its step. What a call sends beside its input, such as a client's answer to a question of the server, is
compared by `session.compare(form, "client's answer to roots/list", recorded, now)`.
`session.may_go_live` tells whether calls may be live later, so that a seam has to keep servers reachable.

The position of a call comes from its observation, which has to be running: the adapter's handlers are on during a
replay. It is the nearest agent above it, and the order of the calls there; the task or thread in which the observation
was made tells whether an order is the application's doing (`flows`). What is asked is compared with what was
recorded afterwards; where it differs, that is a divergence, and the answer is the recorded one all the same.
"""
