"""Lines of JSON: a block is decoded at once only if line by line gives the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from detector.files.json_lines import LineDecoder, Records, all_keys

SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(-1e9, 1e9) | st.text('ab\n{}"\\é', max_size=4)
OBJECTS = st.dictionaries(st.sampled_from(["a", "b", "other"]), SCALARS).map(lambda found: json.dumps(found).encode())
BAD_LINES = st.sampled_from(
    [b"", b" ", b"[1]", b"{", b'{"a":[1]}', b'{"a":1}{"a":2}', b'{"a":\n1}', b'{"a":"\xff"}', b"}{", b"7"]
)


@given(st.lists(OBJECTS | BAD_LINES, min_size=1, max_size=6), st.sampled_from([b"\n", b"\r\n"]))
@example([b'{"a":1}{"a":2}', b'{"a":\n3}'], b"\n")
def test_a_block_decoded_at_once_is_what_its_lines_decode_to(lines: list[bytes], end: bytes) -> None:
    block = b"".join(line + end for line in lines)
    decoder = LineDecoder("t.ndjson", ["a", "b"], ["b"])
    slow = [decoder.read_line(line, row) for row, line in enumerate(block.split(b"\n")[:-1], 1)]
    fast = decoder.read_fast(block, 1)
    if fast is not None:
        event("at once")
        assert list(fast.rows) == list(range(1, len(slow) + 1))
        assert [dict(zip(fast.values, row, strict=True)) for row in zip(*fast.values.values(), strict=True)] == slow
        assert not fast.rejects
    read = decoder.read(block, 1)
    assert len(read.rows) + len(read.rejects) + read.blank == len(slow)


@pytest.mark.parametrize(
    ("block", "typed", "flat"),
    [
        (b'{"a":"x","b":1.5}\n{"b":null}\n', True, True),
        (b'{"a":"x","b":1.5,"other":[1]}\n', True, False),
        (b'{"a":"x","b":"1.5"}\n', False, False),
    ],
)
def test_what_is_known_about_a_block(block: bytes, *, typed: bool, flat: bool) -> None:
    read = LineDecoder("", ["a", "b"], ["b"]).read_fast(block, 1)
    assert read is not None
    assert (read.typed, read.flat) == (typed, flat)


@pytest.mark.parametrize("block", [b'{"a":1}\n{"a":null}\n', b'{"a":1}\n{"a":2.5}\n'])
def test_records_of_numbers_become_a_matrix(block: bytes) -> None:
    read = LineDecoder("", ["a"], ["a"]).read_fast(block, 1)
    assert read is not None
    assert isinstance(read.values, Records)
    expected = [[float("nan") if value is None else value] for value in read.values["a"]]
    np.testing.assert_array_equal(read.values.floats(), expected)


@pytest.mark.parametrize("numbers", [["a", "b"], ["b"], []])
@pytest.mark.parametrize("others", ["", '{"a":7}\n{"a":null,"b":null}\n', '{"a":"x","c":1}\n'])
def test_an_object_without_any_wanted_key_is_rejected(others: str, numbers: list[str]) -> None:
    read = LineDecoder("t.ndjson", ["a", "b"], numbers).read(others.encode() + b'{}\n{"A":1,"op":{"a":1}}\n', 1)
    assert [(reject.found, reject.expected) for reject in read.rejects] == [
        ("no column of this model", "at least one of 'a', 'b'"),
        (
            "no column of this model, but 'A', 'op'",
            "at least one of 'a', 'b'; the columns are in 'op': send that object alone",
        ),
    ]
    assert len(read.rows) == others.count("\n")


@pytest.mark.parametrize("numbers", [["a"], []])
def test_a_null_is_a_cell(numbers: list[str]) -> None:
    block = b'{"a":null}\n{"a":null,"other":1}\n'
    read = LineDecoder("", ["a"], numbers).read_fast(block, 1)
    assert read is not None
    assert list(read.values["a"]) == [None, None]


def test_all_keys_come_in_order_of_their_first_occurrence() -> None:
    assert all_keys(b'{"b":1}\nno object\n{"a":1,"b":2}\n') == ("b", "a")
