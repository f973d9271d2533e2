"""Any bytes: each record has exactly one answer, and its neighbours the same as without it."""

from __future__ import annotations

import functools
import json

import msgspec
import numpy as np
import onnx
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from detector import bundle
from detector.errors import StreamError
from detector.graph import Graph
from detector.scorer import Scorer
from serving.limits import RecordLimits
from serving.log import configure_logging
from serving.model import ServedModel
from serving.stream import dead_letters
from serving.stream.metrics import StreamMetrics
from serving.stream.scoring import RecordScorer
from serving.stream.series_state import SeriesState
from serving.stream.text import ENCODER
from tests.data.make_bundle import KEPT
from tests.serving.stream.conftest import TORTURE, check, rows, values
from tests.serving.stream.fakes import batch_of, no_state

LIMITS = RecordLimits(max_record=5000, max_depth=8, max_text=500)
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
def scorer() -> RecordScorer:
    configure_logging("json")
    return scorer_of(ServedModel("pumps", Scorer.open(KEPT, "cpu")))


def scorer_of(model: ServedModel) -> RecordScorer:
    return RecordScorer(model, LIMITS, SeriesState(model, StreamMetrics(list)))


@settings(max_examples=1000 if TORTURE else 50)
@given(st.lists(ANYTHING | st.sampled_from(GOOD), max_size=6))
def test_each_record_has_one_answer(records: list[bytes]) -> None:
    lines = [record.replace(b"\n", b" ") for record in records]
    batch = batch_of(lines)
    scored = scorer()(batch, no_state)
    answered = sorted([*scored.indices, *(dead_letter.batch_index for dead_letter in scored.dead_letters)])
    assert answered == [index for index, line in enumerate(lines) if line.strip()]
    for dead_letter in scored.dead_letters:
        written = msgspec.json.decode(dead_letters.line(dead_letter, batch))
        assert dead_letter.reject.expected
        if "value" in written:
            assert written["value"].encode() == lines[dead_letter.batch_index]
    good = [index for index, line in enumerate(lines) if line in GOOD]
    verdicts = dict(zip(scored.indices, scored.verdicts, strict=True))
    if good:
        found = [msgspec.json.decode(ENCODER.encode(verdicts[index])) for index in good]
        check(found, FRAME[[GOOD.index(lines[index]) for index in good]], KEPT)


def test_a_category_never_seen_in_training_is_flagged_and_named() -> None:
    scored = scorer()(batch_of(values(FRAME.with_columns(machine=pl.lit("saw")))), no_state)
    assert len(scored.verdicts) == FRAME.height
    for verdict in map(msgspec.json.decode, map(ENCODER.encode, scored.verdicts)):
        assert verdict["is_anomaly"]
        assert "saw, never seen in training" in {reason["found"] for reason in verdict["reasons"]}


def failing_above(scorer: Scorer, column: str, limit: float) -> ServedModel:
    """Return a model whose graph fails on rows (on windows: by their newest row) with a number above a limit."""
    opened = bundle.read(scorer.folder)
    graph = onnx.load_from_string(opened.model)
    (graph_input,) = graph.graph.input
    (node,) = [node for node in graph.graph.node if "score" in node.output]
    node.output[list(node.output).index("score")] = "sound"
    newest = [helper.make_node("Gather", [graph_input.name, "newest"], ["newest row"], axis=1)]
    nodes = [
        *(newest if scorer.manifest.window else []),
        helper.make_node("Gather", ["newest row" if scorer.manifest.window else graph_input.name, "column"], ["number"], axis=1),
        helper.make_node("Greater", ["number", "limit"], ["beyond"]),
        helper.make_node("Cast", ["beyond"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["nothing", "index"], ["zero"]),  # index 1 does not exist
        helper.make_node("Add", ["sound", "zero"], ["score"]),
    ]
    index = [each.name for each in scorer.columns].index(column)
    numbers = {"column": np.array(index), "limit": np.array(limit), "nothing": np.array([0.0]), "newest": np.array(-1)}
    graph.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in numbers.items())
    graph.graph.node.extend(nodes)
    return ServedModel(scorer.manifest.name, Scorer(opened, graph=Graph(graph.SerializeToString(), "cpu")))


def test_a_record_on_which_the_scorer_fails_is_a_dead_letter_and_the_others_are_scored() -> None:
    frame = FRAME.with_columns(temperature=FRAME["temperature"].fill_null(60.0)).sort("temperature")
    limit = frame["temperature"][-3] + 1e-9
    batch = batch_of([*values(frame), b"{", b"{}", b'{"before":null,"after":{"temperature":60}}'])
    configure_logging("json")
    scored = scorer_of(failing_above(Scorer.open(KEPT, "cpu"), "temperature", limit))(batch, no_state)
    assert [(dead_letter.batch_index, dead_letter.reason) for dead_letter in scored.dead_letters] == [
        (18, "scorer failed"),
        (19, "scorer failed"),
        (20, "not JSON"),
        (21, "no column of this model"),
        (22, "no column of this model"),
    ]
    check([msgspec.json.decode(ENCODER.encode(verdict)) for verdict in scored.verdicts], frame[:18], KEPT)


def test_a_scorer_that_fails_on_every_row_stops_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the device is gone")

    broken = scorer_of(ServedModel("pumps", Scorer.open(KEPT, "cpu")))
    monkeypatch.setattr(broken.model.scorer.graph, "_run", fail)
    with pytest.raises(StreamError, match="the device is gone"):
        broken(batch_of(GOOD[:1]), no_state)
