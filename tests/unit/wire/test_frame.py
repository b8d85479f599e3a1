"""The rules of cutting bytes into frames, one by one (protocol.md §2)."""

from __future__ import annotations

import pytest

from bridge.wire.frame import MAX_FRAME_BYTES, Decoder, Frame, Malformed, decode

# What comes out, shortly: a frame by its fields, a malformed piece by its bytes.
Cut = list[str] | bytes

OK = b"<ana><OK>$"
OK_FIELDS = ["ana", "OK"]
UNDEFINED_IN_CP1252 = b"\x81\x8d\x8f\x90\x9d"


def cut(data: bytes, *, limit: int = MAX_FRAME_BYTES) -> list[Cut]:
    decoder = Decoder(limit)
    pieces = [*decoder.feed(data), *decoder.finish()]
    return [piece.fields if isinstance(piece, Frame) else piece.raw for piece in pieces]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"<jose><OK>$", [["jose", "OK"]], id="one"),
        pytest.param(b"<jose><S><1>$" + OK, [["jose", "S", "1"], OK_FIELDS], id="two at once"),
        pytest.param(b"<jose>$", [["jose"]], id="a frame of one field"),
        pytest.param(b"<jose><><>$", [["jose", "", ""]], id="empty fields"),
        pytest.param(b"<jose><G><a b\tc>$", [["jose", "G", "a b\tc"]], id="white space in a field"),
        pytest.param(b"<jose><G><a\r\nb>$", [["jose", "G", "a\r\nb"]], id="a break in a field"),
        pytest.param(b"<jose><G><\0>$", [["jose", "G", "\0"]], id="a NUL in a field"),
        pytest.param(b"<jose><G><>>$", [["jose", "G", ">"]], id="a bracket too many"),
        pytest.param(b"<jose><a>b<c>$", [["jose", "a>b<c"]], id="split at >< and nowhere else"),
        pytest.param(b"", [], id="nothing"),
    ],
)
def test_a_frame_goes_from_its_first_bracket_to_its_last(data: bytes, expected: list[Cut]) -> None:
    """What lies between the first `<` and the last `>` is split at `><`."""
    assert cut(data) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (rb"<jose><G><\\server\c$\records\x.wav>$", ["jose", "G", r"\\server\c$\records\x.wav"]),
        (rb"<jose><G><\\server\c$>$", ["jose", "G", r"\\server\c$"]),
        (b"<jose><G><$$$>$", ["jose", "G", "$$$"]),
        (b"<jose$><OK>$", ["jose$", "OK"]),
        (b"<$jose><OK>$", ["$jose", "OK"]),
        (b"<jose><G><R$ 10,00>$", ["jose", "G", "R$ 10,00"]),
    ],
)
def test_a_dollar_inside_a_field_is_data(data: bytes, expected: list[str]) -> None:
    """Only a `$` that directly follows `>` ends a frame."""
    assert cut(data + OK) == [expected, OK_FIELDS]


@pytest.mark.parametrize("separator", [b" ", b"\t", b"\r", b"\n", b"\r\n", b"\0", b" \0\r\n\t \0"])
def test_white_space_and_nul_between_frames_are_skipped(separator: bytes) -> None:
    """Before, between and behind frames they are nothing, and in no frame's text."""
    decoder = Decoder()
    pieces = decoder.feed(separator + OK + separator + OK + separator)
    assert pieces == [Frame(OK_FIELDS, OK.decode())] * 2
    assert decoder.finish() == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"x" + OK, [b"x", OK_FIELDS], id="before"),
        pytest.param(OK + b"x" + OK, [OK_FIELDS, b"x", OK_FIELDS], id="between"),
        pytest.param(OK + b"x", [OK_FIELDS, b"x"], id="behind"),
        pytest.param(OK + b"\r\nx y" + OK, [OK_FIELDS, b"x y", OK_FIELDS], id="after a break"),
        pytest.param(b"$" + OK, [b"$", OK_FIELDS], id="a dollar"),
        pytest.param(b">$" + OK, [b">$", OK_FIELDS], id="an end without a beginning"),
        pytest.param(OK + b"ana><OK>$" + OK, [OK_FIELDS, b"ana>", ["OK"], OK_FIELDS], id="no head"),
        pytest.param(b"\xff\xfe\x80" + OK, [b"\xff\xfe\x80", OK_FIELDS], id="not even text"),
    ],
)
def test_anything_else_between_frames_is_malformed(data: bytes, expected: list[Cut]) -> None:
    """It is kept with its bytes, and the frames around it live."""
    assert cut(data) == expected


