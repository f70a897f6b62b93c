"""Lines that fit a terminal; where nobody looks at one they stay whole."""

from __future__ import annotations

import shutil
import sys
import textwrap

_LABEL = 10


def width() -> int | None:
    """Return how many characters a line of the terminal has; None without one."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def cut(line: str) -> str:
    """Return a line, cut where the terminal's ends."""
    most = width()
    return line if most is None or len(line) <= most else f"{line[: most - 1]}…"


def fact(label: str, text: str) -> str:
    """Return a fact with its label; what is longer than a line goes on below, between words."""
    begins, most = f"{label}:".ljust(_LABEL), width()
    if most is None:
        return begins + text
    return textwrap.fill(
        text,
        most,
        initial_indent=begins,
        subsequent_indent=" " * _LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )
