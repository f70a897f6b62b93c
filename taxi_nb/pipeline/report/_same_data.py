"""Whether a step of two runs is known to have used the same data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taxi_nb.pipeline.report.past import RunOnDisk

# Of a file that a step read: the name or the path -> digests of what was made of it, and of it.
_Read = dict[str, tuple[str | None, str]]


def on_same_data(step: str, before: RunOnDisk, after: RunOnDisk) -> bool:
    """Whether a step, and all that it builds on, read the same files; False if nobody noted it."""
    some = False
    for name in after.with_needs(step):
        former = before.steps.get(name)
        if former is None or former.data_source != after.steps[name].data_source:
            return False
        old, new = _read(before.inputs.get(name)), _read(after.inputs.get(name))
        if old is None or new is None or not _alike(old, new):
            return False
        some = some or bool(new)
    return some


def _read(inputs: Mapping[str, Any] | None) -> _Read | None:
    files = (inputs or {}).get("files")
    if not isinstance(files, dict) or not all(isinstance(one, dict) for one in files.values()):
        return None
    return {
        str(one.get("name") or path): (one.get("content"), str(one["digest"]))
        for path, one in files.items()
        if one.get("digest")  # One without was looked for, and not there.
    }


def _alike(old: _Read, new: _Read) -> bool:
    if set(old) != set(new):
        return False
    # What was made of a file decides, where both know it.
    both = ((old[name], new[name]) for name in new)
    return all(a[0] == b[0] if a[0] and b[0] else a[1] == b[1] for a, b in both)
