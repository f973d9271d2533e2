"""The project's version, read by pyproject.toml and `residuum.__version__`."""

from typing import Final

__version__: Final = "0.1.0"
