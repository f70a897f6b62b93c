"""Requests are answered by the champion of the moment, and what it answers can be judged later."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from taxi_nb.cli import app
from taxi_nb.cli.serve import _Registry
from taxi_nb.evaluation.intervals import ConformalIntervals
from taxi_nb.registry.promotion import promote
from taxi_nb.registry.versions import CHALLENGER, registry_client, set_alias
from taxi_nb.scoring.serving.answers_log import AnswersLog
from taxi_nb.scoring.serving.application import Answers, Challenge
from taxi_nb.scoring.serving.models_in_use import ModelsInUse
from taxi_nb.scoring.serving.repeated import Repeated
from tests.trained_models import TrainedModels

NAME = "nyc-taxi-duration"
COLUMNS = ["pickup_datetime", "PULocationID", "DOLocationID", "trip_distance"]


class Served:
    """The application, asked without a network."""

    def __init__(self, challenge: Challenge | None = None, log: AnswersLog | None = None) -> None:
        self.said: list[str] = []
        registry = _Registry(NAME, registry_client())
        alias = CHALLENGER if challenge else None
        self.models = ModelsInUse(registry, self.said.append, alias)
        self.answers = Answers(self.models, challenge, log)

    def ask(self, *bodies: Any, path: str = "/invocations") -> list[httpx.Response]:
        """All at once."""

        async def asked() -> list[httpx.Response]:
            application = self.answers.application()
            transport = httpx.ASGITransport(application)
            async with (
                application.router.lifespan_context(application),
                httpx.AsyncClient(transport=transport, base_url="http://here") as client,
            ):
                if path != "/invocations":
                    return [await client.get(path)]
                return list(await asyncio.gather(*(client.post(path, json=one) for one in bodies)))

        return asyncio.run(asked())


def of(trips: pd.DataFrame) -> dict[str, Any]:
    """A request; times are New York's, so that they have no zone."""
    table = trips[COLUMNS].astype({"pickup_datetime": str})
    return {"dataframe_split": json.loads(table.to_json(orient="split", index=False))}


def load(version: int) -> Any:
    return mlflow.sklearn.load_model(f"models:/{NAME}/{version}")


def test_the_next_champion_takes_over_and_answers_say_which_model_gave_them(
    three_champions: TrainedModels,
) -> None:
    trips = three_champions.validation.head(3)
    served = Served()
    (before,) = served.ask(of(trips))
    assert before.json()["predictions"] == load(3).predict(trips).tolist()
    run = three_champions.run("good")
    assert before.headers["x-model-name"] == NAME
    assert before.headers["x-model-version"] == "3"
    assert before.headers["x-model-run"] == run.info.run_id
    assert before.headers["x-model-commit"] == run.data.tags["git.commit"]

    promote("1", reason="to see it take over")
    assert served.ask(of(trips))[0].headers["x-model-version"] == "3"  # Nobody has looked yet.
    served.models.look()
    (after,) = served.ask(of(trips))
    assert after.headers["x-model-version"] == "1"
    assert after.json()["predictions"] == load(1).predict(trips).tolist()
    assert served.said == ["version 1 answers from now on"]


def test_a_champion_that_cannot_be_loaded_leaves_the_old_one_and_is_said_once(
    three_champions: TrainedModels,
) -> None:
    trips = three_champions.validation.head(1)
    served = Served()
    client = registry_client()
    address = client.get_model_version_download_uri(NAME, "1")
    (Path(mlflow.artifacts.download_artifacts(address)) / "model.skops").write_bytes(b"no model")
    set_alias(client, NAME, "champion", "1")
    for _ in range(3):
        served.models.look()
    assert served.ask(of(trips))[0].headers["x-model-version"] == "3"
    (said,) = served.said
    assert said.startswith("version 1, now champion, cannot be used: ")
    assert said.endswith("version 3 goes on")
    assert served.models.failures == 1
    (shown,) = served.ask(path="/metrics")
    assert "taxi_nb_model_load_failures 1.0" in shown.text

    set_alias(client, NAME, "champion", "2")
    served.models.look()
    assert served.ask(of(trips))[0].headers["x-model-version"] == "2"
    client.delete_registered_model_alias(NAME, "champion")
    served.models.look()
    assert served.said[-1] == "there is no champion any more; version 2 goes on"


