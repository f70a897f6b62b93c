"""How code that a notebook calls says what it uses; a pipeline step listens, nothing else has to.

What Python itself opens is heard without this. These functions are for what Python cannot
know: which month a file is, a file that a C++ reader opens, a variable, a run. They raise audit
events (PEP 578), which cost next to nothing and go nowhere in JupyterLab or a script.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from taxi_nb.secrets.addresses import variable_without_credentials

__all__ = ["not_inputs", "used_data", "used_runs", "used_variable"]


def used_data(name: str, location: str, sha256: str) -> None:
    """Say that data were read.

    Parameters
    ----------
    name : str
        What people call them: ``green 2021-02``.
    location : str
        A path, or a URL that fsspec reads; without credentials.
    sha256 : str
        Digest of the content that was read.
    """
    sys.audit("taxi_nb.used_data", name, location, sha256)


def used_variable(name: str) -> None:
    """Say that an environment variable was asked for, be it set or not."""
    sys.audit("taxi_nb.used_variable", name, variable_without_credentials(name))


def used_runs(kind: str | None, used: Mapping[str, str]) -> None:
    """Say that runs of the steps before this one were asked for.

    Parameters
    ----------
    kind : str or None
        Only runs of this kind were asked for; ``None``: any.
    used : mapping
        Step name -> id of the runs that were chosen of them.
    """
    sys.audit("taxi_nb.used_runs", kind, dict(used))


@contextmanager
def not_inputs() -> Iterator[None]:
    """Read files that no result depends on, such as code that is copied along with a model."""
    sys.audit("taxi_nb.pause")
    try:
        yield
    finally:
        sys.audit("taxi_nb.resume")
