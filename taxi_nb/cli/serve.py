"""`taxi-nb serve`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taxi_nb.cli._door import HOST, Host, keep_open, reserve
from taxi_nb.cli.registry import Name, champion_number, model_name, registry_errors_stop

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

# Of one request; and how many are worked on at once.
_SECONDS = 30
_AT_ONCE = 2


def serve(
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5001,
    name: Name = None,
    host: Host = HOST,
) -> None:
    """Answer requests with the champion's predictions, until Ctrl-C.

    Whoever asks needs the token of the address that is printed. The champion is looked up once:
    start it again after a promotion.
    """
    place = reserve(port, "serve", host)
    with registry_errors_stop():
        from taxi_nb.registry.versions import usable
        from taxi_nb.scoring.scored_model import load_predictor

        version = champion_number(model_name(name))
        predictor, columns = load_predictor(usable(model_name(name), version))
    app = _application(predictor, columns)
    keep_open(app, place, "/invocations", f"{model_name(name)} version {version}")


def _application(predictor: Any, columns: Sequence[str]) -> Starlette:
    """Return what answers at the places where `mlflow models serve` does, and in its words."""
    from mlflow.exceptions import MlflowException
    from mlflow.version import VERSION
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, PlainTextResponse
    from starlette.routing import Route

    from taxi_nb.scoring.requests import RequestError, requested_trips

    workers = asyncio.Semaphore(_AT_ONCE)

    def predicted(body: bytes) -> list[float]:
        return [float(one) for one in predictor.predict(requested_trips(body, columns))]

    async def invocations(request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            body = await asyncio.wait_for(_body(request), _SECONDS)
            if kind != "application/json":
                raise RequestError(f"the content type must be application/json, got {kind!r:.60}")
            async with workers:
                minutes = await asyncio.to_thread(predicted, body)
        except TimeoutError:
            return refused(f"the request did not come within {_SECONDS} s")
        except RequestError as error:
            return refused(str(error))
        except MlflowException as error:
            return refused(f"the model refuses the trips: {error.message.splitlines()[0]}")
        return JSONResponse({"predictions": minutes})

    def refused(reason: str) -> Response:
        return JSONResponse({"error_code": "BAD_REQUEST", "message": reason}, 400)

    async def ping(request: Request) -> Response:
        return PlainTextResponse("\n")

    async def mlflow_version(request: Request) -> Response:
        return PlainTextResponse(VERSION)

    return Starlette(
        routes=[
            Route("/invocations", invocations, methods=["POST"]),
            Route("/version", mlflow_version),
            *(Route(path, ping) for path in ("/ping", "/health")),
        ]
    )


async def _body(request: Request) -> bytes:
    """Return a request's body; of one that is too long the rest is read and thrown away.

    An answer that comes before the end of a request would not be read by every client.
    """
    from taxi_nb.scoring.requests import MOST_BYTES

    kept = bytearray()
    async for part in request.stream():
        if len(kept) <= MOST_BYTES:
            kept += part
    return bytes(kept)
