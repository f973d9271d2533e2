"""The live page in a real browser: it shows alarms, scores and versions, and its buttons work."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect, sync_playwright

from detector.decision import Decision
from tests.data.make_bundle import KEPT, write_minimal
from tests.programs import program
from tests.residuum.cli.running import RUN, in_a_process
from tests.serving.http.conftest import Service, Start, StartProcess, until
from tests.serving.http.test_security import line
from tests.tables import normal_rows, planted_anomalies

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
WITHIN = 15_000  # milliseconds


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with three versions, the second of which is pinned."""
    for version, threshold in ((1, 20.0), (2, 30.0), (3, 25.0)):
        decision = Decision(threshold=threshold, promise="value", criterion="chosen")
        write_minimal(tmp_path / "models" / "pumps" / str(version), name="pumps", version=version, decision=decision)
    (tmp_path / "models" / "pumps" / "pin").write_text("2\n")
    return tmp_path / "models"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = program("chromium", "chromium")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


class Page:
    """A page, its errors and its requests."""

    def __init__(self, browser: Browser, service: Service, path: str = "/", **options: object) -> None:
        self.page = browser.new_page(viewport=DESK, **options)
        self.page.set_default_timeout(WITHIN)
        self.errors: list[str] = []
        self.page.on(
            "console", lambda message: self.errors.append(message.text) if message.type in {"error", "warning"} else None
        )
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.requested: set[str] = set()
        self.page.on("request", lambda request: self.requested.add(request.url))
        self.page.goto(f"{service.url}{path}")

    def sees(self, selector: str, text: str) -> None:
        """Wait until an element of the page contains a text."""
        expect(self.page.locator(selector)).to_contain_text(text, timeout=WITHIN)


@pytest.fixture
def service(start: Start, folder: Path) -> Service:
    return start("--shadow-share", "1", at=folder)


def test_an_alarm_appears_and_takes_feedback(browser: Browser, service: Service, folder: Path) -> None:
    opened = Page(browser, service)
    opened.sees("#state", "live")
    opened.sees("#no-alarms", "None yet")
    answer = service.post([*normal_rows(40, seed=5).to_dicts(), *planted_anomalies(3).to_dicts()])
    flagged = [each for each in answer.json()["verdicts"] if each["is_anomaly"]]
    opened.sees("#alarms", f"row {flagged[0]['row']} of request {answer.headers['x-request-id']}")
    reason = flagged[0]["reasons"][0]
    opened.sees("#alarms", f"{reason['column']}: {reason['found']}, expected {reason['expected']}")
    expect(opened.page.locator("#alarms > li")).to_have_count(len(flagged))
    expect(opened.page.locator("#chart path.maximum")).to_have_count(1, timeout=WITHIN)
    expect(opened.page.locator("#chart circle.alarm")).to_have_count(1)  # they came in one second
    expect(opened.page.locator("#chart circle.alarm title")).to_contain_text(f"{len(flagged)} of 43 rows flagged")
    opened.sees("#shadow", "43 scored by both")

    opened.page.get_by_role("button", name="False alarm").first.click()
    opened.sees("#alarms", "Saved: false alarm.")
    line = json.loads((folder / "pumps" / "feedback.ndjson").read_text())
    assert line["feedback"]["verdict"] == "false_alarm"
    assert line["feedback"]["request_id"] == answer.headers["x-request-id"]
    assert opened.errors == []
    assert {url.rsplit("/", 1)[0] for url in opened.requested} <= {
        service.url,
        f"{service.url}/v1",
        f"{service.url}/v1/models/pumps",
    }


def test_a_threshold_is_tried_and_written_with_the_keyboard(browser: Browser, service: Service, folder: Path) -> None:
    scores = [each["anomaly_score"] for each in service.post(normal_rows(200, seed=5).to_dicts()).json()["verdicts"]]
    opened = Page(browser, service)
    opened.sees("#state", "live")
    opened.page.locator("[name=by]").select_option("threshold")
    value = opened.page.get_by_label("Value")
    value.fill("5")
    value.press("Enter")
    opened.sees("#threshold-result", f"would have flagged {sum(score > 5 for score in scores)} of the latest 200 rows")
    expect(opened.page.locator("#chart .candidate")).to_have_count(1)
    for _ in range(2):
        opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("Enter")
    expect(opened.page.get_by_role("dialog")).to_be_visible()
    opened.page.keyboard.press("Enter")
    opened.sees("#threshold-result", "Version 4 is written; version 2 answers.")
    opened.sees("#versions", "Version 4, shadow")
    assert (folder / "pumps" / "4").is_dir()
    assert opened.errors == []


