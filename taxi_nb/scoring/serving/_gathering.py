"""Requests that wait at the same time are predicted together.

A prediction of one trip costs nearly what one of a hundred costs. So those that come while the
model is busy wait for each other, and none waits for a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from taxi_nb.scoring.serving._requests import MOST_TRIPS, RequestedTrips
from taxi_nb.scoring.serving._served_model import Predictions, ServedModel

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    # Told of what was predicted: the model, its role, the trips and what it said of them.
    Heard = Callable[[ServedModel, str, pd.DataFrame, Predictions], None]


@dataclass
class _Waiting:
    model: ServedModel
    role: str
    trips: RequestedTrips
    answer: asyncio.Future[Predictions] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Gathering:
    """Where requests wait for the one thread that predicts."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._waiting: deque[_Waiting] = deque()
        self._working: asyncio.Task[None] | None = None

    async def predict(self, model: ServedModel, role: str, trips: RequestedTrips) -> Predictions:
        """Return the predictions of some trips; `ModelError` if the model has none."""
        one = _Waiting(model, role, trips)
        self._waiting.append(one)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await one.answer

    async def _work(self) -> None:
        while self._waiting:
            await self._settle(self._next())

    async def _settle(self, together: list[_Waiting]) -> None:
        try:
            found = await asyncio.to_thread(self._predict, together)
        except Exception as error:
            if len(together) == 1:
                _answer(together[0], error)
                return
            for one in together:  # One of them may be the reason.
                await self._settle([one])
            return
        for one, answer in zip(together, found, strict=True):
            _answer(one, answer)

    def _next(self) -> list[_Waiting]:
        """Take those at the front that one table can hold."""
        together = [self._waiting.popleft()]
        first, rows = together[0], together[0].trips.count
        asked = (first.model, first.role, first.trips.columns.keys())
        while self._waiting:
            one = self._waiting[0]
            rows += one.trips.count
            alike = (one.model, one.role, one.trips.columns.keys()) == asked
            if not alike or rows > MOST_TRIPS:
                break
            together.append(self._waiting.popleft())
        return together

    def _predict(self, together: list[_Waiting]) -> list[Predictions]:
        trips = RequestedTrips.together([one.trips for one in together]).frame()
        found = together[0].model.predict(trips)
        self._heard(together[0].model, together[0].role, trips, found)
        parts, first = [], 0
        for one in together:
            last = first + one.trips.count
            parts.append(found.part(slice(first, last)))
            first = last
        return parts


def _answer(one: _Waiting, answer: Predictions | Exception) -> None:
    if one.answer.done():  # Whoever asked has gone.
        return
    if isinstance(answer, Exception):
        one.answer.set_exception(answer)
    else:
        one.answer.set_result(answer)
