"""`make demo`: train, score, evaluate and serve on real data, without downloading anything.

The data is the Wisconsin breast-cancer table (Street, Wolberg & Mangasarian 1993) that scikit-learn ships: 569 tumours, 30
measurements each. Most of the benign ones train a detector, which then scores the others and all malignant ones.
"""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_breast_cancer

FOLDER = Path("demo")
HELD_OUT = 100  # benign tumours that are only scored
SHOWN_ROWS = 8
START_TIMEOUT = 60  # seconds


def main() -> None:
    """Write the tables, run the commands on them, and show which rows were flagged and why."""
    console = Console()
    benign, mixed = tables()
    FOLDER.mkdir(exist_ok=True)
    benign.write_csv(FOLDER / "benign.csv")
    mixed.write_csv(FOLDER / "mixed.csv")
    console.print(
        f"{benign.height} benign tumours to train on, {mixed.height} others to score ({HELD_OUT} of them benign), "
        f"30 measurements each: {FOLDER}/benign.csv, {FOLDER}/mixed.csv",
        soft_wrap=True,
    )
    _run(console, f"train {FOLDER}/benign.csv --to {FOLDER}/models/tumours --false-alarm-rate 0.05")
    _run(console, f"score {FOLDER}/models/tumours {FOLDER}/mixed.csv --to {FOLDER}/scored.csv --keep diagnosis --force")
    _run(console, f"evaluate {FOLDER}/models/tumours {FOLDER}/mixed.csv --label diagnosis")
    scored = pl.read_csv(FOLDER / "scored.csv")
    _print_anomalies(console, scored)
    most_abnormal = scored.sort("anomaly_score")["row"][-1] - 2  # the header is row 1
    _serve(console, mixed[[0, most_abnormal]].drop("diagnosis"))
    console.print(f"\nEverything is in {FOLDER}/. Next: `. .venv/bin/activate`, then residuum inspect {FOLDER}/models/tumours")


def tables() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows to train on, and the rows to score with their diagnosis."""
    data = load_breast_cancer()
    diagnosis = pl.Series("diagnosis", data.target_names[data.target].astype(str))
    table = pl.DataFrame(data.data, schema=[name.replace(" ", "_") for name in data.feature_names]).with_columns(diagnosis)
    shuffled = table[np.random.default_rng(0).permutation(table.height)]
    benign = shuffled.filter(pl.col("diagnosis") == "benign")
    malignant = shuffled.filter(pl.col("diagnosis") == "malignant")
    return benign[HELD_OUT:].drop("diagnosis"), pl.concat([benign[:HELD_OUT], malignant])


def _run(console: Console, line: str) -> None:
    """Run a command in a process of its own, as a user would, after printing it."""
    console.print(f"\n[bold]$ residuum {line}[/bold]", highlight=False, soft_wrap=True)
    subprocess.run([sys.executable, "-m", "residuum", *shlex.split(line)], check=True)  # noqa: S603 - our own command


def _print_anomalies(console: Console, scored: pl.DataFrame) -> None:
    """Print the most abnormal rows with their reasons."""
    flagged = scored.filter("is_anomaly").sort("anomaly_score", descending=True)
    table = Table(title=f"The {SHOWN_ROWS} most abnormal of {flagged.height} flagged rows", title_justify="left")
    for heading in ("row", "score", "p-value", "reasons"):
        table.add_column(heading, justify="left" if heading == "reasons" else "right")
    table.add_column("diagnosis")
    for row in flagged.head(SHOWN_ROWS).iter_rows(named=True):
        reasons = "\n".join(filter(None, (row["reason_1"], row["reason_2"])))
        table.add_row(str(row["row"]), f"{row['anomaly_score']:.0f}", f"{row['p_value']:.3f}", reasons, row["diagnosis"])
    console.print()
    console.print(table)


def _serve(console: Console, rows: pl.DataFrame) -> None:
    """Start the service, score rows over HTTP, and stop it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    line = f"serve {FOLDER}/models --port {port} --log json"
    console.print(f"\n[bold]$ residuum {line} &[/bold]", highlight=False)
    command = [sys.executable, "-m", "residuum", *shlex.split(line)]
    service = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: S603 - our own command
    try:
        connection = _connect(port)
        console.print(f"[bold]$ curl localhost:{port}/v1/models/tumours/score -d ...[/bold]", highlight=False)
        body, headers = json.dumps(rows.to_dicts()), {"content-type": "application/json"}
        connection.request("POST", "/v1/models/tumours/score", body, headers)
        console.print(json.dumps(json.loads(connection.getresponse().read()), indent=1), highlight=False)
    finally:
        service.terminate()
        service.wait()


def _connect(port: int) -> HTTPConnection:
    """Connect to the service, retrying until it listens."""
    connection = HTTPConnection("127.0.0.1", port, timeout=START_TIMEOUT)
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            connection.connect()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return connection


if __name__ == "__main__":
    main()