@pytest.mark.parametrize("model", ["linear", "xgboost-rich"])
def test_a_trip_is_told_the_same_in_company_and_alone(
    three_champions: TrainedModels, model: str
) -> None:
    from taxi_nb import train
    from taxi_nb.registry.versions import register

    result = train(model, three_champions.training, three_champions.validation)
    client = registry_client()
    version = str(register(client, client.get_run(result.run_id), NAME).version)
    promote(version, reason="to be asked")
    served = Served()
    trips = three_champions.validation.head(40)
    alone = [served.ask(of(trips[at : at + 1]))[0].json()["predictions"] for at in range(40)]
    together = served.ask(*(of(trips[at : at + 1]) for at in range(40)))
    assert [one.json()["predictions"] for one in together] == alone
    loaded = mlflow.pyfunc.load_model(f"models:/{NAME}/{version}")
    columns = loaded.metadata.signature.inputs.input_names()
    assert np.concatenate(alone).tolist() == loaded.predict(trips[columns]).tolist()


def test_among_requests_that_come_together_a_wrong_one_fails_alone(
    three_champions: TrainedModels,
) -> None:
    trips = three_champions.validation.head(2)
    served = Served()
    wrong = of(trips)
    wrong["dataframe_split"]["data"][1][3] = -1
    codes = [one.status_code for one in served.ask(of(trips), wrong, {"x": 1}, of(trips))]
    assert codes == [200, 400, 400, 200]


def test_intervals_are_told_where_the_model_has_them(three_champions: TrainedModels) -> None:
    run_id = three_champions.run("good").info.run_id
    intervals = ConformalIntervals.calibrate(load(3), three_champions.training)
    intervals.log(run_id)
    trips = three_champions.validation.head(5)
    served = Served()
    told = served.ask(of(trips))[0].json()
    expected = intervals.predict(trips)
    assert told["predictions"] == expected["predicted"].tolist()
    assert told["intervals"]["level"] == 0.9
    assert told["intervals"]["lower"] == expected["lower"].tolist()
    upper = [None if np.isinf(end) else end for end in expected["upper"]]
    assert told["intervals"]["upper"] == upper
    # Their width goes by the hour: without a time there is none.
    bare = {"dataframe_records": [dict.fromkeys(COLUMNS[1:], 7.0)]}
    assert "intervals" not in served.ask(bare)[0].json()


def test_metrics_count_requests_and_say_what_the_model_never_saw(
    three_champions: TrainedModels,
) -> None:
    served = Served()
    far = three_champions.validation.head(1).assign(trip_distance=5_000.0)
    served.ask(of(far), of(three_champions.validation.head(200)), {"x": 1})
    text = served.ask(path="/metrics")[0].text
    for line in (
        'taxi_nb_requests_total{code="200"} 2.0',
        'taxi_nb_requests_total{code="400"} 1.0',
        "taxi_nb_request_seconds_count 3.0",
        'taxi_nb_trips_total{role="champion",version="3"} 201.0',
        'taxi_nb_trips_out_of_range_total{column="trip_distance"} 1.0',
        'name="nyc-taxi-duration",role="champion"',
        'taxi_nb_psi{feature="trip_distance"}',
        'taxi_nb_psi_by_chance{feature="predictions"}',
    ):
        assert line in text
    found = served.answers.meters.since_last()
    assert found["requests"] == 3
    assert found["requests_refused"] == 1
    assert 0 <= found["psi_PULocationID"] < 0.5
    # What could not be written is not lost.
    assert served.answers.meters.since_last() == found
    served.answers.meters.written(found)
    assert served.answers.meters.since_last() == {}


@pytest.fixture
def months(project: Any, three_champions: TrainedModels) -> str:
    """A folder that has the month of the validation trips, with durations."""
    folder = project.root / "months"
    folder.mkdir()
    trips = three_champions.validation
    names = {"pickup_datetime": "lpep_pickup_datetime", "dropoff_datetime": "lpep_dropoff_datetime"}
    trips.drop(columns="duration").rename(columns=names).to_parquet(
        folder / "green_tripdata_2021-02.parquet", index=False
    )
    return str(folder)


