import re
from random import Random

from bridge.messages.events import CallStarted
from bridge.simulator.traffic import Call, Traffic
from bridge.wire.frame import Decoder, Frame
from bridge.wire.grammar import understand


def read(call: Call) -> CallStarted:
    (frame,) = Decoder().feed(call.spell("jose").encode())
    assert isinstance(frame, Frame)
    heard = understand(frame)
    assert isinstance(heard, CallStarted)
    return heard


def test_a_dialers_call_carries_its_attributes_as_the_manual_shows() -> None:
    """With attach info, `external id` is `key=value;…` with the six keys of §5.1's example."""
    for seed in range(20):
        heard = read(Traffic(Random(seed), attach_info=True).from_dialer())
        assert list(heard.external) == [
            f"dialer.{key}"
            for key in (
                "CampaignName", "ExternalID", "ItemID", "Description", "AttachInfo", "ExternalData"
            )
        ]  # fmt: skip
        assert heard.external["dialer.ExternalID"] == heard.dial_item_id
        assert heard.external["dialer.Description"] == heard.description


def test_without_attach_info_the_external_id_is_empty() -> None:
    """§5.1: it is sent only where `Socket.SendAttachInfo` is on."""
    call = Traffic(Random(1), attach_info=False).from_dialer()
    assert call.from_dialer
    assert read(call).external_id == ""


def test_an_inbound_call_has_the_form_of_the_manual() -> None:
    """§5.2: `---` where an outbound call has more, and unused fields as §5.1 fills them."""
    call = Traffic(Random(1), attach_info=True).inbound()
    assert not call.from_dialer
    form = r"<jose><R><0><\d\d><4005\d{4}><0><40[01]0><---><>\$"
    assert re.fullmatch(form, call.spell("jose"))


def test_a_recording_is_named_as_the_manual_shows() -> None:
    """§5.3: year, month and day without zeros, extension, moment, channel; or on a share."""
    traffic = Traffic(Random(1), attach_info=False)
    at = 1421437117.0  # 2015-01-16 16:38:37 in Brasília
    paths = {traffic.recording_path(7016, at) for _ in range(50)}
    form = (
        r"(c:|\\\\gravador\\c\$)\\records\\2015\\1\\16\\7016-20150116-163837-P\dC\d\d-Station\.wav"
    )
    assert all(re.fullmatch(form, path) for path in paths)
    assert {path[0] for path in paths} == {"c", "\\"}
