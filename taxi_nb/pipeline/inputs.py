"""The inputs of a step: code, parameters, modules, files, packages and upstream runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from taxi_nb.pipeline._code_digest import digest

# Stands for the digest of a file that changed between its use and the step's end: equal to none.
CHANGED_MEANWHILE = "changed while it was used"


@dataclass(frozen=True)
class UsedFile:
    """A file that a step read.

    Attributes
    ----------
    digest : str or None
        sha256 of its content; None: it was looked for and not there.
    name : str or None
        What the code that read it calls it.
    stamp : str or None
        Of a remote file: what its server says of its version.
    """

    digest: str | None
    name: str | None = None
    stamp: str | None = None


@dataclass(frozen=True)
class AskedRuns:
    """Upstream runs that a step asked for: all of a kind (None: of any), and those it chose."""

    kind: str | None
    used: Mapping[str, str]


@dataclass(frozen=True)
class Inputs:
    """Everything that decides whether a step's results still hold.

    Paths are relative to the project where they are inside.

    Attributes
    ----------
    cells : mapping
        Number of a code cell -> digest.
    modules : mapping
        Path -> definition -> digest, of code that was imported.
    upstream : mapping
        Step -> run id: the runs that it could have asked for.
    outputs : mapping
        Path -> digest of the files that it wrote.
    """

    step: str
    notebook: str
    cells: Mapping[str, str]
    parameters: Mapping[str, Any]
    store: str
    experiment: str
    modules: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    files: Mapping[str, UsedFile] = field(default_factory=dict)
    folders: Mapping[str, str | None] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str | None] = field(default_factory=dict)
    upstream: Mapping[str, str] = field(default_factory=dict)
    asked: tuple[AskedRuns, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """A digest of the part that is known before the step runs."""
        cells = list(self.cells.values())
        known = [self.step, self.notebook, cells, self.parameters, self.store, self.experiment]
        return digest(json.dumps(known, sort_keys=True))
