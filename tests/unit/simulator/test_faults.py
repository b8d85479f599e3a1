from random import Random
from typing import Any

import pytest

from bridge.errors import SettingsError
from bridge.simulator.faults import Faults, Mischief
from bridge.wire.frame import Decoder, Frame

EVENT = "<jose><A><15068><0><9988><0><7017><><><dialer.CampaignName=Discador;>$"


def mischief(**faults: Any) -> Mischief:
    return Mischief(Faults(**faults), Random(1))


def test_without_faults_nothing_is_touched() -> None:
    """Every byte goes out as it is, at once."""
    calm = mischief()
    assert calm.delay_seconds() == 0
    assert not calm.swallows_answer()
    assert calm.spoil(EVENT, event=True) == EVENT
    assert calm.surround(b"<jose><OK>$") == b"<jose><OK>$"
    assert list(calm.chop(b"abc")) == [b"abc"]


def test_events_are_mangled_as_in_the_manual() -> None:
    """A lost bracket as in the example of §5.1, or a broken end as in its form."""
    wild = mischief(mangled=1)
    mangled = {wild.spoil(EVENT, event=True) for _ in range(50)}
    assert mangled == {EVENT.replace("<><>", "<>>"), EVENT.replace(";>$", ";><$")}
    assert wild.spoil("<jose><EndCall>$", event=True) == "<jose><EndCall><$"


def test_an_answer_is_never_mangled() -> None:
    """Only events are."""
    assert mischief(mangled=1).spoil("<jose><OK>$", event=False) == "<jose><OK>$"


def test_garbage_and_line_breaks_cost_no_frame() -> None:
    """Whatever stands between the frames, a decoder finds every one of them."""
    wild = mischief(garbage=1, line_breaks=True)
    sent = b"".join(wild.surround(f"<a{n}><OK>$".encode()) for n in range(500))
    found = [each.raw for each in Decoder().feed(sent) if isinstance(each, Frame)]
    assert found == [f"<a{n}><OK>$" for n in range(500)]


def test_a_mangled_end_costs_only_its_own_frame() -> None:
    """Garbage behind it does not hide it, so the frame after it is found."""
    sent = b"<jose><EndCall><$" + mischief(garbage=1).surround(b"<ana><OK>$")
    found = [each.raw for each in Decoder().feed(sent) if isinstance(each, Frame)]
    assert found == ["<ana><OK>$"]


def test_shares_and_delays_keep_to_their_bounds() -> None:
    """A share strikes about that often, and no delay is longer than asked for."""
    wild = mischief(unanswered=0.3, delay_seconds=2.0)
    assert 200 < sum(wild.swallows_answer() for _ in range(1000)) < 400
    assert all(0 <= wild.delay_seconds() <= 2 for _ in range(100))


def test_bytes_one_by_one() -> None:
    """Each in a write of its own, in order."""
    assert list(mischief(single_bytes=True).chop(b"abc")) == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    "wrong",
    [{"mangled": 1.1}, {"garbage": -0.1}, {"unanswered": float("nan")}, {"delay_seconds": -1},
     {"drop_every_seconds": float("inf")}],
)  # fmt: skip
def test_wrong_faults_are_named(wrong: dict[str, Any]) -> None:
    """What cannot be is refused, and the message says what."""
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        Faults(**wrong)
