"""Makes the stored bundle: run `python -m tests.data.make_bundle` when the format number is raised before release 1.0.

It also stores rows with the verdicts of this bundle, which `test_kept_bundle.py` compares.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from detector import bundle, reasons
from detector.manifest import FORMAT, Manifest
from detector.scorer import Scorer
from tests.tables import normal_rows, planted_anomalies

HERE = Path(__file__).parent
KEPT = HERE / f"bundle-{FORMAT}"
VERDICTS = HERE / f"verdicts-{FORMAT}.csv"
TOP = 2


def main() -> None:
    """Train the bundle, and store its verdicts on a few rows."""
    from training.recipe import Recipe, Table
    from training.train import train  # here: those who only read the bundle need no torch

    normal = normal_rows()
    recipe = Recipe(variant="plain", false_alarm_rate=0.05, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        made = train(Table(normal, np.arange(normal.height), []), Path(folder) / "kept", recipe).folder
        shutil.rmtree(KEPT, ignore_errors=True)
        shutil.copytree(made, KEPT)
    rows = pl.concat([normal_rows(25, seed=5, holes=0.1), planted_anomalies(5)])
    scored(rows).write_csv(VERDICTS)


def scored(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with the stored bundle's verdicts."""
    verdicts = Scorer.open(KEPT, "cpu").score(rows, explain="all", top=TOP)
    texts = reasons.as_texts(verdicts.reasons.table(), rows.height, TOP)
    return rows.with_columns(
        pl.Series("anomaly_score", verdicts.score),
        pl.Series("p_value", verdicts.p_value),
        pl.Series("is_anomaly", verdicts.is_anomaly),
        *texts,
    )


def write_minimal(folder: Path, extra_files: Mapping[str, bytes] | None = None, **changed: object) -> Manifest:
    """Write the stored bundle with only the required files and any extra files; `changed` replaces fields of its manifest."""
    kept = bundle.read(KEPT)
    proofs = tuple(proof for proof in kept.manifest.parity if proof.file == bundle.MODEL)
    manifest = msgspec.structs.replace(kept.manifest, parity=proofs, **changed)
    folder.mkdir(parents=True)
    least = {bundle.MODEL: kept.model, bundle.CALIBRATION: bundle.calibration_bytes(kept.calibration)}
    return bundle.write(folder, manifest, {**least, **(extra_files or {})})


if __name__ == "__main__":
    main()
