"""`residuum variants`: the autoencoder variants and their settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from residuum.cli import output
from residuum.cli.options import FORMAT, complete_variant

if TYPE_CHECKING:
    from rich.table import Table

    from training.variants import Variant


def variants(
    name: Annotated[
        str | None,
        typer.Argument(help="A variant, to show all of its settings.", show_default=False, autocompletion=complete_variant),
    ] = None,
    *,
    format: FORMAT = "text",  # noqa: A002 - the option's name
) -> None:
    """List the autoencoder variants: what each does, when to choose it, its paper, and its settings."""
    from residuum.catalog import describe_variant
    from training.variants import VARIANTS, named

    if format == "json":
        shown = {name: named(name)} if name else VARIANTS
        listed = [describe_variant(key, variant) for key, variant in shown.items()]
        output.print_json(listed[0] if name else listed)
    elif name:
        output.print_tables(*_details(name, named(name)))
    else:
        output.print_tables(_overview(VARIANTS))
        output.print_facts(
            [
                ("all of one", "residuum variants sparse"),
                ("set one", "residuum train --variant sparse --set driver=top-k ..."),
            ]
        )


def _overview(table: dict[str, Variant]) -> Table:
    lines = [
        (name, f"{variant.summary}\nchoose it {variant.choose_when}\n{variant.paper}\n", _own_settings(variant))
        for name, variant in table.items()
    ]
    return output.table("Variants", ("variant", "what it does", "its own settings"), lines)


def _own_settings(variant: Variant) -> str:
    """Return the settings that other variants lack, or that have another default here."""
    from training.settings import PointSettings, WindowSettings, as_plain

    common = as_plain(WindowSettings() if issubclass(variant.settings, WindowSettings) else PointSettings())
    settings = as_plain(variant.settings())
    return "\n".join(f"{key}={_text(value)}" for key, value in settings.items() if common.get(key) != value)


def _details(name: str, variant: Variant) -> list[Table]:
    from training.settings import describe_settings

    kinds: dict[str, Any] = {"Settings with --window": variant.windowed.settings} if variant.windowed else {}
    if variant.settings not in kinds.values():
        kinds = {"Settings": variant.settings} | kinds
    tables = [output.facts_table(name, [("does", variant.summary), ("choose it", variant.choose_when), ("paper", variant.paper)])]
    for title, kind in kinds.items():
        lines = [
            (key, _text(setting.default), f"{setting.meaning}\ntakes {setting.takes}")
            for key, setting in describe_settings(kind).items()
        ]
        tables.append(output.table(title, ("--set", "default", "meaning"), lines))
    return tables


def _text(value: object) -> str:
    """Return a value as `--set` takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