@pytest.mark.parametrize("follows", [b"<", b"\r", b"\n", b"\0"])
@pytest.mark.parametrize("mangled", [b"<jose><TR><17/08/2010 15:00><><$", b"<jose$", b"<$"])
def test_a_mangled_end_costs_one_frame(mangled: bytes, follows: bytes) -> None:
    """A `$` before `<`, CR, LF or NUL is the trace of a lost end: cut there, the rest is kept."""
    behind = OK if follows == b"<" else follows + OK
    assert cut(mangled + behind + OK) == [mangled, OK_FIELDS, OK_FIELDS]


@pytest.mark.parametrize("follows", [b"<", b"\r", b"\n", b"\0"])
def test_a_mangled_end_is_reported_as_soon_as_it_shows(follows: bytes) -> None:
    """With the byte behind the `$`, and not only with the next frame's end."""
    decoder = Decoder()
    assert decoder.feed(b"<jose><$") == []
    (piece,) = decoder.feed(follows)
    assert piece.raw == b"<jose><$"


@pytest.mark.parametrize("data", [b"<>$", b"<><OK>$", b"<><S><1>$", b"<><><>$"])
def test_a_frame_with_an_empty_login_is_malformed(data: bytes) -> None:
    """Nobody could be told of it."""
    assert cut(OK + data + OK) == [OK_FIELDS, data, OK_FIELDS]


def test_each_kind_of_malformed_says_its_own_reason() -> None:
    """The reasons tell the five kinds apart."""
    decoder = Decoder(16)
    pieces = decoder.feed(b"x<><OK>$<a$\r\n<" + b"y" * 14 + b">$<half")
    pieces += decoder.finish()
    stray, empty, mangled, *overlong, half = [
        piece.reason for piece in pieces if isinstance(piece, Malformed)
    ]
    reasons = {stray, empty, mangled, *overlong, half}
    assert len(reasons) == 5
    assert all(reasons)


# --- the limit ----------------------------------------------------------------


def frame_of(size: int) -> bytes:
    return b"<" + b"x" * (size - 3) + b">$"


@pytest.mark.parametrize("limit", [16, 1024, MAX_FRAME_BYTES])
def test_a_frame_of_exactly_the_limit_is_whole(limit: int) -> None:
    """The limit is the biggest size that is allowed, brackets and `$` included."""
    assert cut(frame_of(limit) + OK, limit=limit) == [["x" * (limit - 3)], OK_FIELDS]


def test_the_limit_is_64_kib_by_default() -> None:
    """One byte more than 65,536 is malformed, with every byte of it."""
    *pieces, last = cut(frame_of(65_537) + OK)
    assert b"".join(piece for piece in pieces if isinstance(piece, bytes)) == frame_of(65_537)
    assert last == OK_FIELDS


@pytest.mark.parametrize("separator", [b"", b"\r\n", b"\0", b" ", b"\t"])
def test_behind_a_frame_over_the_limit_the_next_one_is_found(separator: bytes) -> None:
    """However much too long it is: all its bytes are malformed, and no frame after it is."""
    limit = 16
    for size in range(limit + 1, 4 * limit):
        *pieces, last = cut(frame_of(size) + separator + OK, limit=limit)
        assert last == OK_FIELDS, f"the frame behind one of {size} bytes is lost"
        assert b"".join(piece for piece in pieces if isinstance(piece, bytes)) == frame_of(size)


@pytest.mark.parametrize("follows", [b"<", b"\r", b"\n", b"\0"])
def test_behind_an_overlong_frame_with_a_mangled_end_too(follows: bytes) -> None:
    """The limit and the lost end together still cost only the one frame."""
    limit = 16
    behind = OK if follows == b"<" else follows + OK
    for size in range(limit + 1, 4 * limit):
        mangled = b"<" + b"x" * (size - 2) + b"$"
        *pieces, last = cut(mangled + behind, limit=limit)
        assert last == OK_FIELDS
        assert b"".join(piece for piece in pieces if isinstance(piece, bytes)) == mangled


def test_what_is_over_the_limit_is_handed_out_while_it_arrives() -> None:
    """A frame without end is never gathered: the limit bounds what the decoder holds back."""
    decoder = Decoder(1024)
    handed_out = 0
    for fed in range(1000, 50_000, 1000):
        pieces = decoder.feed(b"<" + b"x" * 999 if fed == 1000 else b"x" * 1000)
        handed_out += sum(len(piece.raw) for piece in pieces)
        assert fed - handed_out <= 1024


