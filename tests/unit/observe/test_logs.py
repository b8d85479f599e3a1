"""Log lines, as an operator gets them."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

import pytest
import structlog

from bridge.observe import logs
from bridge.observe.logs import Cleaner, Limiter, Writer
from bridge.settings import LogSettings

pytestmark = pytest.mark.usefixtures("restored_logging")


PHONE = "85988887777"


def written(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was logged, once it is written."""
    logs.flush()
    return capsys.readouterr().err


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
    text = written(capsys)
    assert "ValueError: no good: 11 digits" in text
    assert "in fail" in text
    assert PHONE not in text


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With event, level, time and fields, from our own rooms and from libraries alike."""
    logs.configure(LogSettings(format="json"))
    structlog.get_logger("test").warning("link_down", peer="h:1")
    logging.getLogger("somebody").warning("said %s", "this")
    first, second = (json.loads(line) for line in written(capsys).splitlines())
    assert (first["event"], first["level"], first["peer"]) == ("link_down", "warning", "h:1")
    assert first["timestamp"].endswith("Z")
    assert (second["event"], second["level"]) == ("said this", "warning")


def test_the_level_holds_and_libraries_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """Below the level nothing is written; what the AMQP library says at each try never is."""
    logs.configure(LogSettings(level="warning", format="json"))
    structlog.get_logger("test").info("quiet")
    logging.getLogger("aiormq.connection").error("once more")
    assert written(capsys) == ""


def test_nothing_secret_is_ever_in_a_line() -> None:
    """Neither in a field nor deeper, nor in a traceback, whoever put it there."""
    cleaner = Cleaner(["s3cret", ""])
    line = cleaner(
        None,
        "",
        {
            "event": "broker_down",
            "reason": "amqp://guest:s3cret@host",
            "data": {"s3cret": ["s3cret", 1, None, True]},
            "exception": "Traceback\nValueError: s3cret",
            "error": ValueError("s3cret"),
        },
    )
    assert "s3cret" not in str(line)
    assert line["exception"] == "Traceback\nValueError: ***"
    assert line["data"] == {"***": ["***", 1, None, True]}


def test_what_a_peer_says_moves_no_cursor() -> None:
    """Escapes and direction marks are shown as what they are."""
    cleaned = Cleaner([]).text("a\x1b[2Jb\u202ec\x00d\re\nf ção")
    assert cleaned == "a\\x1b[2Jb\\u202ec\\x00d\\re\nf ção"


def test_a_fault_that_repeats_is_said_a_few_times() -> None:
    """Ten times a minute; the next says how many were left out. Others are not touched."""
    now = [0.0]
    limiter = Limiter(lambda: now[0])

    def say(event: str, level: str = "warning") -> Any:
        try:
            return limiter(None, "", {"event": event, "level": level})
        except structlog.DropEvent:
            return None

    assert [say("frame_malformed") is not None for _ in range(13)] == [True] * 10 + [False] * 3
    assert say("broker_down") is not None
    assert all(say("command_ended", "info") for _ in range(50))
    now[0] = 61.0
    assert say("frame_malformed")["left_out"] == 3
    assert "left_out" not in say("frame_malformed")


def test_whoever_reads_no_log_holds_nothing_up() -> None:
    """A pipe that is full stops no line; how many were lost is said when there is room again."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as stream:
        writer = Writer(stream, most_waiting=10)
        for _ in range(3_000):
            writer.emit(logging.makeLogRecord({"msg": "x" * 1_000}))
        text = ""
        while "lost" not in text:
            text = reader.readline()
            writer.emit(logging.makeLogRecord({"msg": "y"}))
        assert int(text.split()[0]) > 0
        writer.close()
