"""Scoring a month: what is predicted, what is measured, and what a scheduler hears."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from taxi_nb import (
    ConformalIntervals,
    load_trips,
    promote_if_better,
    regression_metrics,
    score,
    score_next,
    train,
)
from taxi_nb.registry.versions import DEFAULT_NAME
from taxi_nb.review.verify._registry_state import RegistryBefore, recreate
from taxi_nb.scoring.predictions_file import OutputError, PredictionsFile
from taxi_nb.scoring.result import Thresholds
from taxi_nb.scoring.score import CHAMPION_MODEL
from taxi_nb.scoring.scored_model import ModelError, load_scored_model
from taxi_nb.tracking.run_tree import client_of
from taxi_nb.tracking.store import connect
from taxi_nb.trips.cleaning import Cleaning
from taxi_nb.trips.origin import provenance
from tests.conftest import Project, mounted_disk, runs_of
from tests.warm import Forked, WarmPython

ROWS = 3_000
PARAMETERS = """
source: str = "sample"  # where from
taxi: str = "green"  # whose
sample_rows: int = 1  # how many
seed: int = 42  # of the sample
cleaning: dict = {}  # rules
max_psi: float = 1.0  # largest drift
max_rmse_increase: float = 1.0  # minutes
model: str = "linear"  # what another notebook calls a model
"""
PIPELINE = f"""
experiment: monitoring
params: {{sample_rows: {ROWS}, max_psi: 0.25}}
steps: [{{notebook: 01_any, params: {{model: linear}}}}]
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Project:
    """A project whose champion has intervals."""
    project = Project(tmp_path_factory.mktemp("scoring") / "project")
    project.notebook("01_any", "1", parameters=PARAMETERS)
    project.pipeline(PIPELINE, "default")
    shutil.copy(empty_store, project.root / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAXI_NB_ROOT", str(project.root))
        # MLflow sets this variable, and an earlier test may have left it.
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        training, validation = (
            load_trips("green", [month], "sample", sample_rows=ROWS)
            for month in ("2021-01", "2021-02")
        )
        result = train("linear", training, validation)
        ConformalIntervals.calibrate(result.estimator, training).log(result.run_id)
        promote_if_better(mlflow.get_run(result.run_id), validation)
    return project


@pytest.fixture
def champion(trained: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The same project, being the current one."""
    monkeypatch.chdir(trained.root)
    monkeypatch.setenv("TAXI_NB_ROOT", str(trained.root))
    # A command leaves these to the processes that it starts.
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.setenv(name, "")
    yield trained
    while mlflow.active_run():
        mlflow.end_run("FAILED")


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str


@pytest.fixture
def taxi_nb(champion: Project) -> Callable[..., Said]:
    """`taxi-nb` in this process: another one would import everything again."""

    def call(*arguments: str) -> Said:
        from taxi_nb.cli import app

        done = CliRunner().invoke(app, arguments)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Said(done.exit_code, done.stdout, done.stderr)

    return call


def newest_run(project: Project) -> Any:
    return runs_of(f"sqlite:///{project.root}/mlflow.db", "tags.`taxi_nb.kind` = 'scoring'")[-1]


def sample_table(month: str) -> pa.Table:
    """Return a month of the sample as its file has it."""
    trips = load_trips("green", [month], "sample", sample_rows=ROWS)
    return pq.read_table(provenance(trips).files[0].path)


def month_of(table: pa.Table, folder: Path, month: str = "2021-03") -> str:
    """Write a table as a month of a folder and return the folder."""
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / f"green_tripdata_{month}.parquet")
    return str(folder)


def test_every_record_that_can_be_predicted_is(champion: Project, tmp_path: Path) -> None:
    raw = sample_table("2021-03").to_pandas()
    there = raw[["lpep_pickup_datetime", "PULocationID", "DOLocationID", "trip_distance"]].dropna()
    zones = there[["PULocationID", "DOLocationID"]]
    expected = there[((zones >= 1) & (zones <= 265)).all(axis=1)]
    done = score("green", "2021-03", tmp_path / "p.parquet", source="sample", sample_rows=ROWS)
    written = pd.read_parquet(tmp_path / "p.parquet")
    assert written["row"].tolist() == expected.index.tolist()
    assert written["pickup_datetime"].tolist() == expected["lpep_pickup_datetime"].tolist()
    asked = expected[["PULocationID", "DOLocationID", "trip_distance"]]
    model = mlflow.pyfunc.load_model("models:/nyc-taxi-duration@champion")
    minutes = model.predict(asked.astype({"PULocationID": "int64", "DOLocationID": "int64"}))
    intervals = load_scored_model(CHAMPION_MODEL).intervals
    assert intervals is not None
    assert np.allclose(written["minutes"], intervals.within_range(minutes))
    assert (written["lower"] <= written["minutes"]).all()
    assert (written["minutes"] <= written["upper"]).all()
    assert done.predicted == len(expected)
    assert sum(done.not_predicted.values()) == len(raw) - len(expected)


def test_drift_and_error_are_those_of_clean_trips(champion: Project, tmp_path: Path) -> None:
    done = score("green", "2021-03", tmp_path / "p.parquet", source="sample", sample_rows=ROWS)
    trips = load_trips("green", ["2021-03"], "sample", sample_rows=ROWS)
    written = pd.read_parquet(tmp_path / "p.parquet")
    clean = written[written["clean"]]
    assert clean["pickup_datetime"].tolist() == trips["pickup_datetime"].tolist()
    assert done.origin.digest == provenance(trips).digest
    assert done.origin.cleaning == provenance(trips).cleaning
    assert {drift.found.trips for drift in done.drift} == {len(trips)}
    expected = regression_metrics(trips["duration"], clean["minutes"])
    assert done.error is not None
    assert done.error.rmse == pytest.approx(expected["rmse"])
    assert done.error.mae == pytest.approx(expected["mae"])
    assert done.error.by_day["trips"].sum() == len(trips)
    assert len(done.error.by_day) == 31
    inside = trips["duration"].between(clean["lower"].array, clean["upper"].array)
    assert done.error.coverage == inside.mean()
    # A linear model of pair and distance knows neither hour nor weekday.
    names = [drift.name for drift in done.drift]
    assert names == ["trip_distance", "PULocationID", "DOLocationID", "predictions"]


def test_the_file_says_which_model_version_and_month_it_comes_from(
    champion: Project, tmp_path: Path
) -> None:
    done = score("green", "2021-03", tmp_path / "p.parquet", source="sample", sample_rows=ROWS)
    said = {
        k.decode(): v.decode() for k, v in pq.read_schema(tmp_path / "p.parquet").metadata.items()
    }
    assert said["taxi_nb.model"] == "models:/nyc-taxi-duration/1"
    assert said["taxi_nb.scoring_run"] == done.run_id
    assert said["taxi_nb.month"] == "green 2021-03, sample (synthetic)"
    assert said["taxi_nb.month_sha256"] == done.origin.files[0].sha256


def test_a_month_with_days_missing_says_so(
    champion: Project, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    march = load_trips("green", ["2021-03"], "sample", sample_rows=ROWS)
    whole = pq.read_table(provenance(march).files[0].path)
    stamps = whole["lpep_pickup_datetime"].to_numpy()
    part = whole.filter(pa.array(stamps < np.datetime64("2021-03-12")))
    pq.write_table(part, tmp_path / "green_tripdata_2021-03.parquet")
    done = score("green", "2021-03", source=tmp_path)
    gap = "no trip on 20 of the 31 days of 2021-03: 12 to 31"
    assert gap in caplog.text
    assert gap in str(done.origin.cleaning)
    assert (done.origin.cleaning.not_positive or 0) > 0


def test_a_month_like_the_others_keeps_the_model_and_exits_0(
    champion: Project, taxi_nb: Callable[..., Said], tmp_path: Path
) -> None:
    said = taxi_nb("score", "2021-03", "-o", str(tmp_path / "p.parquet"))
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1].startswith("keep the model: the largest drift is that of")
    assert "records were not predicted: zone outside 1 to 265" in said.out
    assert "are left out of drift and error: shorter than 1 minute" in said.out
    run = newest_run(champion)
    assert run.info.status == "FINISHED"
    assert run.data.params["scored_model"] == "models:/nyc-taxi-duration/1"
    assert run.data.params["max_psi"] == "0.25"
    assert run.data.metrics["records"] == len(sample_table("2021-03"))
    assert run.data.metrics["retrain"] == 0
    assert {"psi_trip_distance", "psi_predictions", "rmse", "rmse_increase"} <= set(
        run.data.metrics
    )
    assert run.data.tags["verdict"] in said.out
    kept = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/drift/scored.json")
    assert kept["trip_distance"]["psi"] == run.data.metrics["psi_trip_distance"]
    assert mlflow.get_experiment(run.info.experiment_id).name == "monitoring"


def test_a_month_of_another_city_says_retrain_why_and_exits_3(
    champion: Project, taxi_nb: Callable[..., Said], tmp_path: Path
) -> None:
    said = taxi_nb("score", "2021-03", "-o", str(tmp_path / "p.parquet"), "--set", "seed=7")
    assert said.code == 3, said.err
    verdict = said.out.splitlines()[-1]
    assert verdict.startswith("retrain: PULocationID drifted: PSI 0.")
    assert "above max_psi 0.25 (most at " in verdict
    assert newest_run(champion).data.metrics["retrain"] == 1
    assert newest_run(champion).data.tags["verdict"] == verdict
    assert (tmp_path / "p.parquet").is_file()


def test_a_month_of_slower_trips_says_retrain_by_how_much_and_exits_3(
    champion: Project, taxi_nb: Callable[..., Said], tmp_path: Path
) -> None:
    table, name = sample_table("2021-03"), "lpep_dropoff_datetime"
    later = pc.add(table[name], pa.scalar(dt.timedelta(minutes=10)))
    slower = table.set_column(table.schema.get_field_index(name), name, later)
    folder = month_of(slower, tmp_path / "months")
    said = taxi_nb("score", "2021-03", "-o", str(tmp_path / "p.parquet"), "--source", folder)
    assert said.code == 3, said.err
    assert re.fullmatch(
        r"retrain: RMSE [\d.]+ minutes is [\d.]+ above the [\d.]+ at training time, more than "
        r"max_rmse_increase 1; trips are predicted [\d.]+ minutes too short on average, [\d.]+% of "
        r"the [\d.]+ that they take, more than max_relative_bias 0.05 and than the [\d.]+ that "
        "chance explains",
        said.out.splitlines()[-1],
    )
    assert newest_run(champion).data.metrics["bias"] == pytest.approx(-9, abs=2)


def test_limits_come_from_the_file_or_from_options(
    taxi_nb: Callable[..., Said], tmp_path: Path
) -> None:
    output = str(tmp_path / "p.parquet")
    generous = ("max-rmse-increase", "max-relative-rmse-increase", "max-relative-bias")
    limits = [part for name in generous for part in (f"--{name}", "1000")]
    arguments = ("score", "2021-03", "-o", output, "--set", "seed=7", *limits)
    said = taxi_nb(*arguments)
    assert said.code == 3
    assert "RMSE" not in said.out.splitlines()[-1]
    assert "average" not in said.out.splitlines()[-1]
    assert taxi_nb(*arguments, "--max-psi", "1000").code == 0


def test_chance_alone_is_no_drift(champion: Project) -> None:
    few = score(
        "green", "2021-03", source="sample", sample_rows=60, thresholds=Thresholds(max_psi=0)
    )
    assert all(0 < drift.index < drift.by_chance for drift in few.drift)
    assert not any("drifted" in reason for reason in few.reasons)


def later_by(minutes: float, folder: Path, month: str = "2021-03") -> str:
    """Write a month of the sample in which each trip takes so much longer; return its folder."""
    table, name = sample_table(month), "lpep_dropoff_datetime"
    later = pc.add(table[name], pa.scalar(dt.timedelta(minutes=minutes)))
    place = table.schema.get_field_index(name)
    return month_of(table.set_column(place, name, later), folder, month)


def test_a_level_that_moved_is_seen_though_no_feature_drifts(
    champion: Project, tmp_path: Path
) -> None:
    usual = score("green", "2021-03", source="sample", sample_rows=ROWS)
    slower = score("green", "2021-03", source=later_by(3, tmp_path / "months"))
    assert not usual.should_retrain, usual.verdict
    assert not any("drifted" in reason for reason in slower.reasons)
    (reason,) = (reason for reason in slower.reasons if "too short on average" in reason)
    assert usual.error is not None
    assert slower.error is not None
    assert slower.error.bias == pytest.approx(usual.error.bias - 3, abs=0.6)
    assert f"{-slower.error.bias:.3f} minutes too short" in reason
    metrics = mlflow.get_run(slower.run_id).data.metrics
    assert metrics["bias_day_error"] == pytest.approx(slower.error.bias_over_days.error)
    # The same level over few trips may be chance.
    few = score(
        "green", "2021-03", source="sample", sample_rows=40, thresholds=Thresholds(max_psi=9)
    )
    assert not any("average" in reason for reason in few.reasons)


@pytest.mark.parametrize(
    ("month", "what"), [("2021-01", "learned from"), ("2021-02", "was chosen by")]
)
def test_a_month_never_judges_itself(
    month: str, what: str, champion: Project, taxi_nb: Callable[..., Said], tmp_path: Path
) -> None:
    said = taxi_nb("score", month, "-o", str(tmp_path / "p.parquet"))
    assert said.code == 4, said.err
    assert said.out.splitlines()[-1] == (
        f"no verdict: nyc-taxi-duration, version 1 {what} trips of {month}, and a month never "
        "judges itself; score another month, such as the next one"
    )
    assert "keep" not in said.out
    assert "retrain" not in newest_run(champion).data.metrics
    assert (tmp_path / "p.parquet").is_file()


def test_the_next_month_is_scored_or_there_is_no_verdict(champion: Project, tmp_path: Path) -> None:
    following = score_next("green", ["2021-01", "2021-02"], source="sample", sample_rows=ROWS)
    assert following.origin.months == ("2021-03",)
    assert following.remarks == []
    # The champion was chosen by February, whatever months somebody asks about.
    asked = score_next("green", ["2021-01"], source="sample", sample_rows=ROWS)
    assert asked.origin.months == ("2021-03",)
    folder = month_of(sample_table("2021-02"), tmp_path / "months", "2021-02")
    instead = score_next("green", ["2021-01", "2021-02"], source=folder)
    assert instead.origin.months == ("2021-02",)
    assert instead.verdict.startswith("no verdict: nyc-taxi-duration, version 1 was chosen by")
    assert "The month after 2021-02 cannot be had: " in instead.remarks[0]
    assert "green_tripdata_2021-03.parquet" in instead.remarks[0]


def test_a_reference_of_an_older_model_is_used_and_what_it_lacks_is_said(
    champion: Project, taxi_nb: Callable[..., Said], tmp_path: Path
) -> None:
    known = score("green", "2021-03", source="sample", sample_rows=ROWS)
    file = (
        Path(mlflow.get_run(known.model.run_id).info.artifact_uri.removeprefix("file://"))
        / "drift"
        / "reference.json"
    )
    kept = file.read_text()
    older = json.loads(kept)
    for one in (*older["features"].values(), older["predictions"]):
        del one["days"]
    try:
        file.write_text(json.dumps(older))
        again = score("green", "2021-03", source="sample", sample_rows=ROWS)
        said = taxi_nb("score", "2021-03", "-o", str(tmp_path / "p.parquet"))
    finally:
        file.write_text(kept)
    assert known.remarks == []
    (remark,) = again.remarks
    assert "keeps no counts by day" in remark
    assert f"note: {remark}" in said.err
    assert said.code == 0
    for one, other in zip(known.drift, again.drift, strict=True):
        assert other.by_chance == pytest.approx(one.by_chance, rel=0.7)
        assert other.index == pytest.approx(one.index, abs=0.02)


def test_january_2021_does_not_fit_february(real_months: str, store: str, project: Project) -> None:
    january, other = (load_trips("green", [month], real_months) for month in ("2021-01", "2023-01"))
    trained = train("linear", january, other)
    scored = score("green", "2021-02", source=real_months, model=trained.model_uri)
    features = scored.drift[:-1]
    assert max(drift.index for drift in features) < 0.01
    assert any("too short on average" in reason for reason in scored.reasons)
    assert scored.error is not None
    assert scored.error.bias < -1
    # Days go together: an error that takes trips for independent would be far too small.
    alone = scored.error.rmse / scored.error.by_day["trips"].sum() ** 0.5
    assert scored.error.bias_over_days.error > 3 * alone


@pytest.mark.parametrize("how", ["no column", "null"])
def test_a_month_without_drop_offs_is_predicted_and_has_no_error_yet(
    how: str, champion: Project, taxi_nb: Callable[..., Said], tmp_path: Path
) -> None:
    table, name = sample_table("2021-03"), "lpep_dropoff_datetime"
    place = table.schema.get_field_index(name)
    table = table.drop_columns([name])
    if how == "null":
        table = table.add_column(place, name, pa.nulls(len(table), pa.timestamp("us")))
    folder = month_of(table, tmp_path / "months")
    said = taxi_nb("score", "2021-03", "-o", str(tmp_path / "p.parquet"), "--source", folder)
    assert said.code == 0, said.err
    assert "the month has no drop-off times" in said.out
    assert "shorter than" not in said.out
    assert "rmse" not in newest_run(champion).data.metrics
    known = score("green", "2021-03", tmp_path / "q.parquet", source="sample", sample_rows=ROWS)
    minutes = [pd.read_parquet(tmp_path / name)["minutes"] for name in ("p.parquet", "q.parquet")]
    assert minutes[0].tolist() == minutes[1].tolist()
    assert known.origin.synthetic


def test_rules_of_the_file_decide_what_is_clean(champion: Project) -> None:
    rules = Cleaning(max_distance=5)
    done = score("green", "2021-03", source="sample", sample_rows=ROWS, cleaning=rules)
    trips = load_trips("green", ["2021-03"], "sample", sample_rows=ROWS, cleaning=rules)
    assert done.origin.cleaning.rows_kept == len(trips)
    assert done.predicted > len(trips)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["2021-3"], 2, "`month` must be a month such as '2021-03', got: '2021-3'"),
        (["2021-03", "--taxi", "blue"], 2, "`taxi` must be 'green' or 'yellow', got: 'blue'"),
        (["2021-03", "--source", "nowhere"], 2, "there is no folder"),
        (["2021-03", "--max-psi", "-1"], 2, "`max_psi` must be a number of 0 or more, got: -1.0"),
        (["2021-03", "--set", "cleaning={speed: 3}"], 2, "speed"),
        (["2021-03", "--params", "params/none.yaml"], 2, "params/none.yaml"),
        (["2021-03", "--model", "models:/nobody@champion"], 1, "no champion of nobody yet"),
        (["2021-03", "--model", "models:/nyc-taxi-duration/99"], 1, "no model models:/nyc-taxi"),
        (["2021-03", "--model", "nonsense"], 1, "nonsense"),
        (["2021-03", "--source", "months"], 1, "has no green_tripdata_2021-03.parquet"),
        (["2021-04", "--source", "months"], 1, "it has no PULocationID"),
        (["2021-05", "--source", "months"], 1, "holds no records"),
        (["2021-06", "--source", "months"], 1, "no clean trip is among the 2,100 records"),
        (["2021-07", "--source", "months"], 1, "is cut short"),
    ],
)
def test_what_is_wrong_is_said_once_and_nothing_is_written(
    arguments: list[str],
    code: int,
    message: str,
    champion: Project,
    taxi_nb: Callable[..., Said],
    tmp_path: Path,
) -> None:
    months = champion.root / "months"
    if not months.exists():
        table = sample_table("2021-03")
        month_of(table.drop_columns(["PULocationID"]), months, "2021-04")
        month_of(table.slice(0, 0), months, "2021-05")
        month_of(table, months, "2021-06")
        whole = (months / "green_tripdata_2021-06.parquet").read_bytes()
        (months / "green_tripdata_2021-07.parquet").write_bytes(whole[:-1_000])
    output = tmp_path / "p.parquet"
    output.write_text("what was there")
    said = taxi_nb("score", *arguments, "-o", str(output))
    assert (said.code, said.out) == (code, "")
    assert message in said.err
    assert len(said.err.strip().splitlines()) <= 2
    assert output.read_text() == "what was there"
    assert list(tmp_path.iterdir()) == [output]


def test_a_champion_in_a_copied_registry_scores_the_same(
    champion: Project, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = client_of(f"sqlite:///{champion.root}/mlflow.db")
    version = source.get_model_version_by_alias(DEFAULT_NAME, "champion")
    here = load_scored_model(CHAMPION_MODEL)
    copy = shutil.copy(empty_store, tmp_path / "mlflow.db")
    target = client_of(f"sqlite:///{copy}")
    recreate(RegistryBefore(DEFAULT_NAME, "1", (version,)), source, target, {})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{copy}")
    connect()
    there = load_scored_model(CHAMPION_MODEL)
    assert there.run_id != here.run_id
    assert (there.title, there.errors, there.columns) == (here.title, here.errors, here.columns)
    assert there.reference.to_dict() == here.reference.to_dict()
    assert there.intervals is not None
    target.delete_run(there.run_id)
    target.delete_model_version(DEFAULT_NAME, "1")
    with pytest.raises(ModelError, match="there is no champion of nyc-taxi-duration yet"):
        load_scored_model(CHAMPION_MODEL)


@pytest.mark.parametrize(
    ("output", "message"),
    [("nowhere/p.parquet", "there is no folder"), ("a_folder", "is not a file")],
)
def test_a_place_that_cannot_be_written_is_told_before_anything_is_scored(
    output: str, message: str, champion: Project, taxi_nb: Callable[..., Said], tmp_path: Path
) -> None:
    (tmp_path / "a_folder").mkdir()
    before = len(runs_of(f"sqlite:///{champion.root}/mlflow.db"))
    said = taxi_nb("score", "2021-03", "-o", str(tmp_path / output))
    assert said.code == 2
    assert message in said.err
    assert len(runs_of(f"sqlite:///{champion.root}/mlflow.db")) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted_disk(tmp_path / "disk", "64k") as disk:
        yield disk


def test_a_full_disk_is_one_message_and_the_file_that_was_there_stays(
    champion: Project, taxi_nb: Callable[..., Said], small_disk: Path
) -> None:
    output = small_disk / "p.parquet"
    output.write_text("what was there")
    said = taxi_nb("score", "2021-03", "-o", str(output))
    assert said.code == 1
    assert said.err.strip() == f"{output} cannot be written: No space left on device"
    assert output.read_text() == "what was there"
    assert list(small_disk.iterdir()) == [output]
    assert newest_run(champion).info.status == "FAILED"


@pytest.mark.slow
def test_a_kill_leaves_the_file_that_was_there(
    champion: Project, tmp_path: Path, warm_python: WarmPython
) -> None:
    load_trips("green", ["2021-03"], "sample", sample_rows=300_000)
    folders = {number: tmp_path / number.name for number in (signal.SIGTERM, signal.SIGKILL)}
    processes = {number: scoring_into(folder, warm_python) for number, folder in folders.items()}
    waiting = set(processes)
    until = time.monotonic() + 60
    while waiting and time.monotonic() < until:
        for number in {number for number in waiting if writes_into(folders[number])}:
            processes[number].send_signal(number)
            waiting.remove(number)
        time.sleep(0.002)
    for number, process in processes.items():
        _, err = process.communicate(timeout=60)
        assert process.returncode == (143 if number is signal.SIGTERM else -9), err
        assert (folders[number] / "p.parquet").read_text() == "what was there"
        assert "Traceback" not in err
    assert len(list(folders[signal.SIGTERM].iterdir())) == 1
    # What a kill without notice leaves is hidden, and goes with the next scoring.
    output = folders[signal.SIGKILL] / "p.parquet"
    assert len(list(output.parent.iterdir())) == 2
    score("green", "2021-03", output, source="sample", sample_rows=ROWS)
    assert list(output.parent.iterdir()) == [output]
    assert len(pd.read_parquet(output)) > 2_000


def scoring_into(folder: Path, warm_python: WarmPython) -> Forked:
    """Start `taxi-nb score` on a month of more than one batch."""
    folder.mkdir()
    (folder / "p.parquet").write_text("what was there")
    arguments = ["2021-03", "-o", str(folder / "p.parquet"), "--set", "sample_rows=300000"]
    return warm_python.start(["-m", "taxi_nb", "score", *arguments], Path.cwd(), os.environ)


def writes_into(folder: Path) -> bool:
    return any(part.stat().st_size for part in folder.glob(".p.parquet.*.part"))


def test_a_part_file_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    ours, others = tmp_path / "p.parquet", tmp_path / f".p.parquet.{os.getpid()}-00.part"
    others.touch()
    with PredictionsFile(ours, with_intervals=False):
        pass
    assert list(tmp_path.iterdir()) == [others]


def test_a_link_is_followed(champion: Project, tmp_path: Path) -> None:
    real, link = tmp_path / "real.parquet", tmp_path / "link.parquet"
    link.symlink_to(real)
    score("green", "2021-03", link, source="sample", sample_rows=ROWS)
    assert link.is_symlink()
    assert len(pd.read_parquet(real)) > 2_000
    with pytest.raises(OutputError, match="is not a file"):
        PredictionsFile("/dev/null", with_intervals=False)


def logged(inputs: list[tuple[str, str]] | None, predict: Callable[[Any], Any]) -> str:
    """Log a model that reads these columns; return its address."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    class Model(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined,misc]
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return predict(model_input)

    signature = inputs and ModelSignature(
        Schema([ColSpec(kind, name) for name, kind in inputs]), Schema([ColSpec("double")])
    )
    if mlflow.get_experiment_by_name("others") is None:
        # Left to itself MLflow would keep artifacts in the present folder, the project's own.
        store = Path(mlflow.get_tracking_uri().removeprefix("sqlite:///"))
        mlflow.create_experiment("others", (store.parent / "others").as_uri())
    mlflow.set_experiment("others")
    with mlflow.start_run():
        mlflow.log_metrics({"valid_rmse": 5.0, "valid_mae": 4.0})
        made = mlflow.pyfunc.log_model(
            name="m", python_model=Model(), signature=signature, pip_requirements=["mlflow"]
        )
    return str(made.model_uri)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, "does not say which columns it reads"),
        ([("fare_amount", "double")], "reads fare_amount, which nobody knows at pick-up"),
        ([("trip_distance", "double")], "run .* does not say which training trips it used"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_model_that_cannot_be_used_is_refused(
    inputs: list[tuple[str, str]] | None, message: str, champion: Project
) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{champion.root}/mlflow.db")
    address = logged(inputs, lambda trips: trips["trip_distance"])
    with pytest.raises(ModelError, match=message):
        score("green", "2021-03", source="sample", sample_rows=ROWS, model=address)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "predict", "message"),
    [
        ("string", lambda trips: trips["trip_distance"], "refuses the trips: .*trip_distance"),
        ("double", lambda trips: trips["trip_distance"][:5], "for each of [0-9,]+ trips"),
        ("double", lambda trips: trips["trip_distance"] / 0 * 0, "with values that are none"),
    ],
)
def test_a_model_that_answers_otherwise_fails_the_scoring(
    kind: str, predict: Callable[[Any], Any], message: str, champion: Project
) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{champion.root}/mlflow.db")
    address = logged([("trip_distance", kind)], predict)
    champion_run = mlflow.MlflowClient().get_model_version_by_alias("nyc-taxi-duration", "champion")
    reference = mlflow.artifacts.load_dict(f"runs:/{champion_run.run_id}/drift/reference.json")
    run_id = mlflow.models.get_model_info(address).run_id
    mlflow.MlflowClient().log_dict(run_id, reference, "drift/reference.json")
    with pytest.raises(ModelError, match=message):
        score("green", "2021-03", source="sample", sample_rows=ROWS, model=address)
    assert newest_run(champion).info.status == "FAILED"


