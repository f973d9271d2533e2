"""`residuum.variants`: the autoencoder variants and their settings, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.settings import VariantSettings
    from training.variants import Variant


def variants() -> dict[str, dict[str, Any]]:
    """Return the variants that `train` can use, as `residuum variants --format json` lists them.

    Returns:
        For each name a dictionary: `name`, `summary`, `choose_when` and `paper` are texts; `settings`, and `settings_of_windows`
        for series, hold for each setting its `default`, `meaning` and what it `takes`.

    Raises:
        ImportError: the extra `train` is not installed.

    Example:
        >>> import residuum
        >>> residuum.variants()["sparse"]["settings"]["latent"]["takes"]
        'a whole number from 0 up to 4,096'
    """
    from training.variants import VARIANTS

    return {name: describe_variant(name, variant) for name, variant in VARIANTS.items()}


def describe_variant(name: str, variant: Variant) -> dict[str, Any]:
    """Return a variant as plain data."""
    return {
        "name": name,
        "summary": variant.summary,
        "choose_when": variant.choose_when,
        "paper": variant.paper,
        "settings": _settings_as_dict(variant.settings),
        "settings_of_windows": _settings_as_dict(variant.windowed.settings) if variant.windowed else {},
    }


def _settings_as_dict(settings: type[VariantSettings]) -> dict[str, Any]:
    from training.settings import describe_settings

    return {key: setting._asdict() for key, setting in describe_settings(settings).items()}
