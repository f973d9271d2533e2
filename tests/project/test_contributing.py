"""The example of a new variant is as short as promised, and works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from detector.errors import SettingError
from detector.scorer import Scorer
from tests.project.documents import blocks
from tests.tables import planted_shares, shares
from tests.training.conftest import table_of
from training import fit, variants
from training import train as training
from training.recipe import Recipe

MAX_LINES = 60


@pytest.mark.long
def test_a_new_variant_takes_few_lines_and_works(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = blocks(project / "CONTRIBUTING.md", "python")
    assert len(example.splitlines()) < MAX_LINES
    monkeypatch.setattr(variants, "VARIANTS", dict(variants.VARIANTS))
    monkeypatch.setattr(fit, "STEPS", 200)
    before = set(variants.VARIANTS)
    names: dict[str, Any] = {}
    exec(compile(example, "CONTRIBUTING.md", "exec", dont_inherit=True), names)  # noqa: S102 - the document is ours
    assert set(variants.VARIANTS) - before == {"decorrelated"}

    recipe = Recipe(variant="decorrelated", settings={"weight": "0.2", "score": "mse"}, false_alarm_rate=0.1)
    trained = training.train(table_of(shares(300)), tmp_path / "new", recipe)
    assert trained.manifest.settings.items() >= {"weight": 0.2, "latent": 8}.items()
    scorer = Scorer.open(trained.folder, "cpu")
    normal, odd = (scorer.score(rows, explain="none").score for rows in (shares(300, seed=1), planted_shares()))
    assert roc_auc_score(np.repeat([0, 1], [len(normal), len(odd)]), np.concatenate([normal, odd])) > 0.8
    with pytest.raises(SettingError, match="weight takes a number above 0"):
        training.train(table_of(shares(300)), tmp_path / "bad", Recipe(variant="decorrelated", settings={"weight": "-1"}))
