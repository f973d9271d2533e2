"""The one place that states Residuum's version: pyproject.toml and `residuum.__version__` read it here."""

from typing import Final

__version__: Final = "0.1.0.dev0"