def test_stray_bytes_are_handed_out_while_they_arrive_too() -> None:
    """Bytes that never begin a frame are bounded as well."""
    decoder = Decoder(1024)
    handed_out = sum(len(piece.raw) for _ in range(50) for piece in decoder.feed(b"x" * 1000))
    assert 50 * 1000 - handed_out <= 1024


# --- pieces and the end of the connection -------------------------------------


def test_a_frame_may_come_byte_by_byte() -> None:
    """It is handed out with its last byte and not before."""
    decoder = Decoder()
    *before, last = [decoder.feed(bytes([byte])) for byte in OK]
    assert not any(before)
    assert last == [Frame(OK_FIELDS, OK.decode())]


def test_a_frame_is_handed_out_without_waiting_for_the_next() -> None:
    """Nothing behind its `$` is needed to know that it is whole."""
    decoder = Decoder()
    assert decoder.feed(OK + b"<an") == [Frame(OK_FIELDS, OK.decode())]
    assert decoder.feed(b"a><OK>$") == [Frame(OK_FIELDS, OK.decode())]


@pytest.mark.parametrize("half", [b"<", b"<jose", b"<jose>", b"<jose><G><c$", b"jose", b"<a><$"])
def test_the_end_of_the_connection_reports_half_a_frame(half: bytes) -> None:
    """What was left incomplete is malformed, once."""
    decoder = Decoder()
    decoder.feed(OK + half)
    (left,) = decoder.finish()
    assert isinstance(left, Malformed)
    assert left.raw == half
    assert decoder.finish() == []


@pytest.mark.parametrize("space", [b"", b" ", b"\r\n\0"])
def test_the_end_of_the_connection_reports_no_white_space(space: bytes) -> None:
    """Between frames it is nothing, also where no frame follows."""
    decoder = Decoder()
    decoder.feed(OK + space)
    assert decoder.finish() == []


@pytest.mark.parametrize("half", [b"<jose><G><a ", b"<jose><G><a\r\n", b"<jose><G><\0"])
def test_half_a_frame_keeps_the_white_space_in_it(half: bytes) -> None:
    """It stands in a field and not between frames, so it is reported and not skipped."""
    assert cut(half) == [half]


@pytest.mark.parametrize("space", [b" ", b"\r\n", b"\0"])
def test_half_an_overlong_frame_keeps_the_white_space_in_it_too(space: bytes) -> None:
    """Wherever the limit cuts it."""
    limit = 16
    for size in range(1, 3 * limit):
        half = b"<" + b"x" * size + space + b"y" + space
        pieces = cut(half, limit=limit)
        assert b"".join(piece for piece in pieces if isinstance(piece, bytes)) == half


# --- characters ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "login"),
    [
        pytest.param("<josé><OK>$".encode(), "josé", id="UTF-8"),
        pytest.param("<josé><OK>$".encode("cp1252"), "josé", id="cp1252"),
        pytest.param("<€“ñ”><OK>$".encode("cp1252"), "€“ñ”", id="cp1252 that is no Latin-1"),
        pytest.param("<日本><OK>$".encode(), "日本", id="UTF-8 that is no cp1252"),
    ],
)
def test_a_frame_is_utf8_where_valid_else_cp1252(data: bytes, login: str) -> None:
    """The same words arrive from either encoding, in the fields and in the text."""
    assert Decoder().feed(data) == [Frame([login, "OK"], f"<{login}><OK>$")]


def test_each_frame_is_decoded_by_itself() -> None:
    """One frame in UTF-8 and one in cp1252 side by side are both right."""
    utf8, windows = "<josé><OK>$".encode(), "<josé><OK>$".encode("cp1252")
    assert cut(utf8 + windows + utf8) == [["josé", "OK"]] * 3


def test_a_frame_in_both_encodings_is_cp1252_as_a_whole() -> None:
    """It is not valid UTF-8 as a whole, so all of it is read as cp1252."""
    assert cut(b"<\xc3\xa9\xe9><OK>$") == [["Ã©é", "OK"]]


def test_undefined_bytes_are_kept() -> None:
    """The five that cp1252 leaves undefined fail nothing, and no two bytes become the same."""
    (frame,) = Decoder().feed(b"<a" + UNDEFINED_IN_CP1252 + b"><OK>$")
    assert isinstance(frame, Frame)
    assert len(frame.fields[0]) == 1 + len(UNDEFINED_IN_CP1252)
    lone = {decode(bytes([byte, 0xFF])) for byte in range(256)}  # 0xFF: never valid UTF-8
    assert len(lone) == 256
    assert all(len(text) == 2 for text in lone)
