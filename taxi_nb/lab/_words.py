"""What a magic says to a person who asked it for what cannot be."""

from __future__ import annotations


def usage(message: str) -> Exception:
    """Return an error that IPython shows as one line, without a traceback."""
    from IPython.core.error import UsageError

    return UsageError(message)
