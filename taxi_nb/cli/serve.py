"""`taxi-nb serve`."""

from __future__ import annotations

import os
import re
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from taxi_nb.cli._door import HOST, Host, keep_open, reserve
from taxi_nb.cli._stopping import USAGE, say, signals_stop, stop
from taxi_nb.cli.registry import Name, champion_number, model_name, registry_errors_stop

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from taxi_nb.scoring.serving.application import Answers
    from taxi_nb.scoring.serving.in_mlflow import ServerRun

# While another model is loaded, requests of half a second may wait.
_MOST_REQUESTS = 256


def serve(
    port: Annotated[
        int, typer.Option(metavar="PORT", min=1, max=65535, help="Where to listen.")
    ] = 5001,
    name: Name = None,
    host: Host = HOST,
    challenger: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE", help="Let the challenger answer a share of requests, such as 20%."
        ),
    ] = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="The challenger predicts, and the champion answers.")
    ] = False,
) -> None:
    """Answer requests with the champion's predictions, until Ctrl-C.

    Whoever asks needs the token of the address that is printed. After a promotion the new
    champion takes over by itself. /metrics has what Prometheus reads. With --challenger answers
    are kept, for `taxi-nb registry compare`.

    Examples:
      taxi-nb serve --port 5001
      taxi-nb serve --challenger 20% --shadow
    """
    share = _share(challenger) if challenger is not None else None
    # Threads of OpenMP wait for each other by spinning, unless they are told to sleep: it would
    # take the core on which requests are answered.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if shadow and share is None:
        stop("--shadow needs to know of how many requests: --challenger 20%", USAGE)
    place = reserve(port, "serve", host)
    with registry_errors_stop(), signals_stop("ended"):
        from taxi_nb.pipeline.interrupted import Interrupted
        from taxi_nb.pipeline.memory import RUNS
        from taxi_nb.project import project_root
        from taxi_nb.registry.versions import CHALLENGER, registry_client
        from taxi_nb.scoring.scored_model import ModelError
        from taxi_nb.scoring.serving.answers_log import FOLDER, AnswersLog
        from taxi_nb.scoring.serving.application import Answers, Challenge
        from taxi_nb.scoring.serving.in_mlflow import ServerRun
        from taxi_nb.scoring.serving.models_in_use import ModelsInUse
        from taxi_nb.tracking.model_notes import RegistryError
        from taxi_nb.tracking.run import tracked_run

        champion_number(model_name(name))  # Says what to do if there is none.
        challenge = Challenge(share, shadow) if share is not None else None
        registry = _Registry(model_name(name), registry_client())
        try:
            models = ModelsInUse(registry, say, CHALLENGER if challenge else None)
        except ModelError as error:
            raise RegistryError(str(error)) from None
        ended = None
        with tracked_run(f"serve {registry.name}", kind="serving") as run:
            run_id = run.info.run_id
            log = AnswersLog(project_root() / RUNS / FOLDER / run_id) if challenge else None
            answers = Answers(models, challenge, log)
            beside = _beside(answers, ServerRun(answers, registry.client, run_id))
            greeting = f"{registry.name} version {models.champion.version}"
            app = answers.application(beside)
            try:
                keep_open(app, place, "/invocations", greeting, most_requests=_MOST_REQUESTS)
            except Interrupted as signal:  # That is how a server ends well.
                ended = typer.Exit(128 + signal.signal_number)
        if ended:
            raise ended


def _beside(answers: Answers, server_run: ServerRun) -> AbstractAsyncContextManager[None]:
    """Return what is done beside answering: champions are followed, and notes written."""
    from taxi_nb.scoring.serving import in_mlflow, models_in_use
    from taxi_nb.scoring.serving.repeated import Repeated, threads

    models, writes = answers.models, {"the server's run cannot be written": server_run.write}
    if answers.log:
        writes = {"answers cannot be kept": answers.log.write, **writes}
    follows = {"the registry cannot be asked": models.look}
    all_the_same = "requests are answered all the same"
    return threads(
        Repeated(models_in_use.SECONDS, follows, say, models.goes_on),
        Repeated(in_mlflow.SECONDS, writes, say, lambda: all_the_same, also_at_the_end=True),
    )


@dataclass
class _Registry:
    """What serving has to know of a registered model."""

    name: str
    client: MlflowClient

    def version_of(self, alias: str) -> str | None:
        from taxi_nb.tracking.model_address import ModelAddress

        found = ModelAddress(self.name, alias=alias).find(self.client)
        return str(found.version) if found else None

    def usable(self, version: str) -> ModelVersion:
        from taxi_nb.registry.versions import usable

        return usable(self.name, version)


def _share(text: str) -> float:
    found = re.fullmatch(r"(\d{1,3}(?:\.\d+)?) ?%", text.strip())
    if found is None or not 0 < float(found[1]) <= 100:
        stop(f"--challenger must be a share such as 20%, got {text!r:.40}", USAGE)
    return float(found[1]) / 100