def test_a_model_without_a_reference_gets_it_from_the_trips_it_recorded(champion: Project) -> None:
    expected = score("green", "2021-03", source="sample", sample_rows=ROWS)
    run = mlflow.get_run(expected.model.run_id)
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    kept = (folder / "drift" / "reference.json").read_text()
    training = Path(json.loads((folder / "data" / "training.json").read_text())["files"][0]["path"])
    (folder / "drift" / "reference.json").unlink()
    try:
        again = score("green", "2021-03", source="sample", sample_rows=ROWS)
        assert again.drift_table().equals(expected.drift_table())
        moved = training.rename(training.with_suffix(".moved"))
        with pytest.raises(
            ModelError, match=r"cannot be made now: .*cannot be read.*Train it again"
        ):
            score("green", "2021-03", source="sample", sample_rows=ROWS)
        training.write_bytes((moved.parent / moved.name).read_bytes() + b" ")
        with pytest.raises(ModelError, match="changed since it was loaded"):
            score("green", "2021-03", source="sample", sample_rows=ROWS)
        moved.replace(training)
    finally:
        (folder / "drift" / "reference.json").write_text(kept)


def test_limits_have_to_be_numbers() -> None:
    with pytest.raises(ValueError, match="`max_rmse_increase` must be a number of 0 or more"):
        Thresholds(max_rmse_increase=float("nan"))


