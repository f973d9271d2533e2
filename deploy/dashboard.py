"""Grafana's dashboard: `python deploy/dashboard.py` writes `deploy/dashboard.json`, which Grafana imports.

One row of panels a question: does the service answer, does each model keep its promise, do rows still come as they did,
what would the next version say, does the stream keep up. What is worth waking somebody for is in `rules.yml`.
"""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.builders.common import VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.timeseries import Panel
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, TimeZoneBrowser
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

FILE = Path(__file__).with_suffix(".json")
SOURCE = DataSourceRef(type_val="prometheus", uid="$source")
OF = 'job="$job",model=~"$model"'
HEIGHT, WIDTH = 8, 8  # of 24 columns: three panels beside each other

Query = tuple[str, str]  # an expression, and how its lines are called


def panel(title: str, said: str, unit: str, *queries: Query) -> Panel:
    """Make a panel of lines over time."""
    legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).show_legend(True)
    made = Panel().title(title).description(said).unit(unit).datasource(SOURCE).height(HEIGHT).span(WIDTH).legend(legend)
    for place, (expression, called) in enumerate(queries):
        made = made.with_target(Dataquery().expr(expression).legend_format(called).ref_id(chr(ord("A") + place)))
    return made


def quantile(share: float, buckets: str, *by: str) -> str:
    """Give the expression of a histogram's quantile."""
    return f"histogram_quantile({share}, sum by ({', '.join([*by, 'le'])}) (rate({buckets}[$__rate_interval])))"


SERVICE = [
    panel(
        "Requests",
        "Answers a second, by status.",
        "reqps",
        ('sum by (status) (rate(residuum_http_requests_total{job="$job"}[$__rate_interval]))', "{{status}}"),
    ),
    panel(
        "Latency of scoring",
        "Half of the requests, and 99 of 100, are answered faster.",
        "s",
        (quantile(0.5, 'residuum_http_request_duration_seconds_bucket{job="$job",route="score"}'), "half"),
        (quantile(0.99, 'residuum_http_request_duration_seconds_bucket{job="$job",route="score"}'), "99 of 100"),
    ),
    panel(
        "Refused",
        "Requests that were refused, by reason.",
        "reqps",
        ('sum by (reason) (rate(residuum_http_refused_total{job="$job"}[$__rate_interval]))', "{{reason}}"),
    ),
    panel(
        "Versions that answer",
        "Workers by the version they answer by; two lines of one model for longer than a second are a fault.",
        "short",
        (f"count by (model, version) (residuum_model_serving{{{OF}}})", "{{model}} {{version}}"),
    ),
    panel(
        "Bundles opened and refused",
        "In the last quarter of an hour.",
        "short",
        ('sum by (outcome) (increase(residuum_model_loads_total{job="$job"}[15m]))', "{{outcome}}"),
    ),
    panel(
        "Memory",
        "Of each worker.",
        "bytes",
        ('process_resident_memory_bytes{job="$job"}', "{{instance}}"),
    ),
]

PROMISE = [
    panel(
        "Rows",
        "Rows scored a second.",
        "rowsps",
        (f"sum by (model, version) (rate(residuum_rows_total{{{OF}}}[$__rate_interval]))", "{{model}} {{version}}"),
    ),
    panel(
        "Alarms against the promise",
        "The share of rows flagged in an hour, and between what bounds it lies if all rows are normal.",
        "percentunit",
        (f"residuum:alarm_ratio:1h{{{OF}}}", "{{model}} {{version}}"),
        (f"residuum:promise:lowest1h{{{OF}}}", "lowest {{model}} {{version}}"),
        (f"residuum:promise:highest1h{{{OF}}}", "highest {{model}} {{version}}"),
    ),
    panel(
        "Series",
        "Alarms that began in an hour, and series that are remembered between requests.",
        "short",
        (f"sum by (model) (increase(residuum_alarms_total{{{OF}}}[1h]))", "alarms {{model}}"),
        (f"sum by (model) (residuum_sessions{{{OF}}})", "sessions {{model}}"),
    ),
    panel(
        "Scores",
        "Half of the rows, and 99 of 100, score lower.",
        "none",
        (quantile(0.5, f"residuum_score_nats_bucket{{{OF}}}", "model"), "{{model}} half"),
        (quantile(0.99, f"residuum_score_nats_bucket{{{OF}}}", "model"), "{{model}} 99 of 100"),
    ),
]

