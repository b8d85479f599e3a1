"""Log lines, as an operator gets them."""

from __future__ import annotations

import json
import logging

import pytest
import structlog

from bridge.observe import logs
from bridge.settings import LogSettings

PHONE = "85988887777"


@pytest.fixture(autouse=True)
def _restored() -> object:
    """Leave logging as it was."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()


def fail(number: str) -> None:
    """Fail with something personal in a variable."""
    raise ValueError(f"no good: {len(number)} digits")


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_values(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where it happened is there; what the variables held, which may be a phone, is not."""
    logs.configure(LogSettings(format=form))  # type: ignore[arg-type]
    try:
        fail(PHONE)
    except ValueError:
        structlog.get_logger("test").exception("crashed", command_id="1")
    text = capsys.readouterr().err
    assert "ValueError: no good: 11 digits" in text
    assert "in fail" in text
    assert PHONE not in text


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With event, level, time and fields, from our own rooms and from libraries alike."""
    logs.configure(LogSettings(format="json"))
    structlog.get_logger("test").warning("link_down", peer="h:1")
    logging.getLogger("somebody").warning("said %s", "this")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["event"], first["level"], first["peer"]) == ("link_down", "warning", "h:1")
    assert first["timestamp"].endswith("Z")
    assert (second["event"], second["level"]) == ("said this", "warning")


def test_the_level_holds_and_libraries_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """Below the level nothing is written; what the AMQP library says at each try never is."""
    logs.configure(LogSettings(level="warning", format="json"))
    structlog.get_logger("test").info("quiet")
    logging.getLogger("aiormq.connection").error("once more")
    assert capsys.readouterr().err == ""
