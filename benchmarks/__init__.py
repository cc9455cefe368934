"""What tracing costs an application: this package, a bare OpenTelemetry span and other tracers, side by side.

    make bench                                  the table, with ratios to the bare span
    python -m benchmarks --help                 what else there is to measure

Every contender runs in a process of its own. The rounds of all of them are interleaved in random order, and each is
compared with the untraced run of the same round, so that whatever disturbs the machine disturbs them alike.
"""
