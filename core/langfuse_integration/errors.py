"""Every exception that this package raises on purpose.

LangfuseIntegrationError (Exception)
|-- InvalidEntry (ValueError)        a function that cannot be called with a turn
|-- InvalidFork (ValueError)         a step of a recording that does not exist
|-- InvalidSession (ValueError)      an id, user or tag that Langfuse could not group by
|-- InvalidSessionType (TypeError)   the same, but not text at all
|-- InvalidSettings (ValueError)     a setting that makes no sense
|-- JournalTooNew (RuntimeError)     a journal written by a newer release
|-- JournalUnreadable (RuntimeError) a file that is no journal, or may not be read
|-- NotRecorded (LookupError)       a replayed application asks for something that the recording does not hold
|-- NoKeys (RuntimeError)            Langfuse is needed, and the settings name no project
|-- ReplayDiverged (AssertionError)  a replayed application went another way than recorded
|-- SeamMoved (RuntimeError)        a release of a framework in which a replay cannot answer
|-- SessionFileUnreadable (ValueError) a session file of another version, or one that is damaged
`-- MissingExtra (ImportError)       an adapter without its framework
"""

from __future__ import annotations


class LangfuseIntegrationError(Exception):
    """The base of everything below."""


class InvalidSession(LangfuseIntegrationError, ValueError):
    """A session id, user id or tag outside of what Langfuse groups by."""

    def __init__(self, what: str, value: str, problem: str, allowed: str = "1 to 200 printable characters") -> None:
        shown = value if len(value) <= 40 else value[:37] + "..."
        super().__init__(f"{what} {shown!r} {problem}. Allowed: {allowed}.")


class InvalidSessionType(LangfuseIntegrationError, TypeError):
    """A session id, user id or tag that is no text."""

    def __init__(self, what: str, value: object, expected: str = "a str") -> None:
        super().__init__(f"{what} must be {expected}, not {type(value).__name__}: convert it first.")


class InvalidSettings(LangfuseIntegrationError, ValueError):
    """A setting that cannot be used, with the variable that holds it."""

    def __init__(self, variable: str, problem: str) -> None:
        super().__init__(f"{variable} {problem}.")
        self.variable = variable


class JournalTooNew(LangfuseIntegrationError, RuntimeError):
    """A journal whose schema this release does not know."""

    def __init__(self, path: str, found: int, known: int) -> None:
        super().__init__(
            f"The journal {path} has schema {found}, this release knows up to {known}: "
            "upgrade langfuse-integration, or set LANGFUSE_INTEGRATION_JOURNAL to another file."
        )


class JournalUnreadable(LangfuseIntegrationError, RuntimeError):
    """A file that cannot be read as a journal."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(
            f"The journal {path} cannot be read ({problem}): "
            "check the file, or set LANGFUSE_INTEGRATION_JOURNAL to another one."
        )


class NoKeys(LangfuseIntegrationError, RuntimeError):
    """Something has to go to Langfuse, but to which project is not set."""

    def __init__(self) -> None:
        super().__init__("There are no keys: set LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and LANGFUSE_BASE_URL.")


class NotRecorded(LangfuseIntegrationError, LookupError):
    """A replayed application asks a model, a server or the network for something that is not in the recording."""

    def __init__(self, step: str, problem: str, cure: str) -> None:
        super().__init__(f"{step}: {problem}. {cure}")
        self.step = step


class InvalidEntry(LangfuseIntegrationError, ValueError):
    """A function that cannot be called with a turn."""

    def __init__(self, entry: str, problem: str) -> None:
        super().__init__(f"{entry!r} cannot be called ({problem}): name a function with one argument, module:function.")


class InvalidFork(LangfuseIntegrationError, ValueError):
    """A step at which a recording cannot be forked, with those at which it can."""

    def __init__(self, step: str, labels: list[str]) -> None:
        super().__init__(f"The recording has no {step!r}. Its steps are: {', '.join(labels)}.")


class UnfitAnswer(LangfuseIntegrationError, ValueError):
    """Another answer for a step which the client of its server would not take."""

    def __init__(self, label: str, structured: str) -> None:
        super().__init__(
            f"{label} cannot be answered with a text: the tool has an output schema. "
            f"Give a dict like the recorded one, in `answers` of a replay: {structured}."
        )


class ReplayDiverged(LangfuseIntegrationError, AssertionError):
    """A replayed application went another way than recorded; one sentence for each divergence."""

    def __init__(self, divergences: list[str]) -> None:
        cure = "session.allow(...) allows what is wanted; pytest --rerecord records the session anew."
        super().__init__("\n".join(["the application went another way than recorded", *divergences, cure]))
        self.divergences = divergences


class SeamMoved(LangfuseIntegrationError, RuntimeError):
    """A framework in whose installed release a replay cannot answer, since the code that it replaces is not there."""

    def __init__(self, package: str, version: str, name: str) -> None:
        super().__init__(
            f"{package} {version} has no {name}, where a replay answers: upgrade langfuse-integration, "
            f"or install the release of {package} that the session was recorded with."
        )


class SessionFileUnreadable(LangfuseIntegrationError, ValueError):
    """A session file that cannot be replayed."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"The session file {path} cannot be read ({problem}): write it anew with `lfi test`.")


class MissingExtra(LangfuseIntegrationError, ImportError):
    """An optional part is used, but what it stands on is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed: pip install 'langfuse-integration[{extra}]'.",
            name=package,
        )