def test_a_model_whose_training_run_was_deleted_for_good_still_scores(
    project: Project, store: str
) -> None:
    from click.testing import CliRunner as ClickRunner
    from mlflow.cli import gc

    training, validation = (
        load_trips("green", [month], "sample", sample_rows=ROWS) for month in ("2021-01", "2021-02")
    )
    trained = train("ridge", training, validation)
    given: dict[str, Any] = {"source": "sample", "sample_rows": ROWS, "model": trained.model_uri}
    before = score("green", "2021-03", **given)
    mlflow.MlflowClient().delete_run(trained.run_id)
    # Many call it by a timer.
    deleted = ClickRunner().invoke(gc, ["--backend-store-uri", store, "--run-ids", trained.run_id])
    assert deleted.exit_code == 0
    after = score("green", "2021-03", **given)
    assert after.verdict == before.verdict
    assert [drift.index for drift in after.drift] == [drift.index for drift in before.drift]
    assert "is no longer in the store" in after.remarks[0]
    # A model of before carried nothing of its training.
    (kept,) = project.root.glob("mlartifacts/**/training.json")
    kept.unlink()
    with pytest.raises(ModelError, match=r"loads, but its training run .* is no longer in the"):
        score("green", "2021-03", **given)


def test_a_month_that_does_not_pass_a_check_leaves_no_predictions(
    champion: Project, taxi_nb: Callable[..., Said], tmp_path: Path
) -> None:
    file = champion.pipeline(f"checks: {{rows: {{min: 50000}}}}\n{PIPELINE}", "checked")
    output = tmp_path / "predictions.parquet"
    given = ("score", "2021-03", "--params", str(file), "-o", str(output), "--experiment", "checks")
    said = taxi_nb(*given)
    assert said.code == 1
    assert "records of 2021-03, at least 50,000: FAIL. To let it pass once: --accept" in said.err
    assert not output.exists()
    run = newest_run(champion)
    assert (run.info.status, "FAIL" in run.data.tags["taxi_nb.checks"]) == ("FAILED", True)
    said = taxi_nb(*given, "--accept", "rows=a small town")
    assert said.code in (0, 3)
    assert "at least 50,000: ACCEPTED (a small town)" in said.out
    assert output.exists()
