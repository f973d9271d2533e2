"""The example of `docker compose up`: a detector trained on the rows of `make demo`, and these rows sent to a topic repeatedly.

python example.py train MODELS     write the bundle and the rows to send, unless they exist
python example.py play MODELS BROKERS TOPIC RATE
"""

import json
import subprocess
import sys
import time
from pathlib import Path

NAME = "tumours"


def main() -> None:
    """Run the command given as the first argument."""
    command, models, *rest = sys.argv[1:]
    if command == "train":
        train(Path(models))
    else:
        brokers, topic, rate = rest
        play(Path(models), brokers, topic, float(rate))


def train(models: Path) -> None:
    """Train, unless the bundle exists."""
    if (models / NAME / "1").is_dir():
        return
    from residuum.demo import tables

    benign, mixed = tables()
    models.mkdir(exist_ok=True)
    benign.write_csv(Path("/tmp/benign.csv"))  # noqa: S108 - inside the container
    mixed.drop("diagnosis").write_ndjson(models / "play.ndjson")
    command = [sys.executable, "-m", "residuum", "train", "/tmp/benign.csv", "--to", str(models / NAME)]  # noqa: S108
    subprocess.run([*command, "--false-alarm-rate", "0.05"], check=True)  # noqa: S603 - our own command


def play(models: Path, brokers: str, topic: str, rate: float) -> None:
    """Send `rate` rows per second, one in a hundred of them invalid."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 50})
    rows = (models / "play.ndjson").read_bytes().splitlines()
    sent = 0
    while True:
        row = rows[sent % len(rows)] if sent % 100 else json.dumps({"mean_radius": "large"}).encode()
        producer.produce(topic, row, key=str(sent % 50))
        producer.poll(0)
        sent += 1
        time.sleep(1 / rate)


if __name__ == "__main__":
    main()
