"""What somebody probably meant by a name that is none."""

from __future__ import annotations

from collections.abc import Iterable


def close_to(name: object, known: Iterable[str]) -> str:
    """Return a hint at the known name that was probably meant; nothing where none is near.

    >>> close_to("xgbost", ["linear", "xgboost"])
    "; did you mean 'xgboost'?"
    """
    from difflib import get_close_matches

    close = get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
