"""`taxi-nb serve`."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from taxi_nb.cli._stopping import FAILURE, USAGE, say, stop
from taxi_nb.cli.registry import Name, champion_number, model_name, registry_errors_stop
from taxi_nb.tracking.model_address import ModelAddress

_HOST = "127.0.0.1"


def serve(
    port: Annotated[int, typer.Option(min=1, max=65535, help="On this machine only.")] = 5001,
    name: Name = None,
) -> None:
    """Answer requests with the champion's predictions, until Ctrl-C.

    This is `mlflow models serve` in the present environment. The champion is looked up once:
    start it again after a promotion.
    """
    _require_free(port)
    with registry_errors_stop():
        from taxi_nb.registry.versions import usable

        version = champion_number(model_name(name))
        usable(model_name(name), version)
    say(f"{model_name(name)} version {version} at http://{_HOST}:{port}/invocations")
    _answer(str(ModelAddress(model_name(name), version)), port)


def _answer(model_uri: str, port: int) -> None:
    """Do what `mlflow models serve --env-manager local` does, without importing MLflow again."""
    from mlflow.models.flavor_backend_registry import get_flavor_backend

    # MLflow starts uvicorn by name, and this environment need not be on PATH.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    backend: Any = get_flavor_backend(  # type: ignore[no-untyped-call]
        model_uri, env_manager="local", workers=1
    )
    try:
        backend.serve(model_uri=model_uri, port=port, host=_HOST, timeout=None)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except Exception as error:  # MLflow raises nothing more precise.
        stop(f"the server has ended: {error}", FAILURE)


def _require_free(port: int) -> None:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((_HOST, port))
        except OSError as error:
            stop(f"port {port}: {error.strerror}. Give another: --port, or make serve PORT=", USAGE)
