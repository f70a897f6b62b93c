"""`taxi-nb score`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taxi_nb.cli._arguments import DEFAULT_FILE, Accept, Overrides, read
from taxi_nb.cli._completion import complete_file
from taxi_nb.cli._stopping import FAILURE, USAGE, errors_stop, say, signals_stop
from taxi_nb.project import command

if TYPE_CHECKING:
    from taxi_nb.pipeline.spec import Pipeline
    from taxi_nb.scoring.result import Scoring
    from taxi_nb.trips.checks import Checks

RETRAIN = 3
NO_VERDICT = 4


def score(
    month: Annotated[
        str, typer.Argument(metavar="MONTH", help="The month to score, such as 2021-03.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The parquet file for the predictions."
        ),
    ],
    params: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="The pipeline file whose source, taxi, cleaning and limits count.",
            autocompletion=complete_file,
        ),
    ] = DEFAULT_FILE,
    overrides: Overrides = None,
    taxi: Annotated[str | None, typer.Option(metavar="green|yellow", help="Whose trips.")] = None,
    source: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="sample, tlc, a folder, or s3://bucket/prefix."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="A model's address in MLflow; the file's champion if left out."
        ),
    ] = None,
    max_psi: Annotated[
        float | None,
        typer.Option(metavar="PSI", help="The largest drift of a feature or the predictions."),
    ] = None,
    max_rmse_increase: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES", help="Minutes that the RMSE may be above that of the validation."
        ),
    ] = None,
    max_relative_rmse_increase: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="The same, as a share of the validation's RMSE."),
    ] = None,
    max_relative_bias: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="The share of the mean duration that predictions may be off by."
        ),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The MLflow experiment; the file's if left out."),
    ] = None,
    accept: Accept = None,
) -> None:
    """Predict a month, and say whether the model still fits.

    The exit code is 0 when the model can be kept, 3 when it should be trained again, 4 when the
    month cannot judge the model, which learned from it or was chosen by it, 1 when the month could
    not be scored, 2 for wrong usage.

    Examples:
      taxi-nb score 2021-03 -o predictions.parquet
      taxi-nb score 2023-01 -o predictions.parquet --params params/green-2021.yaml
    """
    limits = {
        "max_psi": max_psi,
        "max_rmse_increase": max_rmse_increase,
        "max_relative_rmse_increase": max_relative_rmse_increase,
        "max_relative_bias": max_relative_bias,
    }
    given = {"taxi": taxi, "source": source, **limits}
    # A file whose months are relative is read as for this month.
    pipeline = read(params, overrides, newest=lambda _: month, accept=accept)
    point_mlflow_at(pipeline.tracking_uri, experiment or pipeline.experiment)
    settings = settings_of(pipeline)
    settings |= {name: value for name, value in given.items() if value is not None}
    with signals_stop("interrupted: nothing was written"):
        result = _scored(month, output, model, settings, checks_of_file(pipeline))
    _show(result, output)
    if result.should_retrain:
        raise typer.Exit(RETRAIN)
    if result.not_judged:
        raise typer.Exit(NO_VERDICT)


def settings_of(pipeline: Pipeline) -> dict[str, Any]:
    """Return the parameters of all steps; where they differ those of the last that has them."""
    settings: dict[str, Any] = {}
    for step in pipeline.steps:
        settings |= step.parameters
    return settings


def point_mlflow_at(tracking_uri: str | None, experiment: str | None) -> None:
    """Let a pipeline file's store and experiment be those of this process."""
    from taxi_nb.tracking.names import EXPERIMENT_VARIABLE, URI_VARIABLE

    if tracking_uri:
        os.environ[URI_VARIABLE] = tracking_uri
    if experiment:
        os.environ[EXPERIMENT_VARIABLE] = experiment


def checks_of_file(pipeline: Pipeline) -> Checks:
    """Return the checks of a pipeline file, with those that are let pass this time."""
    from taxi_nb.trips.checks import checks_of

    return checks_of(pipeline.checks, pipeline.accepted)


