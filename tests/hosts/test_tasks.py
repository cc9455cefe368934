"""Task queues with a real Redis: a task is in its sender's session or in none, never in that of the task before."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from applications import PATIENT
from fresh import run_fresh
from hosts.redis_server import RedisServer
from hosts.serving import APPS
from peers.otlp import Receiver
from peers.spans import Span
from peers.waiting import until

CELERY = [sys.executable, "-m", "celery", "-A", "jobs", "worker", "-l", "ERROR"]
PRELOADED = "import jobs; from rq.cli import main; main()"
WORKERS = {
    "celery prefork": [*CELERY, "-P", "prefork", "-c", "1"],
    "celery threads": [*CELERY, "-P", "threads", "-c", "2"],
    "celery solo": [*CELERY, "-P", "solo"],
    "celery gevent": [*CELERY, "-P", "gevent", "-c", "4"],
    "celery eventlet": [*CELERY, "-P", "eventlet", "-c", "4"],
    "rq": [sys.executable, "-m", "rq.cli", "worker", "--url", "REDIS"],
    "rq preloaded": [sys.executable, "-c", PRELOADED, "worker-pool", "-n", "4", "--url", "REDIS"],
    "rq simple": [sys.executable, "-m", "rq.cli", "worker", "--url", "REDIS", "-w", "rq.SimpleWorker"],
    "dramatiq": [sys.executable, "-m", "dramatiq", "actors", "--processes", "1", "--threads", "2"],
}
TASKS = int(os.environ.get("REQUESTS", "10000"))
"""What the largest test sends to each worker."""
QUICK = ("celery threads", "celery gevent", "rq simple", "dramatiq")


class Queue:
    """A queue with a worker process, and a way to run a sender's code in a process of its own."""

    def __init__(self, worker: str, redis: RedisServer, receiver: Receiver, journal: Path, *, followed: bool) -> None:
        self.kind = worker.split()[0]
        self._receiver = receiver
        self._environment = {
            **receiver.environment(), **PATIENT, "REDIS": redis.url, "FOLLOWED": str(int(followed)),
            "LANGFUSE_INTEGRATION_JOURNAL": str(journal), "PYTHONPATH": f"{APPS}{os.pathsep}{APPS.parent.parent}",
        }  # fmt: skip

    def send(self, code: str, timeout_s: float = 90) -> None:
        """Run *code*, in which `send(name, user="")` sends a task."""
        ways = {
            "celery": "import jobs\nsend = jobs.task.delay\n",
            "rq": "import os, jobs, redis, rq\nqueue = rq.Queue(connection=redis.Redis.from_url(os.environ['REDIS']))\n"
            "def send(*arguments): queue.enqueue(jobs.work, *arguments)\n",
            "dramatiq": "import actors\nsend = actors.actor.send\n",
        }
        start = "from langfuse_integration import langfuse_manager\n"
        run_fresh(start + ways[self.kind] + code, self._environment, timeout_s=timeout_s)

    def rows(self, count: int, timeout_s: float = 60) -> list[Span]:
        """The first *count* rows that come, by name."""
        until(lambda: len(self._receiver.spans) >= count, timeout_s, f"{count} rows")
        return sorted(self._receiver.spans, key=lambda span: span.name)


