"""`taxi-nb monthly`: the months that have come are scored, judged, and learned from if need be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taxi_nb.cli._arguments import Accept, Jobs, Kernel, Overrides, notifier_of, read
from taxi_nb.cli._completion import complete_file
from taxi_nb.cli._stopping import FAILURE, USAGE, errors_stop, say, signals_stop, stop
from taxi_nb.cli.run import carried_out
from taxi_nb.cli.score import checks_of_file, point_mlflow_at, request_of, settings_of

if TYPE_CHECKING:
    from taxi_nb.pipeline.spec import Pipeline
    from taxi_nb.scoring.judged_months import MonthRecord, Months
    from taxi_nb.scoring.result import Scoring

REFUSED = 3
MONTHLY_FILE = Path("params/monthly.yaml")


def monthly(
    params: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A pipeline file whose months are relative.",
            autocompletion=complete_file,
        ),
    ] = MONTHLY_FILE,
    overrides: Overrides = None,
    month: Annotated[
        str, typer.Option(metavar="MONTH", help="Judge the months up to this one, such as 2023-03.")
    ] = "latest",
    jobs: Jobs = 1,
    kernel: Kernel = "auto",
    accept: Accept = None,
) -> None:
    """Score the months that have come; train again where needed.

    A month is scored with the champion and judged. Where a limit is passed, the pipeline runs with
    its months relative to this one, its gate promotes or does not, and a new champion scores the
    month again. What is done is not done again: call it as often as you like. The exit code is 0
    when all is well or nothing was to do, 3 when a model was trained and refused, so that a person
    should look, 1 when a month could not be judged or does not pass the file's checks, which the
    next call tries again.

    Examples:
      taxi-nb monthly params/monthly.yaml
      taxi-nb monthly --month 2021-05 --jobs 2
    """
    from taxi_nb.pipeline.memory import RUNS
    from taxi_nb.pipeline.notify import Message
    from taxi_nb.pipeline.project_lock import project_lock
    from taxi_nb.scoring.judged_months import FOLDER, Months
    from taxi_nb.scoring.monthly import carry_on
    from taxi_nb.scoring.months_page import write_page
    from taxi_nb.tracking.store import tracking_uri
    from taxi_nb.tracking.store_errors import StoreError, errors_of_store

    pipeline = read(params, overrides, month, accept=accept)
    if not pipeline.month:
        stop(f'{params} has no months that move, such as train_months: "{{month-1}}"', USAGE)
    notifier = notifier_of(pipeline)
    request_of(pipeline.month, settings_of(pipeline))
    point_mlflow_at(pipeline.tracking_uri, pipeline.experiment)
    folder = pipeline.root / RUNS / FOLDER
    ended: list[MonthRecord] = []
    with (
        errors_stop({StoreError: FAILURE, OSError: FAILURE, ValueError: FAILURE}),
        errors_of_store(tracking_uri()),
        signals_stop("interrupted: what is done is kept, call again"),
        project_lock(folder, say),
    ):
        months = Months(folder)
        waited = {
            month
            for month, known in months.known.items()
            if known.state == "waiting" and known.told
        }
        registered = settings_of(pipeline).get("registered_model")
        steps = _Steps(params, overrides, accept, jobs, kernel, months, registered)

        def tell(record: MonthRecord) -> None:
            lines = [*record.lines[1:], f"page: {folder / 'index.html'}"]
            title = f"{pipeline.name} {record.lines[0]}"
            if not (record.state == "waiting" and record.month in waited):  # That is known.
                notifier.tell(Message(title, lines, record.events), say)
            months.write(replace(record, told=True))

        for record in [*months.known.values()]:
            if not record.told:  # A call was killed before it could.
                tell(record)
        for record in carry_on(months, months.to_do(pipeline.month), steps, str(params)):
            print("\n".join(record.lines), flush=True)
            ended.append(record)
            tell(record)
        page = write_page(folder, months.known)
    if not ended:
        print(f"nothing to do: {pipeline.month} is {months.known[pipeline.month].decision}")
    print(f"page:   {page}")
    if any(record.state == "failed" for record in ended):
        raise typer.Exit(FAILURE)
    if any(record.refused for record in ended):
        raise typer.Exit(REFUSED)


class _Steps:
    """What the loop does for a month, by the parts that `taxi-nb score` and `run` are made of."""

    def __init__(
        self,
        params: Path,
        overrides: list[str] | None,
        accept: list[str] | None,
        jobs: int,
        kernel: Kernel,
        months: Months,
        registered: str | None,
    ) -> None:
        self.params, self.overrides, self.accept = params, overrides, accept
        self.jobs, self.kernel = jobs, kernel
        self.months, self.registered = months, registered

    def pipeline(self, month: str) -> Pipeline:
        return read(self.params, self.overrides, month, accept=self.accept)

    def request(self, month: str) -> dict[str, Any]:
        pipeline = self.pipeline(month)
        checks = checks_of_file(pipeline)
        return {**request_of(month, settings_of(pipeline)), "checks": checks}

    @contextmanager
    def month(self, record: MonthRecord) -> Iterator[str]:
        from taxi_nb.tracking.run import tracked_run

        with tracked_run(f"monthly {record.month}", kind="monthly") as run:
            yield run.info.run_id

    def score(self, month: str) -> Scoring:
        from taxi_nb.scoring.score import score

        predictions = self.months.folder / f"{month}.parquet"
        return score(**self.request(month), output=predictions)

    def champion(self) -> str | None:
        from taxi_nb.registry.versions import DEFAULT_NAME, champion

        found = champion(self.registered or DEFAULT_NAME)
        return str(found.version) if found else None

    def retrain(self, month: str, parent: str) -> tuple[str, str, str | None]:
        from taxi_nb.scoring.monthly import RetrainingError

        record, folder, _ = carried_out(self.pipeline(month), self.jobs, self.kernel, parent=parent)
        if not record.status.is_good:
            bad = ", ".join(step.name for step in record.steps if not step.status.is_good)
            failed = [one for one in record.checks if one.verdict == "fail"]
            why = "".join(f"; {one}" for one in failed)
            raise RetrainingError(
                f"the pipeline is {record.status} at {bad}: {folder}/index.html{why}",
                tuple(sorted({one.check for one in failed})),
            )
        return folder.name, str(record.mlflow_run_id), record.decision

    def keep(self, record: MonthRecord) -> None:
        from mlflow import MlflowClient

        from taxi_nb.plain_data import to_json
        from taxi_nb.scoring.months_page import write_page
        from taxi_nb.tracking.names import DECISION_TAG, PARENT_TAG

        client, run_id = MlflowClient(), str(record.mlflow_run_id)
        page = write_page(self.months.folder, self.months.known)
        client.log_artifact(run_id, str(page), "monthly")
        client.log_text(run_id, to_json(record, indent=2), f"monthly/{record.month}.json")
        client.set_tag(run_id, DECISION_TAG, record.decision)
        below = [one.run_id for one in (record.scored, record.scored_again) if one]
        if record.retraining and record.retraining.mlflow_run_id:
            below.append(record.retraining.mlflow_run_id)
        for one in below:  # Some may be of a call that was killed, and below its run.
            client.set_tag(one, PARENT_TAG, run_id)
