"""The proof that lets a block be read fast, against Python's csv module line by line."""

import csv
from itertools import chain

from hypothesis import event, example, given
from hypothesis import strategies as st

from detector.files.shape_check import has_shape
from tests.detector.files.reading import written

GOOD = [b"1,2\n", b'"x,y",2\n', b'"a""b",\n', b",\n", b'"",""\r\n', b'1,""""\n']
BAD = [b"\n", b"1\n", b"1,2,3\n", b"1,2\n2,3\n", b"\r,1\n"]
BADLY_QUOTED = [b'"a,1\n', b'a"b",c\n', b'"a"b,1\n', b'1,"2\n', b'",",1"\n', b'"p\nq",1\n', b'""a,"\n,1"\n']
LINES = st.sampled_from(GOOD)
BLOCKS = st.tuples(st.lists(LINES), st.lists(st.sampled_from(BAD + BADLY_QUOTED), max_size=2), st.lists(LINES))


def fields(line: bytes) -> int:
    """How many fields a line has by itself; none if it is not one record by itself."""
    try:
        records = list(csv.reader([line.decode()], strict=True))
    except csv.Error:
        return 0
    return len(records[0]) if len(records) == 1 else 0


@given(BLOCKS.map(lambda parts: b"".join(chain(*parts))), st.integers(1, 3))
@example(b"1,2\n1\n1,2,3\n", 2)
@example(b"1,2,3\n1\n1,2\n", 2)
@example(b'1,"2\n,3"\n', 2)
@example(b'1,a"b,c",d\n', 3)
@example(b"\r,1\n", 2)
def test_a_block_of_the_right_shape_has_one_record_per_line(block: bytes, columns: int) -> None:
    lines = block.splitlines(keepends=True) if b"\r" not in block.replace(b"\r\n", b"") else []
    counts = [fields(line) for line in lines]
    for filled in {False, bool(counts) and min(counts) >= columns}:
        if has_shape(block, ",", columns, block.count(b"\n"), filled=filled) and block:
            event("regular")
            assert set(counts) == {columns}


@given(st.lists(st.tuples(st.text('a,;" é'), st.text('a,;" é'), st.text('a,;" é')), min_size=1), st.sampled_from(["\n", "\r\n"]))
def test_single_line_records_of_the_csv_module_have_the_right_shape(rows: list[tuple[str, ...]], end: str) -> None:
    assert has_shape(written(rows, lineterminator=end), ",", 3, len(rows), filled=False)


def test_another_number_of_rows_is_not_the_right_shape() -> None:
    assert not has_shape(b"1,2\n3,4\n", ",", 2, 1, filled=False)
    assert not has_shape(b"1,2\n3,4\n", ",", 2, 1, filled=True)
    assert not has_shape(b"1\n2\n", ",", 1, 1, filled=True)


def test_a_line_break_inside_quotes_is_not_the_right_shape() -> None:
    assert not has_shape(b'"p\nq",1,2\n', ",", 2, 2, filled=True)
