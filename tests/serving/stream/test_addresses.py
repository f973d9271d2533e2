"""Addresses, and what is not one."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.errors import SettingError
from serving.stream.addresses import Address, Topic, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("-", None),
        ("readings.ndjson", Path("readings.ndjson")),
        ("kafka://a:9092,b:9092/readings", Topic("a:9092,b:9092", "readings")),
    ],
)
def test_an_address_is_parsed_and_written_back(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert address is None or str(address) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("redis://x/y", "a stream is kafka://"),
        *[(f"kafka://{rest}", "is not a topic") for rest in ("x", "/y", "x/", "x/y/z", "x/y?z=1", "user@x/y")],
    ],
)
def test_other_texts_are_rejected(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        parse_address(text)
