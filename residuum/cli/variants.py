"""`residuum variants`: which autoencoders there are, when to choose which, and what can be set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from residuum.cli import output
from residuum.cli.options import FORMAT

if TYPE_CHECKING:
    from rich.table import Table

    from training.variants import Variant


def variants(
    name: Annotated[str | None, typer.Argument(help="A variant, for all of its settings.", show_default=False)] = None,
    *,
    format: FORMAT = "text",  # noqa: A002 - the option's name
) -> None:
    """List the autoencoders: what each does, when to choose it, its paper, what can be set."""
    from training.variants import VARIANTS, named

    if format == "json":
        described = {each: _facts(each, variant) for each, variant in VARIANTS.items()}
        output.print_json(described[name] if name and named(name) else list(described.values()))
    elif name:
        output.print_tables(*_details(name, named(name)))
    else:
        output.print_tables(_overview(VARIANTS))
        output.print_facts(
            [
                ("settings", "residuum variants sparse"),
                ("to set one", "residuum train --variant sparse --set driver=top-k ..."),
            ]
        )


def _facts(name: str, variant: Variant) -> dict[str, Any]:
    """Give everything for a program."""
    from training.settings import describe_settings

    windowed = variant.windowed
    return {
        "name": name,
        "summary": variant.summary,
        "choose_when": variant.choose_when,
        "paper": variant.paper,
        "settings": {key: each._asdict() for key, each in describe_settings(variant.settings).items()},
        "settings_of_windows": {key: each._asdict() for key, each in describe_settings(windowed.settings).items()}
        if windowed
        else {},
    }


def _overview(table: dict[str, Variant]) -> Table:
    """Give a line for each variant."""
    lines = [
        (name, f"{variant.summary}\nchoose it {variant.choose_when}\n{variant.paper}\n", _own(variant))
        for name, variant in table.items()
    ]
    return output.table("Variants", ("variant", "what it does", "settings of its own"), lines)


def _own(variant: Variant) -> str:
    """List the settings that plain autoencoders lack or have by another default."""
    from training.settings import PointSettings, WindowSettings, as_plain

    usual = as_plain(WindowSettings() if issubclass(variant.settings, WindowSettings) else PointSettings())
    return "\n".join(f"{key}={_text(value)}" for key, value in as_plain(variant.settings()).items() if usual.get(key) != value)


def _details(name: str, variant: Variant) -> list[Table]:
    """Lay one variant out."""
    from training.settings import describe_settings

    kinds: dict[str, Any] = {"Settings with --window": variant.windowed.settings} if variant.windowed else {}
    if variant.settings not in kinds.values():
        kinds = {"Settings": variant.settings} | kinds
    lines = {
        title: [
            (key, _text(each.default), f"{each.meaning}\ntakes {each.takes}") for key, each in describe_settings(kind).items()
        ]
        for title, kind in kinds.items()
    }
    return [
        output.facts(name, [("does", variant.summary), ("choose it", variant.choose_when), ("paper", variant.paper)]),
        *(output.table(title, ("--set", "default", "meaning"), some) for title, some in lines.items()),
    ]


def _text(value: object) -> str:
    """Write a value as `--set` takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
