"""What a server counts of itself, as metrics of a run in MLflow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from taxi_nb.scoring.serving.application import Answers

# How often it is written, never in a request's way.
SECONDS = 60.0


class ServerRun:
    """A server's run in MLflow."""

    def __init__(self, answers: Answers, client: MlflowClient, run_id: str) -> None:
        self._answers, self._client, self._run_id = answers, client, run_id
        self._versions: list[str] = []

    def write(self) -> None:
        """Write what was counted since the last time."""
        from mlflow.entities import Metric

        if (version := self._answers.models.champion.version) not in self._versions:
            self._versions.append(version)
            self._client.set_tag(self._run_id, "serving.versions", ", ".join(self._versions))
        now = int(time.time() * 1000)
        found = self._answers.meters.since_last()
        metrics = [Metric(name, value, now, 0) for name, value in found.items()]
        if metrics:
            self._client.log_batch(self._run_id, metrics)
            self._answers.meters.written(found)
