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
    """A file that a step read."""

    # sha256 of its content; None: it was looked for and not there.
    digest: str | None
    # As the code that read it calls it.
    name: str | None = None
    # Of a remote file: what its server says of its version.
    stamp: str | None = None
    # Of data: the digest of what was made of the file, the same for another file with the same;
    # None where the code that read it did not say, as before there were such digests.
    content: str | None = None


@dataclass(frozen=True)
class AskedRuns:
    """Upstream runs that a step asked for: all of a kind (None: of any), and those it chose."""

    kind: str | None
    used: Mapping[str, str]


@dataclass(frozen=True)
class Inputs:
    """All that decides whether a step's results hold; paths in the project are relative to it."""

    step: str
    notebook: str
    # Number of a code cell -> digest.
    cells: Mapping[str, str]
    parameters: Mapping[str, Any]
    store: str
    # Empty where nothing but a folder names it: that of another checkout may have another name.
    experiment: str
    # Path -> definition -> digest, of code that was imported.
    modules: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    files: Mapping[str, UsedFile] = field(default_factory=dict)
    folders: Mapping[str, str | None] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str | None] = field(default_factory=dict)
    # Step -> run id: the runs that it could have asked for.
    upstream: Mapping[str, str] = field(default_factory=dict)
    asked: tuple[AskedRuns, ...] = ()
    # Path -> digest of the files that it wrote.
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """A digest of the part that is known before the step runs."""
        cells = list(self.cells.values())
        known = [self.step, self.notebook, cells, self.parameters, self.store, self.experiment]
        return digest(json.dumps(known, sort_keys=True))

    @property
    def shared_key(self) -> str:
        """The same on every machine: a store has several addresses, a run in it one id."""
        cells = list(self.cells.values())
        known = [self.step, self.notebook, cells, self.parameters, self.experiment]
        return digest(json.dumps(known, sort_keys=True))
