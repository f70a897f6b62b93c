"""What was answered, kept until the durations of the trips are known.

A Parquet file of each minute with answers, in ``runs/serving/<run>/``, written whole: a kill loses
the answers of the minute that is not written yet, and none of the others.
"""

from __future__ import annotations

import io
import itertools
import threading
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from taxi_nb.project import private_folder, write_whole
from taxi_nb.scoring._month_records import AT_PICKUP

if TYPE_CHECKING:
    import pandas as pd

    from taxi_nb.scoring.serving._requests import RequestedTrips
    from taxi_nb.scoring.serving._served_model import Predictions, ServedModel

FOLDER = "serving"
# Beyond them the oldest are forgotten: the disk has been full for long.
_MOST_WAITING = 1_000_000
_TYPES = dict.fromkeys(("PULocationID", "DOLocationID"), "Int64")
_TYPES |= {"at": "datetime64[us]", "pickup_datetime": "datetime64[us]"}
_TYPES |= {"trip_distance": "float64"}
_COLUMNS = ("at", "request", "row", "model", "version", "role", "answered", "minutes", *AT_PICKUP)


class AnswersLog:
    """Answers on their way to files; adding one never waits for the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = private_folder(folder)
        self.lost = 0
        self._numbers, self._files = itertools.count(1), itertools.count(1)
        self._lock = threading.Lock()
        self._waiting: deque[dict[str, Any]] = deque()
        self._rows = 0

    def number(self) -> int:
        """Return the number of a new request."""
        return next(self._numbers)

    def add(
        self,
        request: int,
        model: ServedModel,
        role: str,
        trips: RequestedTrips,
        found: Predictions,
        *,
        answered: bool,
    ) -> None:
        """Keep what a model said of the trips of a request, `answered` or only thought."""
        told = {"model": model.name, "version": model.version, "role": role, "answered": answered}
        part = {
            "at": np.full(trips.count, np.datetime64(datetime.now(UTC).replace(tzinfo=None))),
            "request": np.full(trips.count, request),
            "row": np.arange(trips.count),
            **{name: np.full(trips.count, value) for name, value in told.items()},
            "minutes": found.minutes,
            **trips.columns,
        }
        with self._lock:
            self._waiting.append(part)
            self._rows += trips.count
            while self._rows > _MOST_WAITING:
                forgotten = len(self._waiting.popleft()["row"])
                self._rows -= forgotten
                self.lost += forgotten

    def write(self) -> None:
        """Write what waits; OSError if that is not possible, and it goes on waiting."""
        import pandas as pd

        with self._lock:
            parts, self._waiting, self._rows = self._waiting, deque(), 0
        if not parts:
            return
        frame = pd.concat(map(pd.DataFrame, parts), ignore_index=True)
        content = io.BytesIO()
        frame.reindex(columns=list(_COLUMNS)).astype(_TYPES).to_parquet(content, index=False)
        try:
            write_whole(self.folder / f"answers-{next(self._files):06}.parquet", content.getvalue())
        except OSError:
            with self._lock:
                self._waiting.extendleft(reversed(parts))
                self._rows += len(frame)
            raise


def read_answers(runs: Path, name: str) -> pd.DataFrame:
    """Return all answers for a registered model that are kept below ``runs/``, oldest first.

    The columns are ``at`` (UTC), ``run``, ``request``, ``row``, ``model``, ``version``, ``role``,
    ``answered``, ``minutes`` and those of a trip at pick-up. LookupError if there are none.
    """
    import pandas as pd

    parts = [
        part.assign(run=file.parent.name)
        for file in _files(runs)
        if len(part := pd.read_parquet(file, filters=[("model", "==", name)]))
    ]
    if not parts:
        raise LookupError(
            f"no answers for {name} are kept in {runs / FOLDER}: `taxi-nb serve --challenger 20%` "
            "keeps them"
        )
    return pd.concat(parts, ignore_index=True)


def _files(runs: Path) -> Iterator[Path]:
    yield from sorted((runs / FOLDER).glob("*/answers-*.parquet"))
