"""Settings: Langfuse's own variables, ours, and one clear warning for what makes no sense."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fresh import run_fresh
from langfuse_integration import OtlpDestination, configure, langfuse_manager
from langfuse_integration.errors import InvalidSettings
from langfuse_integration.settings import forget, settings
from peers.otlp import Receiver


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_langfuse_variables_mean_what_they_mean_to_langfuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, address, environment, release and sample rate come from LANGFUSE_*."""
    for name, value in {
        "LANGFUSE_PUBLIC_KEY": "pk-lf-1",
        "LANGFUSE_SECRET_KEY": "sk-lf-1",
        "LANGFUSE_HOST": "https://example.org/",
        "LANGFUSE_TRACING_ENVIRONMENT": "staging",
        "LANGFUSE_RELEASE": "1.2.3",
        "LANGFUSE_SAMPLE_RATE": "0.5",
        "LANGFUSE_TRACING_ENABLED": "yes",
    }.items():
        monkeypatch.setenv(name, value)
    found = settings()
    assert (found.mode, found.base_url, found.environment, found.release, found.sample_rate) == (
        "langfuse",
        "https://example.org",
        "staging",
        "1.2.3",
        0.5,
    )
    monkeypatch.setenv("LANGFUSE_BASE_URL", "https://other.example.org")
    configure()
    assert settings().base_url == "https://other.example.org"


def test_a_secret_never_shows() -> None:
    """A secret is neither in a repr nor in the message of an invalid setting."""
    configure(public_key="pk-lf-1", secret_key="sk-lf-hidden")
    assert "sk-lf-hidden" not in repr(settings())
    with pytest.raises(InvalidSettings) as caught:
        configure(sample_rate=7, secret_key="sk-lf-hidden")
    assert "sk-lf-hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("LANGFUSE_PUBLIC_KEY", "pk-lf-1", "LANGFUSE_SECRET_KEY"),
        ("LANGFUSE_SECRET_KEY", "sk-lf-1", "LANGFUSE_PUBLIC_KEY"),
        ("LANGFUSE_BASE_URL", "not a url", "LANGFUSE_BASE_URL"),
        ("LANGFUSE_SAMPLE_RATE", "many", "LANGFUSE_SAMPLE_RATE"),
        ("LANGFUSE_TRACING_ENVIRONMENT", "Langfuse Prod", "LANGFUSE_TRACING_ENVIRONMENT"),
        ("LANGFUSE_INTEGRATION_CAPTURE", "some", "LANGFUSE_INTEGRATION_CAPTURE"),
    ],
)
def test_a_misconfigured_environment_is_one_warning_that_names_the_variable(
    name: str, value: str, word: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Recording goes on with the default, into the journal."""
    monkeypatch.setenv(name, value)
    for index in range(3):
        langfuse_manager.trace_agent_step("think", index, index)
    assert langfuse_manager.flush(10) == (3, 0, 0)
    assert langfuse_manager.mode == "local"
    (message,) = warnings_of(caplog)
    assert word in message


def test_an_empty_variable_is_as_good_as_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Deployments set variables to nothing: that is no key and no warning."""
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "")
    monkeypatch.setenv("LANGFUSE_BASE_URL", "")
    assert settings().mode == "local"
    assert warnings_of(caplog) == []


def test_only_variables_of_langfuse_and_of_this_package_are_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A deployment's own ENVIRONMENT, RELEASE, STORE or CAPTURE means something else, and changes no setting."""
    expected = settings()
    for name in ("ENVIRONMENT", "RELEASE", "STORE", "CAPTURE", "JOURNAL", "BASE_URL", "TIMEOUT_S", "SECRET_KEY"):
        monkeypatch.setenv(name, "none")
    forget()
    assert settings() == expected
    assert warnings_of(caplog) == []


def test_settings_are_read_with_the_standard_library_alone() -> None:
    """The first rows of a process wait for its settings: no validation library is loaded."""
    out = run_fresh(
        """
        import sys
        from langfuse_integration.settings import forget, settings

        assert settings().sample_rate == 1.0
        print("pydantic" in sys.modules, "httpx" in sys.modules, "google.protobuf" in sys.modules)
        """
    )
    assert out.split() == ["False"] * 3


@pytest.mark.parametrize(
    ("name", "value", "usable"),
    [
        ("sample_rate", "0.5", 0.5),
        ("sample_rate", float("nan"), None),
        ("sample_rate", 1.01, None),
        ("timeout_s", 0, None),
        ("timeout_s", 3, 3.0),
        ("flush_at", "20", 20),
        ("flush_at", 2.0, 2),
        ("flush_at", 2.5, None),
        ("flush_at", float("inf"), None),
        ("flush_at", 0, None),
        ("media_upload", "false", False),
        ("media_upload", 0, False),
        ("media_upload", "maybe", True),
        ("media_upload", 7, None),
        ("environment", 5, None),
        ("capture", "FULL", None),
        ("journal", "off", "off"),
        ("journal", 3, None),
        ("mask", "no function", None),
    ],
)
def test_a_value_is_taken_as_it_is_meant_or_refused(name: str, value: object, usable: object) -> None:
    """Text counts as the number that it says; what is out of bounds or of another kind is refused by its name."""
    if usable is not None:
        configure(**{name: value})
        assert getattr(settings(), name) == usable
    else:
        with pytest.raises(InvalidSettings, match=name):
            configure(**{name: value})


