"""Grafana's dashboard: `python deploy/dashboard.py` writes `deploy/dashboard.json`, which Grafana imports.

One row of panels per question: does the service respond, does each model keep its promise, have the rows changed, what would the
next version decide, does the stream keep up. The alerts are in `rules.yml`.
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
SELECTED = 'job="$job",model=~"$model"'
HEIGHT, WIDTH = 8, 8  # of 24 columns: three panels beside each other

Query = tuple[str, str]  # expression, legend


def panel(title: str, description: str, unit: str, *queries: Query) -> Panel:
    """Return a time series panel."""
    legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).show_legend(True)
    built = Panel().title(title).description(description).unit(unit).datasource(SOURCE).height(HEIGHT).span(WIDTH).legend(legend)
    for number, (expression, name) in enumerate(queries):
        built = built.with_target(Dataquery().expr(expression).legend_format(name).ref_id(chr(ord("A") + number)))
    return built


def quantile(share: float, buckets: str, *by: str) -> str:
    """Return the expression of a histogram's quantile."""
    return f"histogram_quantile({share}, sum by ({', '.join([*by, 'le'])}) (rate({buckets}[$__rate_interval])))"


SERVICE = [
    panel(
        "Requests",
        "Responses per second, by status.",
        "reqps",
        ('sum by (status) (rate(residuum_http_requests_total{job="$job"}[$__rate_interval]))', "{{status}}"),
    ),
    panel(
        "Latency of scoring",
        "Median and 99th percentile of the response time.",
        "s",
        (quantile(0.5, 'residuum_http_request_duration_seconds_bucket{job="$job",route="score"}'), "median"),
        (quantile(0.99, 'residuum_http_request_duration_seconds_bucket{job="$job",route="score"}'), "p99"),
    ),
    panel(
        "Refused requests",
        "Refused requests per second, by reason.",
        "reqps",
        ('sum by (reason) (rate(residuum_http_refused_total{job="$job"}[$__rate_interval]))', "{{reason}}"),
    ),
    panel(
        "Active versions",
        "Workers by the version they use; two lines for one model, for more than a second, are a fault.",
        "short",
        (f"count by (model, version) (residuum_model_serving{{{SELECTED}}})", "{{model}} {{version}}"),
    ),
    panel(
        "Bundles opened and refused",
        "In the last 15 minutes.",
        "short",
        ('sum by (outcome) (increase(residuum_model_loads_total{job="$job"}[15m]))', "{{outcome}}"),
    ),
    panel(
        "Memory",
        "Resident memory of each worker.",
        "bytes",
        ('process_resident_memory_bytes{job="$job"}', "{{instance}}"),
    ),
]

PROMISE = [
    panel(
        "Rows",
        "Rows scored per second.",
        "rowsps",
        (f"sum by (model, version) (rate(residuum_rows_total{{{SELECTED}}}[$__rate_interval]))", "{{model}} {{version}}"),
    ),
    panel(
        "Alarm ratio and promise",
        "The share of rows flagged in an hour, and its bounds if all rows are normal.",
        "percentunit",
        (f"residuum:alarm_ratio:1h{{{SELECTED}}}", "{{model}} {{version}}"),
        (f"residuum:promise:lowest1h{{{SELECTED}}}", "lowest {{model}} {{version}}"),
        (f"residuum:promise:highest1h{{{SELECTED}}}", "highest {{model}} {{version}}"),
    ),
    panel(
        "Series",
        "Alarms that began in an hour, and open sessions.",
        "short",
        (f"sum by (model) (increase(residuum_alarms_total{{{SELECTED}}}[1h]))", "alarms {{model}}"),
        (f"sum by (model) (residuum_sessions{{{SELECTED}}})", "sessions {{model}}"),
    ),
    panel(
        "Scores",
        "Median and 99th percentile of the anomaly scores.",
        "none",
        (quantile(0.5, f"residuum_score_nats_bucket{{{SELECTED}}}", "model"), "{{model}} median"),
        (quantile(0.99, f"residuum_score_nats_bucket{{{SELECTED}}}", "model"), "{{model}} p99"),
    ),
]

