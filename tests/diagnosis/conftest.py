"""An installation, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from langfuse_integration import settings
from langfuse_integration.diagnosis import Finding, examine


@pytest.fixture
def wrong() -> Callable[[], list[Finding]]:
    """Return what is wrong with the installation as the environment now describes it."""

    def look() -> list[Finding]:
        settings.forget()
        return [finding for finding in examine() if finding.wrong]

    return look