def test_a_wrong_setting_in_code_raises_and_changes_nothing() -> None:
    """configure() is the programmer's: unknown names and senseless values are said at once."""
    configure(capture="none")
    with pytest.raises(ValueError, match="samplerate"):
        configure(samplerate=0.5)
    with pytest.raises(ValueError, match="sample_rate"):
        configure(sample_rate=2)
    assert settings().capture == "none"


def test_the_journal_is_a_file_of_the_user_unless_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """LANGFUSE_INTEGRATION_JOURNAL names a file, or switches it off."""
    assert settings().journal_path == tmp_path / "journal.sqlite3"
    configure(journal="off")
    assert settings().journal_path is None
    monkeypatch.delenv("LANGFUSE_INTEGRATION_JOURNAL")
    configure(journal=None)
    path = settings().journal_path
    assert path is not None
    assert path.name == "journal.sqlite3"
    assert "langfuse-integration" in str(path)


def test_a_user_without_a_home_directory_keeps_rows_in_memory(receiver: Receiver) -> None:
    """Where neither HOME nor the password file tells a home, rows are delivered from memory, which is said once."""
    out = run_fresh(
        """
        import os, pwd, sys

        for name in ("HOME", "XDG_DATA_HOME", "LANGFUSE_INTEGRATION_JOURNAL"):
            os.environ.pop(name, None)

        def nobody(_):
            raise KeyError("uid not found")

        pwd.getpwuid = nobody
        sys.stderr = sys.stdout
        from langfuse_integration import langfuse_manager

        with langfuse_manager.trace_span("answer"):
            pass
        print(*langfuse_manager.flush(20))
        """,
        receiver.environment(),
    )
    said, counts = out.splitlines()
    assert said.startswith("rows are kept in memory until they are delivered, and in no journal: set LANGFUSE_INTEG")
    assert counts == "1 0 0"
    assert [span.name for span in receiver.spans] == ["answer"]


# -- destinations beside Langfuse


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("OTLP_ENDPOINT", "localhost:4318", "'localhost:4318' is no URL such as http://localhost:4318"),
        ("OTLP_ENDPOINT", "http://", "'http://' is no URL"),
        ("OTLP_ENDPOINT", "http://x:port", "'http://x:port' is no URL"),
        ("OTLP_ENDPOINT", "https://user:secret@example.org", "send them in a header"),
        ("OTLP_ENDPOINT", "example.org?key=secret", "'example.org' is no URL"),
        ("OTLP_HEADERS", "sk-secret", "header 1 has no value"),
        ("OTLP_HEADERS", "x=1,api-key=", "header 2 has no value"),
        ("OTLP_HEADERS", "Authorization: Bearer secret=", "header 1 has no value"),
        ("OTLP_HEADERS", "Authorization: Basic secret==", "header 1 has no name that HTTP allows"),
        ("OTLP_HEADERS", "api-key=secret%0Aone", "characters that HTTP forbids"),
        ("OTLP_CONVENTIONS", "otel", "there is no convention 'otel': write genai or openinference, both or none"),
    ],
)
def test_a_destination_that_makes_no_sense_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str, value: str, message: str
) -> None:
    """A URL that is none, a header without a value, an unknown convention: one warning names the variable."""
    monkeypatch.setenv(f"LANGFUSE_INTEGRATION_{variable}", value)
    settings()
    (warning,) = [record.getMessage() for record in caplog.records if variable in record.getMessage()]
    assert message in warning
    assert "secret" not in warning
    with pytest.raises(ValueError, match=f"{variable.lower()} is not usable"):
        configure(**{variable.lower(): value})


def test_a_destination_in_code_is_checked_at_once() -> None:
    """OtlpDestination refuses what makes no sense, and shows no header."""
    for options in ({"url": "x"}, {"url": "http://x", "headers": {"k": ""}}, {"url": "http://x", "conventions": ["a"]}):
        with pytest.raises(ValueError, match="OtlpDestination"):
            OtlpDestination(**options)
    with pytest.raises(ValueError, match="capture"):
        OtlpDestination("http://x", capture="some")  # type: ignore[arg-type]
    shown = repr(OtlpDestination("http://x", headers={"api-key": "secret"}))
    assert "secret" not in shown
    with pytest.raises(ValueError, match="named twice"):
        configure(destinations=[OtlpDestination("http://x"), OtlpDestination("http://x/v1/traces", conventions=())])


def test_destinations_of_code_and_environment_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of the environment stands beside those of the code; one that both name is as the code has it."""
    monkeypatch.setenv("LANGFUSE_INTEGRATION_OTLP_ENDPOINT", "http://one:4318")
    monkeypatch.setenv("LANGFUSE_INTEGRATION_OTLP_CONVENTIONS", "openinference")
    configure(destinations=[OtlpDestination("http://two")])
    assert [(found.url, found.conventions) for found in settings().all_destinations] == [
        ("http://one:4318/v1/traces", ("openinference",)),
        ("http://two/v1/traces", ("genai", "openinference")),
    ]
    configure(destinations=[OtlpDestination("http://one:4318", conventions=())])
    assert [found.conventions for found in settings().all_destinations] == [()]
