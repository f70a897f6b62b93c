"""What a server counts of itself, as metrics of a run in MLflow."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from taxi_nb.trips.errors import one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from taxi_nb.scoring.serving.application import Answers
    from taxi_nb.scoring.serving.models_in_use import ModelsInUse

SECONDS = 60.0


class Minutely:
    """Writes what a server has counted and answered once a minute, never in a request's way.

    What cannot be written is said once; the server goes on.
    """

    def __init__(
        self, answers: Answers, client: MlflowClient, run_id: str, say: Callable[[str], None]
    ) -> None:
        self._answers, self._client, self._run_id, self._say = answers, client, run_id, say
        self._ended = threading.Event()
        self._said: dict[str, str] = {}
        self._versions: list[str] = []

    def go_on(self) -> None:
        """Write until `end`, in a thread of its own, and once more then."""
        while not self._ended.wait(SECONDS):
            self.write()
        self.write()

    def end(self) -> None:
        """Write a last time and no more."""
        self._ended.set()

    def write(self) -> None:
        """Write what there is."""
        if log := self._answers.log:
            self._try("answers cannot be kept", log.write)
        self._try("the server's run cannot be written", self._metrics)

    def _metrics(self) -> None:
        from mlflow.entities import Metric

        if (version := self._answers.models.champion.version) not in self._versions:
            self._versions.append(version)
            self._client.set_tag(self._run_id, "serving.versions", ", ".join(self._versions))
        now = int(time.time() * 1000)
        found = self._answers.meters.since_last()
        metrics = [Metric(name, value, now, 0) for name, value in found.items()]
        if metrics:
            self._client.log_batch(self._run_id, metrics)

    def _try(self, what: str, write: Callable[[], None]) -> None:
        try:
            write()
        except Exception as error:  # Whatever a disk or a store may say.
            reason = one_line(error)
            if self._said.get(what) != reason:
                self._say(f"{what}: {reason}; requests are answered all the same")
            self._said[what] = reason
        else:
            self._said.pop(what, None)


@asynccontextmanager
async def threads(*loops: ModelsInUse | Minutely) -> AsyncIterator[None]:
    """Let loops run in threads of their own, and end them in order."""
    works = {loop: threading.Thread(target=loop.go_on, daemon=True) for loop in loops}
    for work in works.values():
        work.start()
    try:
        yield
    finally:
        for loop, work in works.items():
            loop.end()
            await asyncio.to_thread(work.join, 10)