def test_the_shadow_is_promoted_and_rolled_back(browser: Browser, service: Service) -> None:
    opened = Page(browser, service)
    service.post(normal_rows(50, seed=5).to_dicts())
    opened.sees("#shadow", "50 scored by both")
    opened.page.get_by_role("button", name="Promote version 3").click()
    opened.sees("#confirm-text", "On 50 rows 100 % of the verdicts were the same")
    opened.page.get_by_role("button", name="Cancel").click()
    assert service.post([{}]).json()["version"] == 2
    opened.page.get_by_role("button", name="Promote version 3").click()
    opened.page.locator("#confirm").click()
    opened.sees("#promise", "version 3, pinned")
    assert service.post([{}]).json()["version"] == 3
    opened.page.get_by_role("button", name="Roll back").click()
    opened.page.locator("#confirm").click()
    opened.sees("#promise", "version 2, pinned")
    opened.page.get_by_label("Value").fill("1000")
    opened.page.get_by_role("button", name="Try it").click()
    opened.sees("#error", "a false-alarm rate lies between 0 and 1")
    assert [error for error in opened.errors if "422" not in error] == []


def test_the_labels_of_the_axes_are_inside_their_box(browser: Browser, service: Service) -> None:
    opened = Page(browser, service)
    service.post([*normal_rows(40, seed=5).to_dicts(), {"temperature": 1e15}, {"temperature": 1e-9}])
    for size in (DESK, PHONE):
        opened.page.set_viewport_size(size)
        for hours in ("0", "1", "6", "24", "168", "720"):
            opened.page.locator("#hours").select_option(hours)
            expect(opened.page.locator("#chart circle.alarm")).not_to_have_count(0, timeout=WITHIN)
            assert opened.page.evaluate(OUTSIDE) == [], (size, hours)
    assert opened.errors == []


# Labels that reach out of the box of the chart, or touch each other.
OUTSIDE = """() => {
  const box = document.getElementById("chart").getBoundingClientRect();
  const labels = [...document.querySelectorAll("#chart text")].map((label) => [label.textContent, label.getBoundingClientRect()]);
  const isOut = (label) => label.left < box.left || label.right > box.right || label.top < box.top || label.bottom > box.bottom;
  const touch = (one, other) =>
    one.left < other.right && other.left < one.right && one.top + 4 < other.bottom && other.top + 4 < one.bottom;
  return labels.filter(([, label], index) => isOut(label) || labels.some(([, other], at) => at < index && touch(label, other)))
    .map(([text]) => text);
}"""


def test_an_alarm_is_named_by_the_label_columns(browser: Browser, start: Start, folder: Path) -> None:
    service = start("--label-columns", "station,time", "--label-columns", "temperature", at=folder)
    opened = Page(browser, service)
    planted = planted_anomalies(1).to_dicts()[0] | {"station": "north <b>7</b>", "time": "2026-11-28 12:00", "temperature": 900.0}
    assert "unknown_columns" not in service.post([planted]).json()
    opened.sees("#alarms .labels", "station north <b>7</b>, time 2026-11-28 12:00, temperature 900")
    assert opened.errors == []


def test_drift_and_a_broken_promise_are_coloured_and_explained(browser: Browser, start: Start, tmp_path: Path) -> None:
    shutil.copytree(KEPT, tmp_path / "pumps" / "1")
    service = start(at=tmp_path)
    opened = Page(browser, service)
    assert service.post(normal_rows(300, seed=5).to_dicts()).status_code == 200
    opened.sees("#promise", "300, ")
    opened.sees("#drift", "no sign of drift")
    assert opened.page.locator("#promise .bad").count() == 0
    service.post([row | {"temperature": 75.0} for row in normal_rows(600, seed=6).to_dicts()])
    opened.sees("#promise .bad", "more than promised")
    opened.sees("#drift .bad", "the data has changed; rows like those of the calibration get here at most once in 10")
    opened.sees("#drift", "Moved mosttemperature: typically 7")
    assert opened.errors == []