DRIFT = [
    panel(
        "Test martingale",
        "Decimal logarithm; 2 is evidence at 1 % that rows no longer come as the calibration's did.",
        "none",
        (f"max by (model, version) (residuum_drift_martingale{{{OF}}})", "{{model}} {{version}}"),
    ),
    panel(
        "Columns that changed",
        "Population stability index of the five that changed most; above 0.25 is much.",
        "none",
        (f"topk(5, max by (model, column) (residuum_column_stability{{{OF}}}))", "{{model}} {{column}}"),
    ),
    panel(
        "Rows that could not be read, cells that were missing or new",
        "A second.",
        "short",
        (
            f"sum by (model, reason) (rate(residuum_rejected_rows_total{{{OF}}}[$__rate_interval]))",
            "rejected {{model}} {{reason}}",
        ),
        (f"sum by (model) (rate(residuum_missing_cells_total{{{OF}}}[$__rate_interval]))", "missing {{model}}"),
        (f"sum by (model) (rate(residuum_unseen_categories_total{{{OF}}}[$__rate_interval]))", "unseen {{model}}"),
    ),
]

SHADOW = [
    panel(
        "Verdicts that differ",
        "The share of the rows that both judged, over an hour.",
        "percentunit",
        (f"residuum:shadow_differs:1h{{{OF}}}", "{{model}} {{shadow}} against {{version}}"),
    ),
    panel(
        "Order of the scores",
        "Spearman's rank correlation over the latest rows, about 2,000.",
        "none",
        (f"min by (model, shadow) (residuum_shadow_rank_correlation{{{OF}}})", "{{model}} {{shadow}}"),
    ),
    panel(
        "Alarm ratios",
        "Of both versions, on the same latest rows.",
        "percentunit",
        (f"avg by (model, shadow, by) (residuum_shadow_alarm_ratio{{{OF}}})", "{{model}} {{shadow}} {{by}}"),
    ),
]


STREAM = [
    panel(
        "Records",
        "Done with a second: judged, or put aside as dead letters. Of all stream workers.",
        "short",
        ("sum by (job, outcome) (rate(residuum_stream_records_total[$__rate_interval]))", "{{job}} {{outcome}}"),
    ),
    panel("Lag", "Records that wait.", "short", ("sum by (job, topic) (residuum_stream_lag)", "{{job}} {{topic}}")),
    panel(
        "Age",
        "Time from a record's making until its verdict is to be seen, of 99 in 100 batches.",
        "s",
        (quantile(0.99, "residuum_stream_record_age_seconds_bucket", "job"), "{{job}}"),
    ),
]


def dashboard() -> Dashboard:
    """Lay the dashboard out."""
    made = (
        Dashboard("Residuum")
        .uid("residuum")
        .description("Anomaly detection as a service: does it answer, does it keep its promise, is the world still the same.")
        .tags(["residuum"])
        .refresh("30s")
        .time("now-6h", "now")
        .timezone(TimeZoneBrowser)
        .with_variable(DatasourceVariable("source").label("Data source").type("prometheus"))
        .with_variable(_variable("job", "label_values(residuum_worker_info, job)"))
        .with_variable(_variable("model", "label_values(residuum_model_serving, model)").multi(True).include_all(True))
    )
    rows = {
        "The service": SERVICE,
        "The promise": PROMISE,
        "The world": DRIFT,
        "The next version": SHADOW,
        "The stream": STREAM,
    }
    for title, panels in rows.items():
        made = made.with_row(Row(title))
        for each in panels:
            made = made.with_panel(each)
    return made


def _variable(name: str, query: str) -> QueryVariable:
    """Make a choice at the top of the page."""
    return QueryVariable(name).label(name).query(query).datasource(SOURCE).refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)


def text() -> str:
    """Give the dashboard as Grafana reads it."""
    return JSONEncoder(sort_keys=True, indent=1).encode(dashboard().build()) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
