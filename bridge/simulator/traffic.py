"""What calls look like: invented customers, dialer attributes and recordings (§5.1-5.3)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from itertools import count
from random import Random
from uuid import UUID

from bridge.messages.events import Direction
from bridge.wire.grammar import CALL_INBOUND, CALL_OUTBOUND

UNUSED = "0"
"""What stands in a field that a call does not use, as in the manual's own example (§5.1)."""

_BRASILIA = timezone(timedelta(hours=-3))
_AREA_CODES = ("11", "21", "31", "81", "85")
_DIALER_POINT = "9988"
_SERVICE_POINTS = ("4000", "4010")
_CAMPAIGNS = ("Discador", "Campanha_Cobrança", "Serviço_Emprestimo")
_DESCRIPTIONS = ("", "Segunda tentativa", "Cliente antigo, prefere a manhã", "2ª via do boleto")
_RECORDERS = ("c:\\records", "\\\\gravador\\c$\\records")
_FIRST_DIAL_ITEM = 15068


@dataclass(frozen=True, slots=True)
class Call:
    """One call as its arrival event spells it: §5.1 outbound, §5.2 inbound.

    A dialer's call is an outbound one with a `dial_item_id`. An inbound call
    has no `description` and no `recording_key` on the wire.
    """

    direction: Direction
    dial_item_id: str = UNUSED
    origin_area_code: str = UNUSED
    origin: str = ""
    destination_area_code: str = UNUSED
    destination: str = ""
    description: str = ""
    recording_key: str = ""
    external_id: str = ""

    @property
    def from_dialer(self) -> bool:
        """Whether the dialer made it, which some commands ask for (§4.7, §4.8)."""
        return self.direction == "outbound" and self.dial_item_id not in ("", UNUSED)

    def spell(self, login: str) -> str:
        """Return the frame that says this call arrived at `login`."""
        form = CALL_OUTBOUND if self.direction == "outbound" else CALL_INBOUND
        return form.write({"agent": login, **asdict(self)})


class Traffic:
    """Invents calls, the same ones for the same state of `rng`.

    `attach_info` stands for Tactium's setting `Socket.SendAttachInfo`: only with
    it does a dialer's call carry its attributes in `external_id` (§5.1).
    """

    def __init__(self, rng: Random, *, attach_info: bool) -> None:
        self._rng = rng
        self._attach_info = attach_info
        self._dial_items = count(_FIRST_DIAL_ITEM)

    def inbound(self) -> Call:
        """Return a call from a customer to one of the center's numbers."""
        return Call(
            "inbound",
            origin_area_code=self._rng.choice(_AREA_CODES),
            origin=self._phone(),
            destination=self._rng.choice(_SERVICE_POINTS),
        )

    def from_dialer(self) -> Call:
        """Return a call of the automatic dialer to a customer on its list."""
        rng = self._rng
        item = str(next(self._dial_items))
        description = rng.choice(_DESCRIPTIONS)
        # Eleven equal digits: a CPF of this form is nobody's.
        recording_key = rng.choice("0123456789") * 11 if rng.random() < 0.5 else ""
        return Call(
            "outbound",
            dial_item_id=item,
            origin=_DIALER_POINT,
            destination_area_code=rng.choice(_AREA_CODES),
            destination=self._phone(),
            description=description,
            recording_key=recording_key,
            external_id=self._attributes(item, description) if self._attach_info else "",
        )

    def recording_path(self, extension: int, at: float) -> str:
        """Return where the recording of a call lies that began at `at` (Unix seconds).

        On the recorder's own disk as in §5.3, or on its Windows share, whose
        name holds a `$`.
        """
        began = datetime.fromtimestamp(at, _BRASILIA)
        folder = f"{self._rng.choice(_RECORDERS)}\\{began.year}\\{began.month}\\{began.day}"
        channel = f"P{self._rng.randint(1, 4)}C{self._rng.randint(1, 30):02d}"
        return f"{folder}\\{extension}-{began:%Y%m%d-%H%M%S}-{channel}-Station.wav"

    def _phone(self) -> str:
        return f"4005{self._rng.randrange(10_000):04d}"

    def _attributes(self, item: str, description: str) -> str:
        rng = self._rng
        return (
            f"dialer.CampaignName={rng.choice(_CAMPAIGNS)};"
            f"dialer.ExternalID={item};"
            f"dialer.ItemID={UUID(int=rng.getrandbits(128), version=4)};"
            f"dialer.Description={description};"
            f"dialer.AttachInfo=pedido-{rng.randrange(10_000)};"
            "dialer.ExternalData=;"
        )
