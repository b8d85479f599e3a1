"""Bytes from Tactium in, frames out; no I/O and no clock (protocol.md §2).

    frame = field *field "$"        field = "<" *character ">"

The rules, since nothing on the wire is escaped:

- A frame ends at a `$` that directly follows `>`; any other `$` is data.
- What lies between the first `<` and the last `>` is split at `><`.
- White space and NUL between frames are skipped.
- Malformed, and handed out with its bytes: anything else between frames, a
  frame without a login, a frame over the size limit, and a frame in which a `$`
  stands before `<`, CR, LF or NUL. The last is the trace of a frame whose end
  was mangled: it is cut after that `$`, and what follows is read on.
- How the bytes were cut into reads makes no difference to what comes out.

Every byte that goes in comes out once: in a frame, in a malformed piece, or as
skipped white space.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_FRAME_BYTES = 65_536
"""Far over any real frame (a few hundred bytes): a bound on memory, not on Tactium."""

_END = b">$"
_SPACE = b" \t\r\n\v\f\0"
_ENDING = re.compile(rb">\$|\$(?=[<\r\n\0])")
_BROKEN = re.compile(rb"\$[<\r\n\0]")
_WINDOWS = {byte: bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(256)}


@dataclass(slots=True)
class Frame:
    """One whole frame: its fields, the login first, and its text as it came."""

    fields: list[str]
    raw: str


@dataclass(slots=True)
class Malformed:
    """Bytes that are no frame, and why."""

    reason: str
    raw: bytes


class Decoder:
    """Cuts the stream of one connection into frames.

    `max_frame_bytes` counts the whole frame, from its `<` to its `$`. A new
    connection takes a new decoder.
    """

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._limit = max_frame_bytes
        self._rest = bytearray()
        self._overflowing = False

    def __repr__(self) -> str:
        return f"<Decoder: {len(self._rest)} bytes wait, overflowing={self._overflowing}>"

    @property
    def is_between_frames(self) -> bool:
        """Whether all that came in has come out again."""
        return not (self._rest or self._overflowing)

    def feed(self, data: bytes) -> list[Frame | Malformed]:
        """Take what was read and return what is complete by it. Never raises."""
        rest = self._rest
        if rest and b"$" not in data and self._can_only_grow(len(data)):
            rest += data
            return []
        whole, end, left = (bytes(rest) + data).rpartition(_END)
        text = self._maybe_plain(whole + end)
        if text is not None:
            rest[:] = left
            found: list[Frame | Malformed] = [
                Frame(each[1:].split("><"), each + ">$") for each in text.split(">$")[:-1]
            ]
        else:
            found = self._feed_odd(whole + end + left)
        if rest:
            self._cut(found)
        return found

    def _maybe_plain(self, block: bytes) -> str | None:
        """Return the text of whole frames where there is nothing odd about any of them."""
        count = block.count(_END)
        is_plain = (
            not self._overflowing
            and block[:1] == b"<"
            and block.count(b"$") == count
            and block.count(b">$<") == count - 1
            and b"$<>" not in block
            and block[:2] != b"<>"
            and (len(block) <= self._limit or max(map(len, block.split(_END))) + 2 <= self._limit)
        )
        if not is_plain:
            return None
        try:
            return block.decode()
        except UnicodeDecodeError:  # of one frame, perhaps: each is read by itself
            return None

    def _feed_odd(self, data: bytes) -> list[Frame | Malformed]:
        """Take what is complete of it, and leave the rest."""
        rest = self._rest
        rest.clear()
        found: list[Frame | Malformed] = []
        pieces = data.split(_END)
        for whole in pieces[:-1]:
            is_between = not rest and not self._overflowing
            piece = whole.lstrip(_SPACE) if is_between else whole
            if is_between and self._is_plain(piece):
                text = decode(piece)
                found.append(Frame(text[1:].split("><"), text + ">$"))
            else:
                rest += piece + _END
                self._cut(found)
        rest += pieces[-1]
        return found

    def finish(self) -> list[Frame | Malformed]:
        """Return what the end of the connection left incomplete, if anything."""
        left = bytes(self._rest if self._overflowing else self._rest.lstrip(_SPACE))
        self._rest.clear()
        self._overflowing = False
        return [Malformed("cut off by the end of the connection", left)] if left else []

    def _can_only_grow(self, more: int) -> bool:
        """Whether `more` bytes without a `$` merely lengthen the frame that waits."""
        rest = self._rest
        return rest[0] == ord("<") and rest[-1] != ord("$") and len(rest) + more <= self._limit

    def _is_plain(self, piece: bytes) -> bool:
        """Whether a piece, up to its `>$`, is a frame with nothing odd about it."""
        return (
            piece[:1] == b"<"
            and piece[1:2] not in (b">", b"")
            and len(piece) + len(_END) <= self._limit
            and (b"$" not in piece or not _BROKEN.search(piece))
        )

    def _cut(self, found: list[Frame | Malformed]) -> None:
        """Take from the front of the rest all that is decided; leave what is not."""
        rest = self._rest
        while rest:
            if not self._overflowing:
                del rest[: len(rest) - len(rest.lstrip(_SPACE))]
                if not rest:
                    return
                if rest[0] != ord("<"):
                    if not self._cut_stray(found):
                        return
                    continue
            ending = _ENDING.search(rest, 0, self._limit + 1)
            end = ending.end() if ending else 0
            if 0 < end <= self._limit:
                self._cut_frame(found, end, whole=ending is not None and ending[0] == _END)
            elif len(rest) > self._limit:
                self._overflowing = True
                splits_end = rest[self._limit - 1] == ord(">")  # its `$` may be the next byte
                length = self._limit - 1 if splits_end else self._limit
                found.append(Malformed(self._too_long(), self._take(length)))
            else:
                return

    def _cut_stray(self, found: list[Frame | Malformed]) -> bool:
        """Take what stands between two frames, once the next one shows where it ends."""
        end = self._rest.find(b"<", 0, self._limit + 1)
        if end < 0 and len(self._rest) < self._limit:
            return False
        end = self._limit if end < 0 else min(end, self._limit)
        found.append(Malformed("stray bytes between frames", self._take(end)))
        return True

    def _cut_frame(self, found: list[Frame | Malformed], end: int, *, whole: bool) -> None:
        raw = self._take(end)
        if self._overflowing:
            self._overflowing = False
            found.append(Malformed(self._too_long(), raw))
        elif not whole:
            found.append(Malformed("the frame's end is mangled", raw))
        elif raw.startswith(b"<>"):
            found.append(Malformed("the login is empty", raw))
        else:
            text = decode(raw)
            found.append(Frame(text[1:-2].split("><"), text))

    def _take(self, length: int) -> bytes:
        taken = bytes(self._rest[:length])
        del self._rest[:length]
        return taken

    def _too_long(self) -> str:
        return f"the frame is over {self._limit} bytes"


def decode(raw: bytes) -> str:
    """Return the text of some bytes: UTF-8 where valid, else Windows-1252.

    Never fails and loses nothing: the five bytes that Windows-1252 leaves
    undefined become the control characters of the same number.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1").translate(_WINDOWS)
