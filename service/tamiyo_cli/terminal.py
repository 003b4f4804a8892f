"""Text of others on the operator's terminal: shown as it is, never obeyed."""

from __future__ import annotations

from rich.text import Text


def plain(text: str) -> Text:
    """`text` without markup and without control characters, which could move the cursor or recolour lines."""
    return Text(harmless(text))


def harmless(text: str) -> str:
    """`text` with every control character but the line break replaced by U+FFFD."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
