import pytest

from bridge.simulator.agents import Agent, Status, hire, invent_logins
from bridge.simulator.traffic import Call


@pytest.mark.parametrize("number", [1, 8, 20, 21, 300])
def test_invented_logins_are_all_different_and_can_be_hired(number: int) -> None:
    """Exactly so many, and no two are the same agent."""
    assert len(hire(invent_logins(number))) == number


def test_invented_logins_hold_dots_and_accents() -> None:
    """More than a handful show what real logins may hold."""
    logins = "".join(invent_logins(8))
    assert "." in logins
    assert not logins.isascii()


@pytest.mark.parametrize("number", [0, -3])
def test_no_agents_no_logins(number: int) -> None:
    """None are invented for nobody."""
    assert invent_logins(number) == []


def test_the_wrap_up_is_about_the_last_call() -> None:
    """In wrap-up the dialer's call that has just ended counts; afterwards it does not."""
    agent = Agent("jose", 7016, last_call=Call("outbound", dial_item_id="1"))
    agent.enter(Status.WRAP_UP)
    assert agent.has_dialer_call
    agent.enter(Status.AVAILABLE)
    assert not agent.has_dialer_call
