"""One contender and one application in a process of their own; takes orders on stdin, answers on stdout.

    python -m benchmarks.participant CONTENDER WORKLOAD DELIVERY ADDRESS

An order is the number of turns to take; the answer is one line of JSON.
"""

from __future__ import annotations

import gc
import json
import os
import sys

from .contender import Terms
from .contenders import contender
from .workloads import framework_of, workload
from .workloads.workload import Reading


def main() -> None:
    """Serve until stdin ends."""
    name, application_name, delivery, address = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keeps the output of libraries out of the answers
    tracer = contender(name)
    tracer.begin(Terms(framework_of(application_name), delivery, address))  # type: ignore[arg-type]
    application = workload(application_name)(tracer)
    print(json.dumps("ready"), file=answers, flush=True)
    for order in sys.stdin:
        gc.collect()
        spans = tracer.delivered()
        before, after = application.measure(int(order))
        tracer.deliver()
        whole = Reading.now().since(before)
        took = after.since(before)
        answer = {"wall_ns": took.wall_ns, "thread_ns": took.thread_ns, "process_ns": whole.process_ns}
        if spans is not None:
            answer["spans"] = (tracer.delivered() or 0) - spans
        print(json.dumps(answer), file=answers, flush=True)
    answers.close()
    os._exit(0)  # without running the contender's exit handlers


if __name__ == "__main__":
    main()
