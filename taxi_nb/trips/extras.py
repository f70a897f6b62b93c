"""Packages that only some uses need come with an extra; where one is missing its name is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

EXTRA_OF = {
    **dict.fromkeys(("hyperopt", "pandera", "pooch", "seaborn", "xgboost"), "taxi"),
    "fastparquet": "fastparquet",
}
"""Package, as it is imported -> the extra that brings it, where only importing it finds out."""


def how_to_install(package: str) -> str | None:
    """Return what is missing and the command that installs it; None for what no extra brings.

    >>> how_to_install("hyperopt")
    "hyperopt is not installed, the extra `taxi` brings it: pip install 'taxi-nb[taxi]'"
    """
    package = package.partition(".")[0]
    extra = EXTRA_OF.get(package)
    if extra is None:
        return None
    remedy = f"pip install 'taxi-nb[{extra}]'"
    return f"{package} is not installed, the extra `{extra}` brings it: {remedy}"


@contextmanager
def extras_named() -> Iterator[None]:
    """Say which extra is missing where a block imports what is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        message = how_to_install(error.name or "")
        if message is None:
            raise
        raise ModuleNotFoundError(message, name=error.name) from None
