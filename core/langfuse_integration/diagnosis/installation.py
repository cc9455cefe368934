"""The installation that the checks examine, and their findings."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from ..internals.lazy import lazy
from ..reading.database import JournalFile
from ..settings import Settings
from ..settings import settings as settings_in_force

if TYPE_CHECKING:
    from ..export.exchange import HttpResponse


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check.

    Attributes:
        about: what it is about, in one word or two.
        said: what there is, in a sentence.
        cure: what to do, or None where nothing is wrong.
    """

    about: str
    said: str
    cure: str | None = None

    @property
    def wrong(self) -> bool:
        """Whether the user has to act."""
        return self.cure is not None


class ProjectReply(NamedTuple):
    """Langfuse's answer to a request for the keys' project, or why there is none."""

    answer: HttpResponse | None
    problem: str
    at_s: float


class Installation:
    """The current installation: its settings, its journal, and what its Langfuse answers; each is read once."""

    @lazy
    def settings(self) -> Settings:
        """The settings in force."""
        return settings_in_force()

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables."""
        return os.environ

    @lazy
    def journal(self) -> JournalFile:
        """The journal, open for reading; LangfuseIntegrationError if it cannot be read."""
        return JournalFile(self.settings.journal_path)

    @lazy
    def rows(self) -> JournalFile:
        """The journal, or an empty one where it cannot be read: for the checks of what was recorded."""
        from ..errors import LangfuseIntegrationError

        try:
            return self.journal
        except LangfuseIntegrationError:
            return JournalFile(None)

    @lazy
    def project_reply(self) -> ProjectReply | None:
        """Langfuse's answer for the keys, or None without keys."""
        from ..export.exchange import Unreachable
        from ..export.http import LangfuseHttp

        if self.settings.mode != "langfuse":
            return None
        connection = LangfuseHttp(self.settings)
        try:
            return ProjectReply(connection.send("GET", "/api/public/projects", b"", {}), "", time.time())
        except Unreachable as error:
            return ProjectReply(None, str(error), time.time())
        finally:
            connection.close()

    def __enter__(self) -> Installation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "journal" in self.__dict__:
            self.journal.close()
