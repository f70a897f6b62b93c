"""Audit events (PEP 578) by which code that a notebook calls reports its inputs to a step.

Files that Python itself opens need no report. These functions are for the rest: the name of
data, a file that a C++ reader opens, a variable, a run. Nobody listens in JupyterLab or a script.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from taxi_nb.secrets.addresses import variable_without_credentials


def used_data(name: str, location: str, sha256: str, content: str | None = None) -> None:
    """Report data, such as ``green 2021-02``, at a path or at a URL without credentials.

    `sha256` is of the file; `content` is a digest of what was made of it, if there is one: the
    same where another file holds the same.
    """
    sys.audit("taxi_nb.used_data", name, location, sha256, content)


def used_variable(name: str) -> None:
    """Report an environment variable that was asked for, be it set or not."""
    sys.audit("taxi_nb.used_variable", name, variable_without_credentials(name))


def used_runs(kind: str | None, used: Mapping[str, str]) -> None:
    """Report a search for runs of a kind, or any, and those that were used: step -> run id."""
    sys.audit("taxi_nb.used_runs", kind, dict(used))


@contextmanager
def not_inputs() -> Iterator[None]:
    """Read files that no result depends on, such as code that is copied along with a model."""
    sys.audit("taxi_nb.pause")
    try:
        yield
    finally:
        sys.audit("taxi_nb.resume")