def test_a_shadow_is_compared_with_the_champion_as_soon_as_durations_are_known(
    three_champions: TrainedModels, months: str, project: Any
) -> None:
    set_alias(registry_client(), NAME, CHALLENGER, "1")  # The poor one.
    log = AnswersLog(project.root / "runs/serving/one")
    served = Served(Challenge(1.0, shadow=True), log)
    trips = three_champions.validation.head(600)
    answers = served.ask(*(of(trips[at : at + 20]) for at in range(0, 600, 20)))
    assert {one.headers["x-model-version"] for one in answers} == {"3"}
    log.write()
    compared = CliRunner().invoke(app, ["registry", "compare", "--source", months])
    assert compared.exit_code == 0, compared.output
    assert "version 1 against version 3 on the same" in compared.output
    assert "minutes, worse (chance explains" in " ".join(compared.output.split())
    answer = pd.read_parquet(next(log.folder.glob("*.parquet")))
    assert answer.groupby("role").size().to_dict() == {"champion": 600, "shadow": 600}


@pytest.mark.slow
def test_a_challenger_answers_its_share_and_the_same_request_always(
    three_champions: TrainedModels, months: str, project: Any
) -> None:
    set_alias(registry_client(), NAME, CHALLENGER, "1")
    log = AnswersLog(project.root / "runs/serving/two")
    served = Served(Challenge(0.3), log)
    trips = three_champions.validation.head(100)
    bodies = [of(trips[at : at + 1]) for at in range(100)]
    versions = [one.headers["x-model-version"] for one in served.ask(*bodies)]
    assert 11 < versions.count("1") < 49  # 30 of 100; four standard deviations are 18.
    assert versions == [one.headers["x-model-version"] for one in served.ask(*bodies)]
    log.write()
    compared = CliRunner().invoke(app, ["registry", "compare", "--source", months])
    assert compared.exit_code == 0, compared.output
    assert "challenger" in compared.output

    promote("1", reason="it is champion now")
    served.models.look()
    assert served.models.challenger is None
    assert {one.headers["x-model-version"] for one in served.ask(*bodies)} == {"1"}


def test_what_cannot_be_compared_is_said(three_champions: TrainedModels, project: Any) -> None:
    nothing = CliRunner().invoke(app, ["registry", "compare"])
    assert nothing.exit_code == 1
    assert "no answers for nyc-taxi-duration are kept" in nothing.output
    log = AnswersLog(project.root / "runs/serving/three")
    served = Served(Challenge(1.0, shadow=True), log)
    served.ask(of(three_champions.validation.head(1)))
    log.write()
    empty = project.root / "empty"
    empty.mkdir()
    early = CliRunner().invoke(app, ["registry", "compare", "--source", str(empty)])
    assert early.exit_code == 1
    assert "not known yet: 2021-02" in early.output


@pytest.mark.parametrize("share", ["20", "0%", "101%", "x", "-5%"])
def test_a_share_is_a_percentage(share: str) -> None:
    refused = CliRunner().invoke(app, ["serve", f"--challenger={share}"])
    assert refused.exit_code == 2
    assert "--challenger must be a share such as 20%" in refused.output


def test_a_shadow_needs_a_share() -> None:
    refused = CliRunner().invoke(app, ["serve", "--shadow"])
    assert refused.exit_code == 2
    assert "--challenger 20%" in refused.output


def test_what_fails_beside_answering_is_said_once_until_it_goes_well_again() -> None:
    said: list[str] = []
    fails = [OSError("the disk is full"), OSError("the disk is full"), None, OSError("again")]
    done: list[int] = []

    def write() -> None:
        if (error := fails.pop(0)) is not None:
            raise error

    works = {"answers cannot be kept": write, "never": lambda: done.append(1)}
    loop = Repeated(0, works, said.append, lambda: "version 3 goes on")
    for _ in range(4):
        loop.once()
    assert said == [
        "answers cannot be kept: the disk is full; version 3 goes on",
        "answers cannot be kept: again; version 3 goes on",
    ]
    assert len(done) == 4