DRIFT = [
    panel(
        "Test martingale",
        "Decimal logarithm; 2 is evidence, at a level of 1 %, that the distribution of rows has changed since calibration.",
        "none",
        (f"max by (model, version) (residuum_drift_martingale{{{SELECTED}}})", "{{model}} {{version}}"),
    ),
    panel(
        "Changed columns",
        "Population stability index of the five most changed columns; above 0.25 is a large change.",
        "none",
        (f"topk(5, max by (model, column) (residuum_column_stability{{{SELECTED}}}))", "{{model}} {{column}}"),
    ),
    panel(
        "Rejected rows, missing cells, unseen categories",
        "Per second.",
        "short",
        (
            f"sum by (model, reason) (rate(residuum_rejected_rows_total{{{SELECTED}}}[$__rate_interval]))",
            "rejected {{model}} {{reason}}",
        ),
        (f"sum by (model) (rate(residuum_missing_cells_total{{{SELECTED}}}[$__rate_interval]))", "missing {{model}}"),
        (f"sum by (model) (rate(residuum_unseen_categories_total{{{SELECTED}}}[$__rate_interval]))", "unseen {{model}}"),
    ),
]

SHADOW = [
    panel(
        "Differing verdicts",
        "The share of rows on which the versions differ, over an hour.",
        "percentunit",
        (f"residuum:shadow_differs:1h{{{SELECTED}}}", "{{model}} {{shadow}} against {{version}}"),
    ),
    panel(
        "Rank correlation of the scores",
        "Spearman's rank correlation over about the latest 2,000 rows.",
        "none",
        (f"min by (model, shadow) (residuum_shadow_rank_correlation{{{SELECTED}}})", "{{model}} {{shadow}}"),
    ),
    panel(
        "Alarm ratios",
        "Of both versions, on the same latest rows.",
        "percentunit",
        (f"avg by (model, shadow, by) (residuum_shadow_alarm_ratio{{{SELECTED}}})", "{{model}} {{shadow}} {{by}}"),
    ),
]


STREAM = [
    panel(
        "Records",
        "Records per second that were scored or became dead letters, over all stream workers.",
        "short",
        ("sum by (job, outcome) (rate(residuum_stream_records_total[$__rate_interval]))", "{{job}} {{outcome}}"),
    ),
    panel("Lag", "Records not yet scored.", "short", ("sum by (job, topic) (residuum_stream_lag)", "{{job}} {{topic}}")),
    panel(
        "Age",
        "Time from a record's creation until its verdict is visible: 99th percentile of the batches.",
        "s",
        (quantile(0.99, "residuum_stream_record_age_seconds_bucket", "job"), "{{job}}"),
    ),
]


def dashboard() -> Dashboard:
    """Return the dashboard."""
    built = (
        Dashboard("Residuum")
        .uid("residuum")
        .description("Anomaly detection: the service, its promise, drift, shadow versions and streams.")
        .tags(["residuum"])
        .refresh("30s")
        .time("now-6h", "now")
        .timezone(TimeZoneBrowser)
        .with_variable(DatasourceVariable("source").label("Data source").type("prometheus"))
        .with_variable(_variable("job", "label_values(residuum_worker_info, job)"))
        .with_variable(_variable("model", "label_values(residuum_model_serving, model)").multi(True).include_all(True))
    )
    rows = {
        "Service": SERVICE,
        "Promise": PROMISE,
        "Drift": DRIFT,
        "Shadow version": SHADOW,
        "Stream": STREAM,
    }
    for title, panels in rows.items():
        built = built.with_row(Row(title))
        for content in panels:
            built = built.with_panel(content)
    return built


def _variable(name: str, query: str) -> QueryVariable:
    """Return a variable, chosen at the top of the page."""
    return QueryVariable(name).label(name).query(query).datasource(SOURCE).refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)


def text() -> str:
    """Return the dashboard as JSON."""
    return JSONEncoder(sort_keys=True, indent=1).encode(dashboard().build()) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
