import pytest

from bridge.errors import SettingsError
from bridge.simulator import SimulatorOptions, open_simulator


def test_agents_are_named_or_invented() -> None:
    """A number invents so many logins; names are taken as they are."""
    assert len(open_simulator(SimulatorOptions(agents=5)).center.logins) == 5
    named = open_simulator(SimulatorOptions(agents=["Jose", "ana"]))
    assert named.center.logins == ["Jose", "ana"]


def test_a_port_that_cannot_be_is_refused() -> None:
    """Before anything is opened."""
    with pytest.raises(SettingsError, match="port"):
        SimulatorOptions(port=65_536)


def test_no_agents_are_refused() -> None:
    """A center without anybody is a mistake."""
    with pytest.raises(SettingsError, match="agents"):
        open_simulator(SimulatorOptions(agents=0))
