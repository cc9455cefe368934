"""Three destinations of which one is dead, one slow and one refuses: nothing is lost and nothing is doubled."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from applications import application, run
from peers.backend import Backend
from peers.misbehaviour import slow, status
from peers.otlp import Receiver

COUNT = 300
OF_SENDERS = ("langfuse_integration.export", "langfuse_integration.journal", "sqlite3", "socket", "ssl", "http")
APPLICATION = """
import json
from langfuse_integration import OtlpDestination
configure(destinations=[OtlpDestination(url) for url in sys.argv[1:]])
used = set()
def note(frame, event, argument):
    used.add(str(frame.f_globals.get("__name__")))
for number in range({count}):
    sys.setprofile(note if number else None)
    with langfuse_manager.trace_span(f"span {{number}}", input=f"question {{number}}") as span:
        span.update(output=number)
    sys.setprofile(None)
    print(span.id)
    if number % 10 == 9:
        time.sleep(0.01)
print(json.dumps(langfuse_manager.flush(30)), flush=True)
print(json.dumps(sorted(used)), flush=True)
{then}
"""


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_three_destinations_and_a_kill(receiver: Receiver, journal: Path) -> None:
    """Langfuse and a slow server have everything although two others have nothing; after kill -9 each gets the rest."""
    with Backend() as dead, Backend() as sluggish, Backend() as refusing:
        dead.refuse()
        sluggish.always(slow(1.0))
        refusing.always(status(503))
        servers = (dead, sluggish, refusing)
        urls = [server.url for server in servers]
        code = APPLICATION.format(count=COUNT, then="time.sleep(60)")
        with application(code, journal, receiver, *urls) as process:
            assert process.stdout is not None
            ids = [process.stdout.readline().strip() for _ in range(COUNT)]
            assert process.stdout.readline().strip() == f"[{COUNT}, 0, 0]"
            used = json.loads(process.stdout.readline())
            assert "langfuse_integration.recording.observation" in used
            assert not [name for name in used if name.startswith(OF_SENDERS)], "the application's thread sends nothing"
            sluggish.wait_for(COUNT, 30)
            process.kill()
            process.wait()
        assert {span.span_id for span in receiver.spans} == set(ids)
        assert (dead.spans, refusing.spans) == ([], [])
        dead.listen()
        refusing.always(None)
        sluggish.always(None)
        more = run(APPLICATION.format(count=10, then=""), journal, receiver, *urls).split("\n")[:10]
        for server in (receiver, *servers):
            server.wait_for(COUNT + 10, 60)
            assert {span.span_id for span in server.spans} == {*ids, *more}
        doubled = [Counter(span.span_id for span in server.spans).most_common(1)[0][1] for server in servers]
        assert doubled[0] == doubled[2] == 1
        # The slow server may have had an answer on its way when the process was killed: that request is sent again.
        assert doubled[1] <= 2
        assert receiver.doubled() == {}
