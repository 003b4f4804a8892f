"""Versions: of the distribution, and of the language both sides speak."""

from typing import Final

__version__ = "0.1.0"
"""The distribution's version (semantic versioning)."""

LEYLINE_VERSION: Final = "1.0"
"""Version of the wire, sent in the header ``Tamiyo-Leyline`` both ways; the same major is compatible."""
