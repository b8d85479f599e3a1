"""What holds of the decoder for any bytes, in any pieces (protocol.md §2)."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.wire.frame import MAX_FRAME_BYTES, Decoder, Frame, Malformed

unhurried = settings(deadline=None)  # a busy machine is no failure

SPACE = b" \t\r\n\v\f\0"

# Bytes that the rules are about, far more often than chance would bring them together.
TOKENS = [
    *(b"<", b">", b"$", b">$", b"><", b"<$", b"<>$", b" ", b"\r\n", b"\0", b"\xe9", b"a"),
    *(b"<a>$", b"<ana><OK>$", "<é><S><1>$".encode(), b"<ana><G><c$x>$", b"<b><$\r\n"),
]
streams = st.one_of(
    st.binary(max_size=60),
    st.lists(
        st.sampled_from(TOKENS),
        max_size=16,
    ).map(b"".join),
)
limits = st.one_of(st.integers(4, 24), st.just(MAX_FRAME_BYTES))


@st.composite
def cut_streams(draw: st.DrawFn) -> list[bytes]:
    """One stream, as the reads in which it might arrive; some are empty."""
    data = draw(streams)
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=8))
    return [data[begin:end] for begin, end in pairwise([0, *sorted(cuts), len(data)])]


def decoded(reads: list[bytes], limit: int) -> list[Frame | Malformed]:
    decoder = Decoder(limit)
    pieces = [piece for read in reads for piece in decoder.feed(read)]
    return pieces + decoder.finish()


@unhurried
@given(cut_streams(), limits)
@example([b"<b><$", b"\r\n"], MAX_FRAME_BYTES)
@example([b"<b><$", b"", b"<"], MAX_FRAME_BYTES)
def test_any_split_gives_the_same(reads: list[bytes], limit: int) -> None:
    """How the bytes were cut into reads makes no difference, down to one byte a read."""
    data = b"".join(reads)
    whole = decoded([data], limit)
    assert decoded(reads, limit) == whole
    assert decoded([data[at : at + 1] for at in range(len(data))], limit) == whole


@unhurried
@given(cut_streams(), limits)
@example([b"<a><\x81\xff>$ <b>$"], MAX_FRAME_BYTES)
@example([b"<>>$$<\0>$"], 4)
def test_every_byte_is_accounted_for(reads: list[bytes], limit: int) -> None:
    """In their order, all bytes are in a frame, in a malformed piece, or skipped white space."""
    left = b"".join(reads)
    for piece in decoded(reads, limit):
        raw = piece.raw if isinstance(piece, Malformed) else spelt_at(left, piece.raw)
        skipped, found, left = left.partition(raw)
        assert found
        assert not skipped.strip(SPACE)
    assert not left.strip(SPACE)


@unhurried
@given(cut_streams(), limits)
def test_a_frame_is_what_its_text_says(reads: list[bytes], limit: int) -> None:
    """Its fields are its text split at `><`, the login is not empty, the limit is kept."""
    for piece in decoded(reads, limit):
        if isinstance(piece, Frame):
            assert piece.raw == "<" + "><".join(piece.fields) + ">$"
            assert piece.fields[0]
            assert not re.search("[$][<\r\n\0]", piece.raw)
            assert len(piece.raw) <= limit
        else:
            assert piece.raw
            assert piece.reason


@unhurried
@given(streams)
def test_the_frames_are_those_that_the_rules_name(data: bytes) -> None:
    """Reading the rules naively, over the whole stream at once, finds the same pieces."""
    found = [
        piece.raw if isinstance(piece, Malformed) else piece.fields
        for piece in Decoder().feed(data)
    ]
    assert found == pieces_by_the_rules(data)


@unhurried
@given(st.lists(streams, max_size=4), limits)
def test_a_decoder_that_finished_is_as_new(all_data: list[bytes], limit: int) -> None:
    """Nothing of one connection is left for the next, whatever it ended in."""
    decoder = Decoder(limit)
    for data in all_data:
        assert decoder.feed(data) + decoder.finish() == decoded([data], limit)


def spelt_at(data: bytes, text: str) -> bytes:
    """Return the bytes that `text` was, which come first in `data` but for white space."""
    windows = b"".join(
        character.encode("latin-1")
        if character in "\x81\x8d\x8f\x90\x9d"
        else character.encode("cp1252", "replace")
        for character in text
    )
    candidates = [text.encode(), windows]
    return next(raw for raw in candidates if data.lstrip(SPACE).startswith(raw))


def pieces_by_the_rules(data: bytes) -> list[list[str] | bytes]:
    """Cut `data`, which holds only frames within the limit, by the letter of protocol.md §2."""
    pieces: list[list[str] | bytes] = []
    at = 0
    while True:
        while data[at : at + 1] and data[at] in SPACE:
            at += 1
        if data[at : at + 1] != b"<":
            begin = data.find(b"<", at)
            if begin < 0:
                return pieces  # not decided yet
            pieces.append(data[at:begin])
            at = begin
        end = at + 1
        while not (ends := data[end - 1 : end + 1] == b">$") and end < len(data):
            if data[end] == ord("$") and data[end + 1 : end + 2] in (b"<", b"\r", b"\n", b"\0"):
                break
            end += 1
        if end >= len(data):
            return pieces  # not decided yet
        raw = data[at : end + 1]
        at = end + 1
        if not ends or raw.startswith(b"<>"):
            pieces.append(raw)
            continue
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            text = raw.decode("cp1252", "surrogateescape")
            text = "".join(chr(ord(c) - 0xDC00) if "\udc80" <= c <= "\udcff" else c for c in text)
        pieces.append(text[1:-2].split("><"))
