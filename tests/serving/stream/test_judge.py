"""Any bytes: each record has exactly one answer, and its neighbours the same as without it."""

from __future__ import annotations

import functools
import json

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from detector import bundle
from detector.errors import StreamError
from detector.graph import Graph
from detector.scorer import Scorer
from serving.log import configure_logging
from serving.model import Model
from serving.stream import dead_letters
from serving.stream.metrics import StreamMetrics
from serving.stream.scoring import Judge, Limits
from serving.stream.series_state import SeriesState
from serving.stream.text import ENCODER, LineBatch
from tests.data.make_bundle import KEPT
from tests.serving.stream.conftest import check, rows, values

LIMITS = Limits(max_record=5000, max_depth=8, max_text=500)
FRAME = rows(20)
GOOD = values(FRAME)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20) | st.text(min_size=600, max_size=700),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FRAME.columns, "x"]), inner, max_size=4),
    max_leaves=8,
)
ANYTHING = (
    st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.tuples(st.sampled_from(GOOD), st.integers(0, 400)).map(lambda both: both[0][: both[1]])
    | st.integers(1, 3000).map(lambda deep: b'{"a":' * deep + b"1" + b"}" * deep)
)


@functools.cache
def judge() -> Judge:
    configure_logging("json")
    return judge_of(Model("pumps", Scorer.open(KEPT, "cpu")))


def judge_of(model: Model) -> Judge:
    return Judge(model, LIMITS, SeriesState(model, StreamMetrics(list)))


def nothing_kept(_: object) -> tuple[()]:
    return ()


@given(st.lists(ANYTHING | st.sampled_from(GOOD), max_size=6))
def test_each_record_has_one_answer(records: list[bytes]) -> None:
    lines = [record.replace(b"\n", b" ") for record in records]
    batch = LineBatch(b"".join(line + b"\n" for line in lines), "-", 1)
    outcome = judge()(batch, nothing_kept)
    answered = sorted([*outcome.indices, *(letter.batch_index for letter in outcome.dead_letters)])
    assert answered == [at for at, line in enumerate(lines) if line.strip()]
    for letter in outcome.dead_letters:
        said = msgspec.json.decode(dead_letters.line(letter, batch))
        assert letter.reject.expected
        if "value" in said:
            assert said["value"].encode() == lines[letter.batch_index]
    good = [at for at, line in enumerate(lines) if line in GOOD]
    verdicts = dict(zip(outcome.indices, outcome.verdicts, strict=True))
    if good:
        told = [msgspec.json.decode(ENCODER.encode(verdicts[at])) for at in good]
        check(told, FRAME[[GOOD.index(lines[at]) for at in good]], KEPT)


def failing_above(scorer: Scorer, column: str, limit: float) -> Model:
    """Give a model whose graph fails on rows, or on windows whose newest row is one, with a number above a limit."""
    opened = bundle.read(scorer.folder)
    made = onnx.load_from_string(opened.model)
    (given,) = made.graph.input
    score = next(place for node in made.graph.node for place, name in enumerate(node.output) if name == "score")
    (node,) = [node for node in made.graph.node if "score" in node.output]
    node.output[score] = "sound"
    newest = [helper.make_node("Gather", [given.name, "newest"], ["newest row"], axis=1)] if scorer.manifest.window else []
    nodes = [
        *newest,
        helper.make_node("Gather", ["newest row" if newest else given.name, "place"], ["number"], axis=1),
        helper.make_node("Greater", ["number", "limit"], ["beyond"]),
        helper.make_node("Cast", ["beyond"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["nothing", "index"], ["zero"]),  # index 1 is outside
        helper.make_node("Add", ["sound", "zero"], ["score"]),
    ]
    place = [each.name for each in scorer.columns].index(column)
    numbers = {"place": np.array(place), "limit": np.array(limit), "nothing": np.array([0.0]), "newest": np.array(-1)}
    made.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in numbers.items())
    made.graph.node.extend(nodes)
    return Model(scorer.manifest.name, Scorer(opened, graph=Graph(made.SerializeToString(), "cpu")))


def test_a_record_on_which_the_scorer_fails_is_a_letter_and_its_neighbours_are_judged() -> None:
    frame = FRAME.with_columns(temperature=FRAME["temperature"].fill_null(60.0)).sort("temperature")
    limit = frame["temperature"][-3] + 1e-9
    batch = LineBatch(b"".join(line + b"\n" for line in [*values(frame), b"{"]), "-", 1)
    configure_logging("json")
    outcome = judge_of(failing_above(Scorer.open(KEPT, "cpu"), "temperature", limit))(batch, nothing_kept)
    assert [(letter.batch_index, letter.reason) for letter in outcome.dead_letters] == [
        (18, "scorer failed"),
        (19, "scorer failed"),
        (20, "not JSON"),
    ]
    check([msgspec.json.decode(ENCODER.encode(verdict)) for verdict in outcome.verdicts], frame[:18], KEPT)


def test_a_scorer_that_fails_on_every_row_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the device is gone")

    broken = judge_of(Model("pumps", Scorer.open(KEPT, "cpu")))
    monkeypatch.setattr(broken.model.scorer.graph, "_run", fail)
    with pytest.raises(StreamError, match="the device is gone"):
        broken(LineBatch(GOOD[0] + b"\n", "-", 1), nothing_kept)
