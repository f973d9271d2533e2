"""`residuum promote` and `residuum rollback`: choose the version that a model's name stands for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from residuum import describe
from residuum.cli import output
from residuum.optional_dependencies import require_client

if TYPE_CHECKING:
    from rich.table import Table

    from residuum.remote import RemoteShadowReport
    from residuum.version_check import VersionSummary

NAME = Annotated[Path, typer.Argument(help="A model's folder of versions: models/pumps.", show_default=False)]
URL = Annotated[
    str | None,
    typer.Option(
        help="Change the version in use of a running service, such as http://localhost:8080; MODEL is then the model's name "
        "there. The environment variable RESIDUUM_TOKEN holds a token with the role operate.",
        show_default=False,
    ),
]


def promote(
    model: NAME,
    version: Annotated[int, typer.Argument(help="The version to use.", show_default=False)],
    *,
    url: URL = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change without changing it.")] = False,
) -> None:
    """Choose the version of a model to use, and show what changes; running services follow at once."""
    if url:
        _promote_remotely(url, model.absolute().name, version, dry_run=dry_run)
        return
    from detector import pin, repository
    from residuum.version_check import check_version

    folder = repository.model_folder(model)
    pin.require_version(folder, version)
    previous = pin.current_version(folder)
    output.print_tables(_comparison(folder, previous, version))
    check_version(folder, version)
    if not dry_run:
        pin.promote(folder, version)
        output.print_facts([("promoted", f"{folder} means version {version}{_instead_of(previous, version)}")])


def rollback(model: NAME, *, url: URL = None) -> None:
    """Return to the version in use before the last promotion; running services follow at once."""
    if url:
        require_client()
        from residuum.remote import RemoteModel

        moved = RemoteModel(url, model.absolute().name).rollback()
        output.print_facts([("restored", f"{url} uses version {moved.version}{_instead_of(moved.was, moved.version)}")])
        return
    from detector import pin, repository

    folder = repository.model_folder(model)
    pinned = pin.rollback(folder)
    output.print_facts([("restored", f"{folder} means version {pinned.version}{_instead_of(pinned.previous, pinned.version)}")])


def _promote_remotely(url: str, name: str, version: int, *, dry_run: bool) -> None:
    """Promote a version at a service, after showing how far it agrees with the current version on the service's traffic."""
    require_client()
    from residuum.remote import RemoteModel

    model = RemoteModel(url, name)
    report = model.shadow()
    if report.shadow == version:
        output.print_tables(_agreement(report))
    else:
        shadow = "none" if report.shadow is None else f"version {report.shadow}"
        output.print_facts([("shadow", f"version {version} scores no traffic; the shadow is {shadow}")])
    if not dry_run:
        moved = model.promote(version)
        output.print_facts([("promoted", f"{url} uses version {moved.version}{_instead_of(moved.was, moved.version)}")])


def _agreement(report: RemoteShadowReport) -> Table:
    """Return how far a shadow agrees with the current version."""
    agreement = report.agreement
    correlation = agreement.rank_correlation
    return output.facts_table(
        f"Version {report.shadow} as a shadow of version {report.version}",
        [
            ("rows", f"{agreement.rows:,} scored by both, from {describe.percentage(report.share)} of the requests"),
            ("verdicts", f"{_percentage(agreement.same_verdicts)} the same"),
            (
                "flagged",
                (
                    f"{agreement.both:,} by both, {agreement.current_alone:,} by the current version only, "
                    f"{agreement.shadow_alone:,} by the shadow only"
                ),
            ),
            (
                "alarm ratio",
                f"{_percentage(agreement.shadow_alarm_ratio)}; current version {_percentage(agreement.current_alarm_ratio)}",
            ),
            ("order", "" if correlation is None else f"rank correlation of the scores {correlation:.4f}"),
            ("rejected", f"{agreement.rejected_by_one:,} by one of the two" if agreement.rejected_by_one else ""),
        ],
    )


def _comparison(folder: Path, previous: int | None, version: int) -> Table:
    """Return both versions side by side."""
    from detector import bundle
    from residuum.version_check import summarize_version

    versions = list(dict.fromkeys(number for number in (previous, version) if number is not None))
    summaries = [_summary(summarize_version(bundle.read_manifest(folder / str(number)))) for number in versions]
    lines = [(label, *(summary[label] for summary in summaries)) for label in summaries[-1]]
    return output.table(folder.name, ("", *(f"version {number}" for number in versions)), lines)


def _summary(version: VersionSummary) -> dict[str, str]:
    return {
        "created": version.created,
        "parent": "none" if version.parent is None else f"version {version.parent}",
        "variant": version.variant,
        "rows": f"{version.training_rows:,} for training, {version.calibration_rows:,} for calibration",
        "threshold": f"{version.threshold:.6g}, by {version.criterion}",
        "promised false-alarm rate": _percentage(version.false_alarm_rate),
    }


def _percentage(share: float | None) -> str:
    return describe.percentage(share) if share is not None else "none"


def _instead_of(previous: int | None, version: int) -> str:
    if previous == version:
        return " as before, and keeps it when a higher version is added"
    return "" if previous is None else f", not {previous}"
