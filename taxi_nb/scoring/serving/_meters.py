"""What a server counts of itself, for Prometheus and for MLflow."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from taxi_nb.evaluation.drift import Shift
from taxi_nb.scoring.serving._last_hour import LastHour
from taxi_nb.scoring.serving._served_model import ServedModel
from taxi_nb.scoring.serving.models_in_use import ModelsInUse

if TYPE_CHECKING:
    import pandas as pd

    from taxi_nb.scoring.serving._served_model import Minutes

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 30)
# Of so many requests since the last look the quantiles are exact; of more, of the last ones.
_REMEMBERED = 100_000


class Meters:
    """Counts of requests, seconds, errors, trips out of range; drift of the last hour."""

    def __init__(self, models: ModelsInUse) -> None:
        self._models = models
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "taxi_nb_requests",
            "Requests for predictions, by status.",
            ("code",),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "taxi_nb_request_seconds",
            "From a request to its answer.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._trips = Counter(
            "taxi_nb_trips",
            "Trips that were predicted.",
            ("version", "role"),
            registry=self.registry,
        )
        self._outside = Counter(
            "taxi_nb_trips_out_of_range",
            "Trips with a value that no trip had which the model learned from.",
            ("column",),
            registry=self.registry,
        )
        self._model = Gauge(
            "taxi_nb_model",
            "1 for the models in use.",
            ("name", "version", "run_id", "commit", "role"),
            registry=self.registry,
        )
        self.shadows_failed = Counter(
            "taxi_nb_shadows_failed",
            "Requests that a shadow could not predict.",
            registry=self.registry,
        )
        self._failures = Gauge(
            "taxi_nb_model_load_failures",
            "How often another model could not be loaded, since the start.",
            registry=self.registry,
        )
        self._drift = Gauge(
            "taxi_nb_psi",
            "Population stability index of the last hour against the model's reference.",
            ("feature",),
            registry=self.registry,
        )
        self._chance = Gauge(
            "taxi_nb_psi_by_chance",
            "The index stays below this, 999 times of 1,000, if nothing has changed.",
            ("feature",),
            registry=self.registry,
        )
        self._lock = threading.Lock()
        self._recent: deque[float] = deque(maxlen=_REMEMBERED)
        # Since the last time that they were written.
        self._counts = dict.fromkeys(("requests", "requests_refused", "requests_failed"), 0)
        self._hour: tuple[ServedModel, LastHour] | None = None

    def answered(self, code: int, seconds: float) -> None:
        """Count a request and how long it took."""
        self._requests.labels(str(code)).inc()
        self._seconds.observe(seconds)
        with self._lock:
            self._recent.append(seconds)
            self._counts["requests"] += 1
            self._counts["requests_refused"] += 400 <= code < 500
            self._counts["requests_failed"] += code >= 500

    def predicted(
        self, model: ServedModel, role: str, trips: pd.DataFrame, minutes: Minutes
    ) -> None:
        """Count trips that a model has predicted."""
        self._trips.labels(model.version, role).inc(len(minutes))
        if role != "champion" or model.reference is None:
            return
        for column, outside in model.reference.out_of_range(trips).items():
            self._outside.labels(column).inc(outside)
        if self._hour is None or self._hour[0] is not model:
            self._hour = (model, LastHour(model.reference))
        self._hour[1].add(trips, minutes)

    def shown(self) -> bytes:
        """Return everything in Prometheus's text form."""
        models = {"champion": self._models.champion, "challenger": self._models.challenger}
        self._model.clear()
        for role, model in models.items():
            if model:
                self._model.labels(model.name, model.version, model.run_id, model.commit, role).set(
                    1
                )
        self._failures.set(self._models.failures)
        self._drift.clear()
        self._chance.clear()
        for name, shift in self._shifts().items():
            self._drift.labels(name).set(shift.index)
            self._chance.labels(name).set(shift.by_chance)
        return generate_latest(self.registry)

    def since_last(self) -> dict[str, float]:
        """Return what is not `written` yet, as metrics of a run; nothing without requests.

        Seconds are those of p50 and p99, requests are counts.
        """
        with self._lock:
            seconds, counts = list(self._recent), dict(self._counts)
        if not seconds:
            return {}
        middle, slow = np.quantile(seconds, [0.5, 0.99])
        return {
            **counts,
            "request_seconds_p50": float(middle),
            "request_seconds_p99": float(slow),
            **{f"psi_{name}": shift.index for name, shift in self._shifts().items()},
        }

    def written(self, metrics: Mapping[str, float]) -> None:
        """Forget what has been written; what could not be is in the next `since_last`."""
        with self._lock:
            for name in self._counts:
                self._counts[name] -= int(metrics[name])
            while len(self._recent) > self._counts["requests"]:
                self._recent.popleft()

    def _shifts(self) -> dict[str, Shift]:
        return self._hour[1].shifts() if self._hour else {}
