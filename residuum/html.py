"""The HTML representation of a detector in notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from residuum import describe

if TYPE_CHECKING:
    from detector.manifest import Manifest

STYLE = "border:1px solid color-mix(in srgb, currentColor 25%, transparent);border-radius:6px;padding:.7em 1em;max-width:46em"
CELL = "text-align:left;vertical-align:top;padding:.1em .8em .1em 0"


def card(manifest: Manifest) -> str:
    """Return a card that describes a detector: self-contained HTML without scripts, every value escaped."""
    rows, decision = manifest.training.rows, manifest.decision
    facts = {
        "variant": manifest.variant,
        "columns": "" if manifest.image else describe.columns(manifest),
        "images": describe.image(manifest.image) if manifest.image else "",
        "windows": describe.window(manifest.window) if manifest.window else "",
        "rows": describe.split(manifest),
        "rejected": f"{rows.rejected:,}" if rows.rejected else "",
        "threshold": f"{decision.threshold:.4g} {manifest.score.unit} ({manifest.score.name})",
        "promise": describe.promise(manifest),
        "classes": describe.join_names(manifest.classes),
        "created": manifest.created,
    }
    lines = "".join(
        f'<tr><th scope="row" style="{CELL};opacity:.7;font-weight:normal">{escape(label)}</th>'
        f'<td style="{CELL}">{escape(text)}</td></tr>'
        for label, text in facts.items()
        if text
    )
    title = escape(f"{manifest.name}, version {manifest.version}" if manifest.version else describe.version(manifest))
    return f'<div style="{STYLE}"><strong>Detector {title}</strong><table style="border-collapse:collapse">{lines}</table></div>'
