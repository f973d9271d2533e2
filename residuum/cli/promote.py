"""`residuum promote` and `residuum rollback`: which version a name means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from residuum.cli import output

if TYPE_CHECKING:
    from rich.table import Table

    from detector.manifest import Manifest
    from residuum.cli.remote import Shadow

NAME = Annotated[Path, typer.Argument(help="A folder of versions: models/pumps.", show_default=False)]
URL = Annotated[
    str | None,
    typer.Option(
        help="A service that does it, http://localhost:8080; MODEL's last part is then a name there. "
        "Its token, of the role operate, stands in the environment: RESIDUUM_TOKEN.",
        show_default=False,
    ),
]


def promote(
    model: NAME,
    version: Annotated[int, typer.Argument(help="The version to answer by.", show_default=False)],
    *,
    url: URL = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change and do nothing.")] = False,
) -> None:
    """Let a name mean one of its versions, after showing what that changes; services follow at once."""
    if url:
        _promote_there(url, model.absolute().name, version, dry_run=dry_run)
        return
    from detector import pin, repository
    from detector.scorer import Scorer
    from serving.preload import preload

    folder = repository.model_folder(model)
    pin.require_version(folder, version)
    was = pin.current_version(folder)
    output.print_tables(_change(folder, was, version))
    opened = Scorer.open(folder / str(version), "cpu")
    if opened.manifest.window is None:  # series are judged by files and Python, which open a version when they need it
        preload(opened)
    if not dry_run:
        pin.promote(folder, version)
        output.print_facts([("promoted", f"{folder} means version {version}{_instead(was, version)}")])


def rollback(model: NAME, *, url: URL = None) -> None:
    """Let a name mean what it meant before the last promotion; services follow at once."""
    if url:
        from residuum.cli.remote import Remote

        there = Remote(url, model.absolute().name).rollback()
        output.print_facts([("back", f"{url} answers by version {there.version}{_instead(there.was, there.version)}")])
        return
    from detector import pin, repository

    folder = repository.model_folder(model)
    moved = pin.rollback(folder)
    output.print_facts([("back", f"{folder} means version {moved.version}{_instead(moved.previous, moved.version)}")])


def _promote_there(url: str, name: str, version: int, *, dry_run: bool) -> None:
    """Ask a service, first how far the version agrees with the current one on its traffic."""
    from residuum.cli.remote import Remote

    remote = Remote(url, name)
    shadow = remote.shadow()
    if shadow.shadow == version:
        output.print_tables(_agreement(shadow))
    else:
        output.print_facts(
            [("shadow", f"version {version} judges none of the traffic; in the shadow is {shadow.shadow or 'none'}")]
        )
    if not dry_run:
        moved = remote.promote(version)
        output.print_facts([("promoted", f"{url} answers by version {moved.version}{_instead(moved.was, moved.version)}")])


def _agreement(shadow: Shadow) -> Table:
    """Show how far a shadow agrees with the current version."""
    found = shadow.agreement
    return output.facts(
        f"Version {shadow.shadow} in the shadow of version {shadow.version}",
        [
            ("rows", f"{found.rows:,} that both judged, of {output.percentage(shadow.share)} of the requests"),
            ("verdicts", f"{_share(found.same_verdicts)} the same"),
            (
                "flagged",
                f"{found.both:,} by both, {found.current_alone:,} by the current one, {found.shadow_alone:,} by the shadow alone",
            ),
            ("alarm ratio", f"{_share(found.shadow_alarm_ratio)}; of the current one {_share(found.current_alarm_ratio)}"),
            ("order", "" if found.rank_correlation is None else f"rank correlation of the scores {found.rank_correlation:.4f}"),
            ("rejected", f"{found.rejected_by_one:,} by one of them" if found.rejected_by_one else ""),
        ],
    )


def _change(folder: Path, was: int | None, version: int) -> Table:
    """Show both versions beside each other."""
    from detector import bundle

    versions = list(dict.fromkeys(each for each in (was, version) if each is not None))
    sides = [_side(bundle.read_manifest(folder / str(each))) for each in versions]
    titles = [f"version {each}" for each in versions]
    return output.table(folder.name, ("", *titles), [(name, *(side[name] for side in sides)) for name in sides[-1]])


def _side(manifest: Manifest) -> dict[str, str]:
    """Say what a version is."""
    decision, rows = manifest.decision, manifest.training.rows
    return {
        "created": manifest.created,
        "parent": "none" if manifest.parent is None else f"version {manifest.parent}",
        "variant": manifest.variant,
        "rows": f"{rows.training:,} to learn from, {rows.calibration:,} to calibrate",
        "threshold": f"{decision.threshold:.6g}, by {decision.criterion}",
        "promised false-alarm rate": output.percentage(decision.false_alarm_rate) if decision.false_alarm_rate else "none",
    }


def _share(part: float | None) -> str:
    return "none" if part is None else output.percentage(part)


def _instead(was: int | None, version: int) -> str:
    """Say what a name meant before, or that it stays what it was."""
    if was == version:
        return " as it did, and will when a higher one comes"
    return "" if was is None else f", not {was}"
