"""The trips that were asked about in the last hour, held against what a model has to expect."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from taxi_nb.evaluation.drift import Counts, DriftReference, Shift

_MINUTES = 60


class LastHour:
    """Counts by the minute, in the bins of a reference; old minutes are forgotten.

    Its memory does not grow with the number of trips.
    """

    def __init__(
        self, reference: DriftReference, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._reference, self._seconds = reference, seconds
        self._lock = threading.Lock()
        self._counted: deque[tuple[int, Counts]] = deque()

    def add(self, trips: pd.DataFrame, predicted: npt.NDArray[np.float64]) -> None:
        """Count some trips, as they were asked about."""
        found = self._reference.counts(trips, predicted)
        with self._lock:
            now = self._forget()
            if self._counted and self._counted[-1][0] == now:
                _add(self._counted[-1][1], found)
            else:
                self._counted.append((now, found))

    def shifts(self) -> dict[str, Shift]:
        """Return the shift of each feature and of the predictions; nothing of no trips."""
        together: Counts = {}
        with self._lock:
            self._forget()
            for _, counts in self._counted:
                _add(together, counts)
        return self._reference.shifts(together)

    def _forget(self) -> int:
        """Forget what is older than an hour; return the present minute."""
        now = int(self._seconds() // 60)
        while self._counted and self._counted[0][0] <= now - _MINUTES:
            self._counted.popleft()
        return now


def _add(to: Counts, counts: Counts) -> None:
    for name, found in counts.items():
        to[name] = to[name] + found if name in to else found