@contextmanager
def queue(worker: str, redis: RedisServer, receiver: Receiver, journal: Path, *, followed: bool) -> Iterator[Queue]:
    """A queue whose worker runs within the block."""
    for module in ("gevent", "eventlet"):
        if module in worker and find_spec(module) is None:  # importing eventlet warns that it is deprecated
            pytest.skip(f"{module} is not installed")
    made = Queue(worker, redis, receiver, journal, followed=followed)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LANGFUSE_", "OTEL_"))}
    with journal.with_name("worker.log").open("w+") as log:
        process = subprocess.Popen(
            [part.replace("REDIS", redis.url) for part in WORKERS[worker]],
            cwd=APPS, env={**kept, **made._environment}, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            yield made
        except BaseException:
            print(journal.with_name("worker.log").read_text())
            raise
        finally:
            process.terminate()
            try:
                process.wait(60)
            finally:
                process.kill()
                process.wait()


def shown(rows: Sequence[Span]) -> list[tuple[str, str | None, str | None]]:
    return [(row.name, row.session_id, row.user_id) for row in rows]


def each_task_begins_with_no_session(worker: str, redis: RedisServer, receiver: Receiver, journal: Path) -> None:
    with queue(worker, redis, receiver, journal, followed=False) as tasks:
        tasks.send("""
with langfuse_manager.session("s-sender", "sender"):
    for number in range(6):
        send(f"alice {number}", "alice")
        send(f"nobody {number}")
""")
        rows = tasks.rows(12)
    assert Counter((row.name.split()[0], row.session_id, row.parent_id) for row in rows) == {
        ("alice", "chat-of-alice", None): 6,
        ("nobody", None, None): 6,
    }


def each_task_follows_its_sender(worker: str, redis: RedisServer, receiver: Receiver, journal: Path) -> None:
    with queue(worker, redis, receiver, journal, followed=True) as tasks:
        tasks.send("""
with langfuse_manager.session("s-1", "one"), langfuse_manager.trace_span("sender"):
    send("1 follows")
    send("2 sets", "alice")
send("3 nobody's")
with langfuse_manager.session("s-2", "two"):
    send("4 follows")
""")
        rows = tasks.rows(5)
    follows, sets, nobody, other, sender = rows
    assert shown(rows) == [
        ("1 follows", "s-1", "one"),
        ("2 sets", "chat-of-alice", "alice"),
        ("3 nobody's", None, None),
        ("4 follows", "s-2", "two"),
        ("sender", "s-1", "one"),
    ]
    assert {follows.parent_id, sets.parent_id} == {sender.span_id}
    assert {follows.trace_id, sets.trace_id} == {sender.trace_id}
    assert (nobody.parent_id, other.parent_id) == (None, None)


@pytest.mark.parametrize("check", [each_task_begins_with_no_session, each_task_follows_its_sender])
@pytest.mark.parametrize("worker", QUICK)
def test_a_task_is_in_its_sender_s_session_or_in_none(
    worker: str, check: Any, redis_server: RedisServer, receiver: Receiver, journal: Path
) -> None:
    """A task that follows its sender is in the sender's session and trace; any other begins with no session."""
    check(worker, redis_server, receiver, journal)


@pytest.mark.slow
@pytest.mark.parametrize("check", [each_task_begins_with_no_session, each_task_follows_its_sender])
@pytest.mark.parametrize("worker", sorted(WORKERS.keys() - set(QUICK)))
def test_the_same_holds_of_every_pool(
    worker: str, check: Any, redis_server: RedisServer, receiver: Receiver, journal: Path
) -> None:
    """Processes, threads, greenlets and forked children of Celery and RQ keep no session either."""
    check(worker, redis_server, receiver, journal)


def test_a_job_of_a_preloaded_worker_loads_nothing_of_this_package(
    redis_server: RedisServer, receiver: Receiver, journal: Path
) -> None:
    """Where RQ's worker has imported the jobs' module, what records and delivers is loaded before the worker forks."""
    with queue("rq preloaded", redis_server, receiver, journal, followed=True) as tasks:
        tasks.send("queue.enqueue(jobs.loading)")
        assert [row.name for row in tasks.rows(2)] == ["first", "loaded"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("worker", WORKERS)
def test_no_task_of_ten_thousand_is_wrong_missing_or_an_error(
    worker: str, redis_server: RedisServer, receiver: Receiver, journal: Path
) -> None:
    """Of 10,000 tasks of 50 users and anonymous ones no row is in a wrong session, missing, doubled or an error."""
    users = [f"u{number % 50}" if number % 3 else "" for number in range(TASKS)]
    with queue(worker, redis_server, receiver, journal, followed="preloaded" in worker) as tasks:
        sends = f"""
for number in range({TASKS}):
    user = f"u{{number % 50}}" if number % 3 else ""
    send(f"{{number}} of {{user}}", user)
"""
        tasks.send(sends, timeout_s=600)
        rows = tasks.rows(TASKS, timeout_s=3000)
    assert Counter((row.name, row.session_id, row.status) for row in rows) == Counter(
        (f"{number} of {user}", f"chat-of-{user}" if user else None, "UNSET") for number, user in enumerate(users)
    )


@pytest.mark.slow
def test_retries_chains_groups_and_chords_of_celery_follow(
    redis_server: RedisServer, receiver: Receiver, journal: Path
) -> None:
    """Whatever one sender's canvas leads to is in the sender's session and trace."""
    with queue("celery threads", redis_server, receiver, journal, followed=True) as tasks:
        tasks.send("""
from celery import chain, chord, group
with langfuse_manager.session("s-1", "one"), langfuse_manager.trace_span("sender"):
    jobs.fails_at_first.delay("retried")
    chain(jobs.task.s("chain 1"), jobs.step.s("chain 2"), jobs.step.s("chain 3")).delay()
    group(jobs.task.s("group 1"), jobs.task.s("group 2")).delay()
    chord([jobs.task.s("chord 1"), jobs.task.s("chord 2")], jobs.step.s("chord 3")).delay()
send("nobody's")
""")
        rows = tasks.rows(13)
    names = ["retried 0", "retried 1", "retried 2", *(f"chain {n}" for n in (1, 2, 3)), "group 1", "group 2"]
    names += [f"chord {n}" for n in (1, 2, 3)]
    assert [row for row in shown(rows) if row[0] != "nobody's"] == sorted(
        (name, "s-1", "one") for name in [*names, "sender"]
    )
    assert len({row.trace_id for row in rows if row.session_id}) == 1
    assert [row.name for row in rows if row.parent_id is None] == ["nobody's", "sender"]


@pytest.mark.slow
@pytest.mark.parametrize("worker", ["rq", "dramatiq"])
def test_retries_follow(worker: str, redis_server: RedisServer, receiver: Receiver, journal: Path) -> None:
    """A job that fails and is run again is in the sender's session each time, and the next job is not."""
    with queue(worker, redis_server, receiver, journal, followed=True) as tasks:
        again = {
            "rq": "queue.enqueue(jobs.failing, 'again', retry=rq.Retry(max=1))",
            "dramatiq": "actors.fails_once.send('again')",
        }
        tasks.send(f"""
with langfuse_manager.session("s-1", "one"), langfuse_manager.trace_span("sender"):
    {again[worker]}
send("nobody's")
""")
        rows = tasks.rows(4)
    assert Counter((row.name.split()[0], row.session_id) for row in rows) == {
        ("again", "s-1"): 2,
        ("nobody's", None): 1,
        ("sender", "s-1"): 1,
    }
    assert len({row.trace_id for row in rows if row.session_id}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("worker", WORKERS)
def test_a_broker_that_goes_away_in_the_middle_of_a_task(
    worker: str, redis_server: RedisServer, receiver: Receiver, journal: Path
) -> None:
    """The task's row comes once, whole and in its sender's session; later tasks of a worker that goes on have none."""
    folder = journal.parent
    ways = {
        "celery": "jobs.held_task.delay",
        "rq": "lambda folder: queue.enqueue(jobs.held, folder)",
        "dramatiq": "actors.held_actor.send",
    }
    with queue(worker, redis_server, receiver, journal, followed=True) as tasks:
        tasks.send(f"""
with langfuse_manager.session("s-1", "one"):
    ({ways[tasks.kind]})({str(folder)!r})
""")
        until((folder / "begun").exists, 60, "the task")
        redis_server.kill()
        (folder / "go").touch()
        assert shown(tasks.rows(1)) == [("held", "s-1", "one")]
        redis_server.start()
        if tasks.kind != "rq":  # whose worker ends with its broker
            tasks.send("send('later')")
            tasks.rows(2)
    later = [("later", None, None)] if tasks.kind != "rq" else []
    assert shown(receiver.spans) == [("held", "s-1", "one"), *later]
    assert {row.status for row in receiver.spans} == {"UNSET"}


@pytest.mark.parametrize("followed", ["0", "1"])
def test_an_eager_task_is_its_caller_s(followed: str) -> None:
    """A task that runs in the caller's process and thread stays in its session and trace, and leaves no session."""
    out = run_fresh(
        """
        import jobs
        from langfuse_integration import langfuse_manager
        from langfuse_integration.testing import recorded_sessions

        with recorded_sessions() as sessions:
            with langfuse_manager.session("s-1"), langfuse_manager.trace_span("caller"):
                jobs.task.apply(("eager",))
                jobs.task.apply(("alice's", "alice"))
            print(langfuse_manager.current_session_id)
            for row in sessions.observations:
                print(row.name, row.session_id, row.parent_id is None)
        """,
        {"FOLLOWED": followed, "PYTHONPATH": str(APPS)},
    )
    assert out.splitlines() == ["None", "caller s-1 True", "eager s-1 False", "alice's chat-of-alice False"]


@pytest.mark.parametrize(
    "header", [None, 7, "text", [1], {"traceparent": 7, 3: "x"}, {"traceparent": "forged", "baggage": ";;;,=="}]
)
def test_a_forged_header_changes_nothing(header: object) -> None:
    """A message whose header is of another version or not ours begins with no session."""
    from langfuse_integration import langfuse_manager
    from langfuse_integration.hosts.tasks import Task

    with langfuse_manager.session("s-outside"), Task(header):
        assert langfuse_manager.current_session is None
        assert langfuse_manager.current_observation is None
