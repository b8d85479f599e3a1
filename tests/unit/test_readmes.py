from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r" +(#|//) .*$", re.MULTILINE)
_NUMBER = re.compile(r"\d[\d.,]*")
_ANCHOR = re.compile(r"\]\(#([^)]+)\)")
DRAWN = ("mermaid", "")
"""What is drawn in words: the diagram, and the folders with what is in them."""


def pieces(text: str) -> list[tuple[str, object]]:
    """Return what must be the same in each language, piece by piece."""
    found: list[tuple[str, object]] = []
    for language, code in _FENCE.findall(text):
        drawn = len(code.splitlines())
        found.append((language, drawn if language in DRAWN else _COMMENT.sub("", code)))
    for piece in re.split(r"\n\n+|\n(?=[|-])", _FENCE.sub("", text)):
        heading = re.match("#+", piece)
        spans = sorted(re.findall(r"`[^`]+`", re.sub(r"\s+", " ", piece)))
        figures = sorted(each.strip(".,").replace(",", ".") for each in _NUMBER.findall(piece))
        found.append((heading[0] if heading else "", (spans, figures)))
    return found


def test_the_readme_says_the_same_in_each_language() -> None:
    """Heading for heading, row for row: the same code, names and figures."""
    english, portuguese = (
        pieces((ROOT / name).read_text("utf-8")) for name in ("README.md", "README.pt-BR.md")
    )
    for one, other in zip(english, portuguese, strict=True):
        assert one == other


def test_links_within_a_readme_lead_somewhere() -> None:
    """Each anchor is a heading's, as GitHub spells it."""
    for name in ("README.md", "README.pt-BR.md"):
        text = (ROOT / name).read_text("utf-8")
        titles = re.findall(r"^#+ (.*)$", _FENCE.sub("", text), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
        assert set(_ANCHOR.findall(text)) <= anchors