def _scored(
    month: str, output: Path, model: str | None, settings: dict[str, Any], checks: Checks
) -> Scoring:
    from taxi_nb.scoring.predictions_file import OutputError, OutputPathError
    from taxi_nb.scoring.score import score
    from taxi_nb.scoring.scored_model import ModelError
    from taxi_nb.tracking.store import tracking_uri
    from taxi_nb.tracking.store_errors import StoreError, errors_of_store
    from taxi_nb.trips.errors import TripsError

    request = request_of(month, settings)
    if model:
        request["model"] = model
    failures = dict.fromkeys((ModelError, OutputError, StoreError, TripsError), FAILURE)
    with errors_stop({OutputPathError: USAGE, **failures}), errors_of_store(tracking_uri()):
        return score(**request, output=output, checks=checks)


def request_of(month: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `score` that a pipeline's parameters name; stop if one is wrong."""
    from dataclasses import fields

    from taxi_nb.scoring.result import Thresholds
    from taxi_nb.scoring.score import CHAMPION_MODEL, check_request
    from taxi_nb.tracking.model_address import ModelAddress
    from taxi_nb.tracking.names import CHAMPION

    def chosen(*names: str) -> dict[str, Any]:
        return {name: settings[name] for name in names if name in settings}

    registered = settings.get("registered_model")
    champion = str(ModelAddress(registered, alias=CHAMPION)) if registered else CHAMPION_MODEL
    names = ("taxi", "source", "cleaning", "seed", "sample_rows")
    request = {"taxi": "green", "month": month, **chosen(*names)}
    with errors_stop({TypeError: USAGE, ValueError: USAGE}):
        check_request(**request)
        limits = Thresholds(**chosen(*(field.name for field in fields(Thresholds))))
    return {**request, "model": champion, "thresholds": limits}


def _show(result: Scoring, output: Path) -> None:
    counts, model = result.origin.cleaning, result.model
    print(f"month:   {result.origin.title}: {counts.rows_in:,} records")
    print(f"model:   {model.title} ({model.address})")
    print(f"written: {output}, {result.predicted:,} predictions")
    for what, count in result.not_predicted.items():
        print(f"         {count:,} records were not predicted: {what}")
    _show_left_out(result)
    for drift in result.drift:
        print(f"drift:   {drift.name:<15} PSI {drift.index:.3f}, most at {drift.most_changed}")
    _show_error(result)
    print(f"MLflow:  run {result.run_id} ({command('ui', 'ui')})")
    if result.origin.synthetic != model.synthetic:
        kinds = {True: "synthetic", False: "real"}
        learned, asked = kinds[model.synthetic], kinds[result.origin.synthetic]
        say(f"note: the model learned from {learned} trips, and these are {asked}")
    for check in result.checks:
        print(f"check:   {check}")
    for remark in result.remarks:
        say(f"note: {remark}")
    print(result.verdict)


def _show_left_out(result: Scoring) -> None:
    """Say which predictions count neither for the drift nor for the error."""
    report = result.origin.cleaning
    for rule, says in report.rules.items():
        count = report.taken_out[rule]
        if count and says not in result.not_predicted:
            print(f"         {count:,} are left out of drift and error: {says}")


def _show_error(result: Scoring) -> None:
    error = result.error
    if error is None:
        print("error:   not known yet: the month has no drop-off times")
        return
    print(
        f"error:   RMSE {error.rmse:.3f} minutes, MAE {error.mae:.3f}; at training time "
        f"{error.at_training['rmse']:.3f} and {error.at_training['mae']:.3f}"
    )
    bias = error.bias_over_days
    days = f"over {bias.days} days" if bias.days > 1 else "on one day"
    print(f"         bias {bias.shown('+')} minutes {days}; trips take {error.mean_duration:.1f}")
    if error.coverage is not None and result.model.intervals is not None:
        aim = result.model.intervals.level
        print(f"         {error.coverage:.1%} of trips are inside their {aim:.0%} intervals")
