"""A hundred thousand observations through an outage of each kind: all arrive, once and whole, in bounded memory."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from applications import application
from peers.misbehaviour import Behaviour, hang, redirect, status
from peers.otlp import Receiver
from peers.spans import wire_spans
from peers.tls import TlsFront

MANY = 100_000
LARGEST_MB = 200
"""What the application may have in memory: the interpreter with its modules, and bounded queues."""

APPLICATION = """
import json
ids = []
clock = time.perf_counter_ns

def record(count):
    took = []
    for number in range(len(ids), len(ids) + count):
        began = clock()
        with langfuse_manager.trace_span(f"span {number}", input=f"question {number} " * 20) as span:
            span.update(output=number)
        took.append(clock() - began)
        ids.append(span.id)
        if number % 10 == 0:
            time.sleep(0.001)
    took.sort()
    return took[len(took) // 2] / 1000, took[len(took) * 99 // 100] / 1000

for line in sys.stdin:
    command, number = line.split()
    if command == "record":
        said = record(int(number))
    elif command == "flush":
        said = langfuse_manager.flush(float(number))
    else:
        with open("/proc/self/status") as status:  # not ru_maxrss, which begins with that of the parent process
            (most,) = [line for line in status if line.startswith("VmHWM")]
        said = [ids, int(most.split()[1]) // 1024]
    print(json.dumps(said), flush=True)
"""


class Outage(NamedTuple):
    """A kind of outage: the address that the application has, and how it begins and ends."""

    url: str
    begin: Callable[[], object]
    end: Callable[[], object]
    environment: dict[str, str]
    within: tuple[str, ...] = ()


ANSWERS: dict[str, Behaviour] = {
    "hang": hang(),
    "401": status(401),
    "403": status(403),
    "408": status(408),
    "413": status(413),
    "429": status(429, retry_after_s=1),
    "500": status(500),
    "503": status(503),
    "redirect": redirect("https://elsewhere.example.org/"),
}


@contextmanager
def outage(kind: str, receiver: Receiver, folder: Path) -> Iterator[Outage]:
    """Give what makes *kind* happen to an application that delivers to *receiver*."""
    if kind == "refused":
        yield Outage(receiver.url, receiver.refuse, receiver.listen, {})
    elif kind == "TLS":
        with TlsFront(receiver.port, folder) as front:

            def trusted(value: bool) -> Callable[[], None]:
                return lambda: setattr(front, "trusted", value)

            yield Outage(front.url, trusted(False), trusted(True), {"SSL_CERT_FILE": str(front.authority)})
    elif kind == "DNS":
        # The application's own view of the file that names are looked up in: in a mount namespace of its own.
        names = folder / "hosts"
        there, gone = "127.0.0.1 localhost langfuse.invalid\n", "127.0.0.1 localhost\n"
        names.write_text(there)
        within = ("unshare", "-rm", "sh", "-c", f'mount --bind {names} /etc/hosts && exec "$@"', "sh")

        def forgotten() -> None:
            names.write_text(gone)
            with receiver.refusing():  # the open connection needs no name any more
                pass

        url = f"http://langfuse.invalid:{receiver.port}"
        yield Outage(url, forgotten, lambda: names.write_text(there), {}, within)
    else:
        yield Outage(receiver.url, lambda: receiver.always(ANSWERS[kind]), lambda: receiver.always(None), {})


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", ["refused", "DNS", "TLS", *ANSWERS])
def test_a_hundred_thousand_arrive_once_and_whole(receiver: Receiver, journal: Path, tmp_path: Path, kind: str) -> None:
    """Recorded before, during and after an outage, each observation arrives once with all it had."""
    if kind == "DNS" and not _may_mount():
        pytest.skip("needs `unshare`, and the right to use it")
    with outage(kind, receiver, tmp_path) as made:
        environment = {"LANGFUSE_BASE_URL": made.url, "LANGFUSE_TIMEOUT": "2", **made.environment}
        with application(APPLICATION, journal, receiver, environment=environment, within=made.within) as process:

            def told(command: str, number: float = 0) -> list[object]:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(f"{command} {number}\n")
                process.stdin.flush()
                said: list[object] = json.loads(process.stdout.readline())
                return said

            told("record", 1_000)  # everything is loaded, and the connection made
            assert told("flush", 60) == [1_000, 0, 0]
            healthy = told("record", MANY * 3 // 10)
            told("flush", 60)  # an answer that is cut off with its connection would have its rows sent again
            made.begin()
            during = told("record", MANY * 4 // 10)
            delivered, pending, lost = told("flush", 0.5)
            assert lost == 0
            assert int(str(delivered)) + int(str(pending)) == 1_000 + MANY * 7 // 10
            assert int(str(pending)) > MANY * 3 // 10
            made.end()
            after = told("record", MANY * 3 // 10 - 1_000)
            assert told("flush", 200) == [MANY, 0, 0]
            ids, largest_mb = told("end")
    assert isinstance(ids, list)
    print(f"\n{kind}: calls us p50/p99 healthy {healthy}, outage {during}, after {after}; {largest_mb} MB at most")
    wanted = {found: (f"span {n}", f"question {n} " * 20, str(n)) for n, found in enumerate(ids)}
    assert whole(receiver) == wanted
    assert receiver.doubled() == {}
    assert isinstance(largest_mb, int)
    assert largest_mb < LARGEST_MB


def whole(receiver: Receiver) -> dict[str, tuple[str, str, str]]:
    """Name, input and output of everything that came, by span id."""
    found: dict[str, tuple[str, str, str]] = {}
    for exchange in receiver.requests:
        if exchange.stored:
            for span in wire_spans(exchange.message):
                kept = {entry.key: entry.value.string_value for entry in span.attributes}
                payloads = kept["langfuse.observation.input"], kept["langfuse.observation.output"]
                found[span.span_id.hex()] = (span.name, *payloads)
    return found


def _may_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode == 0
