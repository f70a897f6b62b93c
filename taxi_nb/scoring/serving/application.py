"""What answers requests: at the places where `mlflow models serve` does, and in its words."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlflow.version import VERSION
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from taxi_nb.scoring.scored_model import ModelError
from taxi_nb.scoring.serving._gathering import Gathering
from taxi_nb.scoring.serving._meters import Meters
from taxi_nb.scoring.serving._requests import (
    MOST_BYTES,
    RequestedTrips,
    RequestError,
    requested_trips,
)
from taxi_nb.scoring.serving._served_model import Predictions, ServedModel
from taxi_nb.scoring.serving.answers_log import AnswersLog
from taxi_nb.scoring.serving.models_in_use import ModelsInUse

if TYPE_CHECKING:
    import pandas as pd
    from starlette.requests import Request

# Of one request.
_SECONDS = 30
# A body above this is read in a thread, so that nobody waits for it.
_LARGE_BYTES = 16 << 10
# More trips that only the challenger shall see are let go.
_MOST_SHADOWS = 100


@dataclass(frozen=True)
class Challenge:
    """Which requests the challenger sees, and whether it answers them."""

    share: float  # Of all requests, 0 to 1.
    shadow: bool = False  # It only says to us what it would have answered.

    def takes(self, body: bytes) -> bool:
        """Whether a request is the challenger's; the same request always is, or never."""
        number = int.from_bytes(hashlib.blake2b(body, digest_size=8).digest(), "big")
        return number < self.share * 2**64


class Answers:
    """Requests, from their bytes to an answer."""

    def __init__(
        self,
        models: ModelsInUse,
        challenge: Challenge | None = None,
        log: AnswersLog | None = None,
    ) -> None:
        self.models, self.challenge, self.log = models, challenge, log
        self.meters = Meters(models)
        self._gathering = Gathering(self._heard)
        self._shadows: set[asyncio.Task[None]] = set()

    def application(self, *around: Any) -> Starlette:
        """Return the application; `around` are asynchronous contexts that it lives in."""

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            async with AsyncExitStack() as stack:
                for one in around:
                    await stack.enter_async_context(one)
                yield
                await asyncio.gather(*self._shadows, return_exceptions=True)

        return Starlette(
            routes=[
                Route("/invocations", self._invocations, methods=["POST"]),
                Route("/metrics", self._metrics),
                Route("/version", _mlflow_version),
                *(Route(path, _ping) for path in ("/ping", "/health")),
            ],
            lifespan=lifespan,
        )

    async def _invocations(self, request: Request) -> Response:
        began = time.perf_counter()
        answer = await self._answer(request)
        self.meters.answered(answer.status_code, time.perf_counter() - began)
        return answer

    async def _answer(self, request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        champion = self.models.champion
        try:
            body = await asyncio.wait_for(_body(request), _SECONDS)
            if kind != "application/json":
                raise RequestError(f"the content type must be application/json, got {kind!r:.60}")
            if len(body) > _LARGE_BYTES:
                trips = await asyncio.to_thread(requested_trips, body, champion.columns)
            else:
                trips = requested_trips(body, champion.columns)
        except TimeoutError:
            return _refused(f"the request did not come within {_SECONDS} s")
        except RequestError as error:
            return _refused(str(error))
        challenger = self._challenger(body, trips)
        answers = challenger if challenger and not self._only_shadow else champion
        role = "challenger" if answers is challenger else "champion"
        try:
            found = await self._gathering.predict(answers, role, trips)
        except ModelError as error:
            return _error(500, "INTERNAL_ERROR", str(error))
        if self.log:
            number = self.log.number()
            self.log.add(number, answers, role, trips, found, answered=True)
            if challenger and self._only_shadow and len(self._shadows) < _MOST_SHADOWS:
                task = asyncio.create_task(self._shadow(number, challenger, trips))
                self._shadows.add(task)
                task.add_done_callback(self._shadows.discard)
        return JSONResponse(_content(found, answers), headers=_told_with(answers))

    @property
    def _only_shadow(self) -> bool:
        return self.challenge is not None and self.challenge.shadow

    def _challenger(self, body: bytes, trips: RequestedTrips) -> ServedModel | None:
        """Return the challenger if the request is its, and says what it has to know."""
        found = self.models.challenger
        if not (found and self.challenge and self.challenge.takes(body)):
            return None
        return found if trips.columns.keys() >= set(found.columns) else None

    async def _shadow(self, number: int, challenger: ServedModel, trips: RequestedTrips) -> None:
        try:
            found = await self._gathering.predict(challenger, "shadow", trips)
        except Exception:  # Nobody waits for it, and whoever asked has an answer.
            self.meters.shadows_failed.inc()
            return
        assert self.log
        self.log.add(number, challenger, "shadow", trips, found, answered=False)

    def _heard(self, model: ServedModel, role: str, trips: pd.DataFrame, said: Predictions) -> None:
        self.meters.predicted(model, role, trips, said.minutes)

    async def _metrics(self, request: Request) -> Response:
        shown = await asyncio.to_thread(self.meters.shown)
        return Response(shown, media_type=CONTENT_TYPE_LATEST)


def _content(found: Predictions, model: ServedModel) -> dict[str, Any]:
    content: dict[str, Any] = {"predictions": found.minutes.tolist()}
    if found.lower is not None and found.upper is not None and model.intervals:
        content["intervals"] = {
            "level": model.intervals.level,
            "lower": found.lower.tolist(),
            # JSON has no infinity.
            "upper": [end if math.isfinite(end) else None for end in found.upper.tolist()],
        }
    return content


def _told_with(model: ServedModel) -> dict[str, str]:
    return {
        "X-Model-Name": model.name,
        "X-Model-Version": model.version,
        "X-Model-Run": model.run_id,
        "X-Model-Commit": model.commit,
    }


def _refused(reason: str) -> Response:
    return _error(400, "BAD_REQUEST", reason)


def _error(status: int, code: str, reason: str) -> Response:
    return JSONResponse({"error_code": code, "message": reason}, status)


async def _ping(request: Request) -> Response:
    return PlainTextResponse("\n")


async def _mlflow_version(request: Request) -> Response:
    return PlainTextResponse(VERSION)


async def _body(request: Request) -> bytes:
    """Return a request's body; of one that is too long the rest is read and thrown away.

    An answer that comes before the end of a request would not be read by every client.
    """
    kept = bytearray()
    async for part in request.stream():
        if len(kept) <= MOST_BYTES:
            kept += part
    return bytes(kept)
