"""What a reviewer of a run looks at, as one digest, and the decisions that its page shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from taxi_nb.pipeline.record import RUN_FILE, RunRecord
from taxi_nb.plain_data import from_plain, to_json
from taxi_nb.project import file_inside, read_regular, write_whole
from taxi_nb.tracking.run_reviews import RunReview

# No step's file has such a name.
_FILE = ".reviews.json"


def reviewed_digest(folder: Path, record: RunRecord) -> str:
    """Return a digest of a run's record and executed notebooks; one that is gone counts, too."""
    found = hashlib.sha256(read_regular(folder / RUN_FILE))
    for name in sorted({step.executed_notebook for step in record.steps if step.executed_notebook}):
        found.update(f"\n{name} ".encode())
        try:
            found.update(hashlib.sha256(read_regular(file_inside(folder, name))).digest())
        except OSError:
            found.update(b"gone")
    return found.hexdigest()


def keep_reviews(folder: Path, reviews: Sequence[RunReview]) -> None:
    """Keep decisions for a run's page; the store has them for good."""
    write_whole(folder / _FILE, to_json(list(reviews), indent=1))


def kept_reviews(folder: Path) -> tuple[RunReview, ...]:
    """Return the decisions that the page of a run shows."""
    try:
        known = json.loads(read_regular(folder / _FILE))
    except FileNotFoundError:
        return ()
    return tuple(from_plain(RunReview, one) for one in known)
