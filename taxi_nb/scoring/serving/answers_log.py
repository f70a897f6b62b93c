"""What was answered, kept until the durations of the trips are known.

A Parquet file of each minute with answers, in ``runs/serving/<run>/``, written whole: a kill loses
the answers of the minute that is not written yet, and none of the others.
"""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taxi_nb.project import private_folder, write_whole
from taxi_nb.scoring._month_records import AT_PICKUP

if TYPE_CHECKING:
    import pandas as pd

    from taxi_nb.scoring.serving._requests import RequestedTrips
    from taxi_nb.scoring.serving._served_model import Predictions, ServedModel

FOLDER = "serving"
# Beyond them the oldest are forgotten: the disk has been full for long.
_MOST_WAITING = 1_000_000
_COLUMNS = ("at", "request", "row", "model", "version", "role", "answered", "minutes", *AT_PICKUP)


class AnswersLog:
    """Answers on their way to files; adding one never waits for the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = private_folder(folder)
        self.lost = 0
        self._numbers, self._files = itertools.count(1), itertools.count(1)
        self._lock = threading.Lock()
        self._waiting: list[tuple[Any, ...]] = []

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
        at = datetime.now(UTC).replace(tzinfo=None)
        told = (model.name, model.version, role, answered)
        rows = [
            (at, request, number, *told, float(minutes), *trip)
            for number, (trip, minutes) in enumerate(zip(trips.rows, found.minutes, strict=True))
        ]
        with self._lock:
            self._waiting += rows
            if (over := len(self._waiting) - _MOST_WAITING) > 0:
                del self._waiting[:over]
                self.lost += over

    def write(self) -> None:
        """Write what waits; OSError if that is not possible, and it goes on waiting."""
        import pandas as pd

        with self._lock:
            rows, self._waiting = self._waiting, []
        if not rows:
            return
        frame = pd.DataFrame(rows, columns=list(_COLUMNS))
        for name in ("at", "pickup_datetime"):
            frame[name] = frame[name].astype("datetime64[us]")
        for name in ("PULocationID", "DOLocationID"):
            frame[name] = frame[name].astype("Int64")
        frame["trip_distance"] = frame["trip_distance"].astype("float64")
        content = io.BytesIO()
        frame.to_parquet(content, index=False)
        try:
            write_whole(self.folder / f"answers-{next(self._files):06}.parquet", content.getvalue())
        except OSError:
            with self._lock:
                self._waiting = rows + self._waiting
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