def test_the_history_survives_a_restart(browser: Browser, start: Start, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "history.sqlite"
    service = start("--history", file, at=folder)
    flagged = service.post(planted_anomalies(3).to_dicts()).json()["anomalies"]
    assert service.stop() == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    service = start("--history", file, at=folder)
    opened = Page(browser, service)
    expect(opened.page.locator("#alarms > li")).to_have_count(flagged)
    opened.page.locator("#hours").select_option("24")
    opened.sees("#history-note", "over restarts")
    expect(opened.page.locator("#chart circle.alarm title")).to_contain_text(f"{flagged} of 3 rows flagged")
    assert opened.errors == []


def test_the_docs_try_a_route_with_what_the_service_itself_serves(
    browser: Browser, start: Start, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_text(line("score-secret", "score"))
    service = start("--token-file", tmp_path / "tokens", at=folder)
    opened = Page(browser, service, path="/docs", color_scheme="dark")
    docs = opened.page
    docs.get_by_role("button", name="Authorize").click()
    docs.locator("#auth-bearer-value").fill("score-secret")
    docs.locator(".auth-btn-wrapper .authorize").click()
    docs.locator(".btn-done").click()
    operation = docs.locator("#operations-Score-post_v1_models_pumps_score")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table .response .response-col_status")).to_contain_text("200")
    expect(operation.locator(".live-responses-table")).to_contain_text('"anomaly_score"')
    docs.get_by_text("Schemas").click()
    assert opened.errors == []  # none from the content security policy
    assert {url.split("/")[2] for url in opened.requested} == {service.url.split("/")[2]}


@pytest.mark.long
def test_training_shadow_promotion_and_rollback(browser: Browser, start_process: StartProcess, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    train(tmp_path, rows=400)
    residuum(tmp_path, "promote", "models/pumps", 1)
    service = start_process("--workers", 2, "--shadow-share", 1, at=folder)
    opened = Page(browser, service)
    opened.sees("#promise", "version 1, pinned")
    opened.sees("#shadow", "None")
    train(tmp_path, rows=500)
    opened.sees("#versions", "Version 2, shadow")
    normal_rows(300, seed=5).write_csv(tmp_path / "today.csv")
    for place in range(4):  # over new connections, which reach both workers
        residuum(tmp_path, "score", "pumps", "today.csv", "--to", f"scored-{place}.csv", "--url", service.url)
    opened.sees("#promise", "1,200, ")
    opened.sees("#shadow", "1,200 scored by both")
    opened.page.get_by_role("button", name="Promote version 2").click()
    opened.sees("#confirm-text", "On 1,200 rows ")
    opened.page.locator("#confirm").click()
    opened.sees("#promise", "version 2, pinned")
    opened.page.get_by_role("button", name="Roll back").click()
    opened.page.locator("#confirm").click()
    opened.sees("#promise", "version 1, pinned")
    assert opened.errors == []


def train(folder: Path, rows: int) -> None:
    """Train as the README does, with fewer steps."""
    normal_rows(rows, seed=rows).write_csv(folder / "normal.csv")
    residuum(folder, "train", "normal.csv", "--to", "models/pumps", before="import training.fit; training.fit.STEPS = 300; ")


def residuum(folder: Path, *arguments: object, before: str = "") -> None:
    """Run a command."""
    done = in_a_process(*arguments, code=before + RUN, cwd=folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("scheme", "size"), [("light", DESK), ("dark", PHONE)], ids=["light desk", "dark phone"])
def test_it_is_accessible_and_fits(browser: Browser, service: Service, size: dict[str, int], scheme: str, tmp_path: Path) -> None:
    opened = Page(browser, service, color_scheme=scheme)
    opened.page.set_viewport_size(size)
    opened.sees("#state", "live")
    service.post([*normal_rows(40, seed=5).to_dicts(), *planted_anomalies(3).to_dicts()])
    opened.sees("#alarms", "of request")
    opened.page.get_by_role("button", name="Try it").click()
    opened.sees("#threshold-result", "would have flagged")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    found = Axe().run(opened.page)
    assert found.violations_count == 0, found.generate_report()
    opened.page.get_by_role("button", name="Roll back").click()
    assert Axe().run(opened.page).violations_count == 0
    opened.page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert opened.errors == []


def test_it_asks_for_a_token_and_reconnects(browser: Browser, start: Start, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(line("operate-secret", "operate") + line("score-secret", "score"))
    service = start("--token-file", tmp_path / "tokens", at=folder)
    opened = Page(browser, service)
    for token in ("wrong", "score-secret", "operate-secret"):
        expect(opened.page.get_by_role("dialog")).to_be_visible()
        opened.page.locator("#token").fill(token)
        opened.page.keyboard.press("Enter")
    opened.sees("#state", "live")
    opened.sees("#promise", "version 2")
    service.stop()
    opened.sees("#state", "not connected")
    assert [error for error in opened.errors if "401" not in error and "403" not in error and "ERR_" not in error] == []


def test_the_service_stops_while_a_page_is_open(browser: Browser, service: Service) -> None:
    opened = Page(browser, service)
    opened.sees("#state", "live")
    assert service.stop() == 0
    until(lambda: "not connected" in opened.page.locator("#state").inner_text())
