from __future__ import annotations

import pytest
from pydantic import ValidationError

from bridge.errors import LinkDown, LinkRefused, SettingsError
from bridge.links import engine
from bridge.links.engine import open_engine, translated
from bridge.settings import DATABASES, LinkSettings


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://u:p@h/d", "postgresql+asyncpg"),
        ("mysql://u:p@h/d", "mysql+aiomysql"),
        ("mariadb://u:p@h/d", "mariadb+aiomysql"),
        ("sqlite:///file.db", "sqlite+aiosqlite"),
    ],
)
def test_a_plain_url_gets_its_driver(url: str, driver: str) -> None:
    """The user names a database, and not what speaks to it."""
    assert open_engine(url).url.drivername == driver


def test_each_kind_that_the_settings_take_has_a_driver() -> None:
    assert set(DATABASES) == set(engine.DRIVERS)


@pytest.mark.parametrize("url", ["postgresql+psycopg://u:s3cr3t@h/d", "postgres", "://s3cr3t", ""])
def test_an_url_that_will_not_do_is_not_shown(url: str) -> None:
    """It may hold a password."""
    with pytest.raises(SettingsError) as raised:
        open_engine(url)
    assert "postgresql://" in str(raised.value)
    assert "s3cr3t" not in str(raised.value)


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what installs it."""
    monkeypatch.setattr(engine, "find_spec", lambda _name: None)
    with pytest.raises(SettingsError, match=r"pip install 'tactium-bridge\[postgresql\]'"):
        open_engine("postgresql://u:p@h/d")


@pytest.mark.parametrize("url", [None, "postgres://u:s3cr3t@h/d", "http://h/", "file.db"])
def test_the_transport_needs_an_url(url: str | None) -> None:
    """The setting says what it may be."""
    with pytest.raises(ValidationError, match="sqlite://"):
        LinkSettings.model_validate({"transport": "database", "database_url": url})


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), LinkDown),
        (OSError(111, "refused"), LinkDown),
        (LinkRefused("x"), LinkRefused),
    ],
)
def test_what_a_driver_raises_becomes_ours(error: Exception, kind: type[Exception]) -> None:
    """No phone number of a row gets into the log by that."""
    with pytest.raises(kind), translated():
        raise error
    with pytest.raises(LinkDown) as raised, translated():
        raise ValueError("row (5, <jose><A><><4005050000><>$)\nDETAIL: more")
    assert "4005050000" not in str(raised.value)
    assert "DETAIL" not in str(raised.value)
