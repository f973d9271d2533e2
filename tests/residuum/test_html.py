"""The HTML card that a detector shows in notebooks."""

from __future__ import annotations

from html.parser import HTMLParser

import msgspec

import residuum
from detector import bundle
from residuum import html
from tests.data.make_bundle import KEPT

MANIFEST = bundle.read_manifest(KEPT)


class Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def parsed(text: str) -> Parser:
    parser = Parser()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    assert parser.seen == {"div", "strong", "table", "tr", "th", "td"}
    return parser


def test_the_card_shows_what_the_detector_is_and_promises() -> None:
    texts = parsed(residuum.load(KEPT, "cpu")._repr_html_()).texts
    assert texts[0] == f"Detector {MANIFEST.name}, version {MANIFEST.version}"
    facts = dict(zip(texts[1::2], texts[2::2], strict=True))
    rows = MANIFEST.training.rows
    assert facts["variant"] == "plain"
    assert "1 category (machine), 1 boolean (door_open), 1 date (at)" in facts["columns"]
    assert facts["rows"].startswith(f"{rows.training:,} for training")
    assert facts["rows"].endswith(f"{rows.calibration:,} for calibration")
    assert facts["threshold"].startswith(f"{MANIFEST.decision.threshold:.4g} nats")
    assert facts["promise"].startswith("at most 5 % of normal rows are flagged")
    assert "classes" not in facts


def test_every_value_is_escaped() -> None:
    evil = "<script>alert('x')</script>&"
    columns = tuple(msgspec.structs.replace(column, name=evil) for column in MANIFEST.columns)
    card = html.card(
        msgspec.structs.replace(MANIFEST, name=evil, variant=evil, created=evil, columns=columns, classes=(evil, evil))
    )
    assert "<script" not in card
    texts = parsed(card).texts
    assert f"Detector {evil}, version {MANIFEST.version}" in "".join(texts)
    assert sum(evil in text for text in texts) >= 4
