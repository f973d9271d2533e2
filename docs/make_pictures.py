"""Draw the pictures of the documentation from real runs: `make pictures`. Needs the extras train and serve, and Chromium.

live-page.png     the live page of a service, with normal rows and some anomalies
latent-space.png  `residuum picture` on the rows of `make demo`
heat-map.png      `residuum score --heatmaps` on two generated tiles, one of which has a spot
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from docs.generate import free_port, get, running  # noqa: E402 - needs the path
from residuum.demo import tables  # noqa: E402
from tests.tables import normal_rows, planted_anomalies  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
LARGEST = 150_000  # bytes
TILE, SPOT = 96, 12  # pixels
PAGE = {"width": 1200, "height": 900}
SETTLED = 2_000  # milliseconds after the last row, until the page has drawn everything


def main() -> None:
    """Draw all pictures into docs/pictures."""
    PICTURES.mkdir(exist_ok=True)
    drawings = {"heat-map.png": heat_map, "latent-space.png": latent_space, "live-page.png": live_page}
    for name, draw in drawings.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory() as folder:
            content = small(draw(Path(folder)))
        (PICTURES / name).write_bytes(content)
        sys.stdout.write(f"{name}: {len(content):,} bytes\n")


def residuum(folder: Path, *arguments: object) -> None:
    """Run a command in a folder."""
    subprocess.run([sys.executable, "-m", "residuum", *map(str, arguments)], cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command


def small(picture: bytes) -> bytes:
    """Return a PNG with as many colours as fit into the limit."""
    image = Image.open(BytesIO(picture)).convert("RGB")
    for colours in (256, 128, 64, 32):
        buffer = BytesIO()
        image.quantize(colours).save(buffer, "PNG", optimize=True)
        if buffer.tell() < LARGEST:
            break
    return buffer.getvalue()


def latent_space(folder: Path) -> bytes:
    """Return the latent space of the demo's detector."""
    benign, mixed = tables()
    benign.write_csv(folder / "benign.csv")
    mixed.write_csv(folder / "mixed.csv")
    residuum(folder, "train", "benign.csv", "--to", "models/tumours", "--false-alarm-rate", "0.05")
    residuum(folder, "picture", "models/tumours", "mixed.csv", "--label", "diagnosis", "--to", "picture.png")
    return (folder / "picture.png").read_bytes()


def heat_map(folder: Path) -> bytes:
    """Return the heat maps of a tile with a spot and of a normal one."""
    for number in range(80):
        tile(number, None, folder / "tiles" / "good" / f"{number:03}.png")
    tile(1000, (30, 58), folder / "today" / "0.png")
    tile(1001, None, folder / "today" / "1.png")
    residuum(folder, "train", "tiles/good", "--to", "models/tiles", "--size", "48x48", "--false-alarm-rate", "0.05")
    residuum(folder, "score", "models/tiles", "today", "--to", "tiles.csv", "--heatmaps", "heat")
    maps = [Image.open(path) for path in sorted((folder / "heat").rglob("*.png"))]
    sheet = Image.new("RGB", (maps[0].width, sum(each.height for each in maps)), "white")
    for number, each in enumerate(maps):
        sheet.paste(each, (0, number * each.height))
    buffer = BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def tile(seed: int, spot: tuple[int, int] | None, path: Path) -> None:
    """Write a brushed tile under a lamp, with a dark spot if its place is given."""
    random = np.random.default_rng(seed)
    down, across = np.mgrid[0 : 1 : TILE * 1j, 0 : 1 : TILE * 1j]
    angle, phase = random.uniform(0, 2 * np.pi, 2)
    light = 130 + 40 * (np.cos(angle) * (down - 0.5) + np.sin(angle) * (across - 0.5))
    grey = light + 10 * np.sin(2 * np.pi * (8 * across + phase)) + random.normal(scale=3, size=(TILE, TILE))
    if spot:
        top, left = spot
        grey[top : top + SPOT, left : left + SPOT] *= 0.6
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(path)


def live_page(folder: Path) -> bytes:
    """Return a screenshot of the live page after some thousand rows, a few of them anomalies."""
    for version in ("1", "2"):
        shutil.copytree(ROOT / "tests" / "data" / "bundle-1", folder / "models" / "pumps" / version)
    (folder / "models" / "pumps" / "pin").write_text("1\n")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = ("--port", str(port), "--shadow-share", "1", "--label-columns", "machine,at")
    with running("serve", "models", *options, folder=folder), sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=PAGE)
        ask(url, 50, 0)
        page.goto(url)
        page.locator("#promise", has_text="version 1").wait_for()
        for seed in range(1, 40):
            ask(url, 60, seed)
            page.wait_for_timeout(100)
        page.wait_for_timeout(SETTLED)
        content: bytes = page.screenshot()
        browser.close()
        return content


def ask(url: str, rows: int, seed: int) -> None:
    """Send normal rows to the service, and every tenth time two anomalies."""
    sent = normal_rows(rows, seed=seed).to_dicts()
    if seed % 10 == 5:  # noqa: PLR2004 - once in ten
        sent += planted_anomalies(2, seed=seed).to_dicts()
    get(f"{url}/v1/models/pumps/score", json.dumps(sent).encode())


if __name__ == "__main__":
    main()
