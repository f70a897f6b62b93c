"""One way in: `tracked_run` and `train` leave everything that a reviewer asks for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from taxi_nb import (
    MODELS,
    Cleaning,
    load_model,
    load_trips,
    provenance,
    regression_metrics,
    tracked_run,
    train,
    training_runs,
    tune,
    with_recent,
)
from taxi_nb.tracking.pipeline_runs import PipelineTracking, step_environment
from tests.conftest import Project, runs_of
from tests.warm import WarmPython

ROWS = 2_000


@pytest.fixture
def training(project: Project) -> pd.DataFrame:
    return load_trips("green", ["2021-01"], source="sample", sample_rows=ROWS)


@pytest.fixture
def validation(project: Project) -> pd.DataFrame:
    return load_trips("green", ["2021-02"], source="sample", sample_rows=ROWS)


def artifacts(run_id: str, folder: str = "") -> set[str]:
    return {item.path for item in mlflow.MlflowClient().list_artifacts(run_id, folder)}


def test_a_training_run_has_parameters_tags_metrics_data_figures_and_the_model(
    store: str, training: pd.DataFrame, validation: pd.DataFrame
) -> None:
    result = train("lasso", training, validation, params={"alpha": 0.2}, seed=7)
    (run,) = runs_of(store)
    assert run.info.run_id == result.run_id
    assert run.info.status == "FINISHED"
    params = run.data.params
    assert params["model"] == "lasso"
    assert (params["alpha"], params["seed"]) == ("0.2", "7")
    for role, trips in (("training", training), ("validation", validation)):
        origin = provenance(trips)
        assert params[f"{role}_data"] == origin.files[0].path
        assert Path(params[f"{role}_data"]).is_file()
        assert params[f"{role}_months"] == origin.months[0]
        assert params[f"{role}_digest"] == origin.digest
    metrics = run.data.metrics
    assert {f"{p}_{m}" for p in ("train", "valid") for m in ("rmse", "mae", "r2")} <= set(metrics)
    assert metrics["valid_rmse"] == result.metrics["valid_rmse"]
    tags = run.data.tags
    assert tags["taxi_nb.kind"] == "training"
    assert tags["data.source"] == "sample (synthetic)"
    assert tags["developer"]
    assert "not a git checkout" in tags["git.commit"]
    assert {"figures/residuals.png", "figures/predicted_against_actual.png"} == artifacts(
        run.info.run_id, "figures"
    )
    for name, picture in result.figures.items():  # A notebook shows what was logged.
        logged = mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/figures/{name}.png")
        shown, about = picture._repr_mimebundle_()
        assert shown["image/png"] == Path(logged).read_bytes()
        assert about["image/png"]["alt"] == picture.alt != ""
    assert "data/training_cleaning.txt" in artifacts(run.info.run_id, "data")
    inputs = {i.tags[0].value: i.dataset for i in run.inputs.dataset_inputs}
    assert inputs["training"].digest == provenance(training).digest
    assert "synthetic" in inputs["validation"].name


def test_the_model_predicts_from_raw_trips_as_pyfunc_and_as_it_was(
    store: str, training: pd.DataFrame, validation: pd.DataFrame
) -> None:
    result = train("linear", training, validation)
    expected = result.estimator.predict(validation)
    raw = validation[["PULocationID", "DOLocationID", "trip_distance"]]
    served = mlflow.pyfunc.load_model(result.model_uri)
    assert list(served.predict(raw)) == pytest.approx(list(expected))
    # A file that was just read has 64-bit zones.
    wide = raw.astype({"PULocationID": "int64", "DOLocationID": "int64"})
    assert list(served.predict(wide)) == pytest.approx(list(expected))
    assert list(load_model(result.run_id).predict(validation)) == list(expected)


@pytest.mark.parametrize("model", ["xgboost-rich", "xgboost-rich-live", "xgboost-before"])
def test_a_model_of_what_is_known_at_pick_up_comes_back_as_it_was(
    store: str, training: pd.DataFrame, validation: pd.DataFrame, model: str
) -> None:
    result = train(model, training, validation, params={"n_estimators": 5})
    expected = result.estimator.predict(validation)
    assert list(load_model(result.run_id).predict(validation)) == list(expected)
    served = mlflow.pyfunc.load_model(result.model_uri)
    raw = validation[list(MODELS[model].reads)]
    assert served.metadata.get_input_schema().input_names() == list(raw)
    assert list(served.predict(raw)) == list(expected)
    with pytest.raises(mlflow.exceptions.MlflowException, match="pickup_datetime"):
        served.predict(raw.drop(columns="pickup_datetime"))
    # Told the trips that have ended, it is measured once more.
    assert ("valid_live_rmse" in result.metrics) == model.endswith("-live")
    if model.endswith("-live"):
        told = with_recent(load_model(result.run_id), validation).predict(validation)
        rmse = regression_metrics(validation["duration"], told)["rmse"]
        assert result.metrics["valid_live_rmse"] == pytest.approx(rmse, rel=1e-9)


@pytest.mark.parametrize("model", ["linear", "random_forest", "xgboost", "xgboost-rich"])
def test_no_pickle_is_in_a_logged_model_and_its_requirements_are_pinned(
    store: str, training: pd.DataFrame, validation: pd.DataFrame, model: str
) -> None:
    small = {} if model == "linear" else {"n_estimators": 3}
    result = train(model, training, validation, params=small)
    folder = Path(mlflow.artifacts.download_artifacts(result.model_uri))
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert "model.skops" in names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".joblib"))]
    requirements = (folder / "requirements.txt").read_text().split()
    assert requirements
    assert all("==" in requirement for requirement in requirements)
    assert any(r.startswith("xgboost") for r in requirements) == ("xgboost" in model)
    info = mlflow.models.get_model_info(result.model_uri)
    assert info.signature is not None
    logged = mlflow.get_logged_model(result.model_uri.removeprefix("models:/"))
    assert logged.params["model"] == model
    assert "valid_rmse" in {metric.key for metric in logged.metrics or []}
    # What runs notebooks, and what trains, is no part of what predicts.
    (carried,) = (folder / "code").iterdir()
    assert (carried / "features.py").is_file()
    assert not (folder / "code" / "taxi_nb").exists()
    assert info.saved_input_example_info is not None


def test_the_pins_of_a_model_are_the_locks() -> None:
    from taxi_nb.training.logged_model import model_requirements
    from tests.conftest import REPOSITORY

    lock = (REPOSITORY / "requirements.lock").read_text()
    for pin in model_requirements(MODELS["xgboost"]):
        assert f"\n{pin} " in lock


@pytest.mark.slow
def test_models_load_where_the_package_is_not_installed(
    store: str, training: pd.DataFrame, validation: pd.DataFrame, tmp_path: Path
) -> None:
    folders = []
    for model, params in (("ridge", {}), ("xgboost-rich", {"n_estimators": 3})):
        result = train(model, training, validation, params=params)
        folder = mlflow.artifacts.download_artifacts(
            result.model_uri, dst_path=str(tmp_path / model)
        )
        folders.append(folder)
    script = (
        # All installed packages but those that a .pth file leads to, as an editable install does.
        f"import sys; sys.path.append({str(Path(mlflow.__file__).parents[1])!r})\n"
        "import mlflow, pandas as pd\n"
        "trips = pd.DataFrame({'PULocationID': [43], 'DOLocationID': [151], "
        "'trip_distance': [1.5], 'pickup_datetime': [pd.Timestamp('2021-02-03 08:15')]})\n"
        f"for folder in {folders!r}:\n"
        "    print(mlflow.pyfunc.load_model(folder).predict(trips)[0])\n"
        "import taxi_nb"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, cwd=tmp_path
    )
    assert "No module named 'taxi_nb'" in done.stderr
    minutes = done.stdout.split()
    assert len(minutes) == 2
    assert all(float(value) > 0 for value in minutes)


def test_a_block_that_raises_leaves_a_failed_run(store: str) -> None:
    with pytest.raises(ZeroDivisionError), tracked_run("broken"):
        _ = 1 / 0
    (run,) = runs_of(store)
    assert run.info.status == "FAILED"


def test_blocks_in_one_another_are_parent_and_child(store: str) -> None:
    with tracked_run("outer") as outer, tracked_run("inner") as inner:
        pass
    child = mlflow.get_run(inner.info.run_id)
    assert child.data.tags["mlflow.parentRunId"] == outer.info.run_id


def test_in_a_step_the_first_block_joins_its_run_and_the_next_is_a_child(
    store: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = PipelineTracking("steps")
    run_id = pipeline.open_run("01_a", "step", {}, source=project.notebook("01_a"))
    environment = step_environment(
        uri=store, experiment="steps", run_id=run_id, notebook="notebooks/01_a.ipynb", upstream={}
    )
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with tracked_run("first") as first:
        mlflow.log_metric("a", 1)
    with tracked_run("second") as second:
        mlflow.log_metric("b", 2)
    assert first.info.run_id == run_id
    runs = {run.info.run_id: run for run in runs_of(store)}
    assert len(runs) == 2
    assert runs[second.info.run_id].data.tags["mlflow.parentRunId"] == run_id
    assert runs[run_id].data.tags["notebook"] == "notebooks/01_a.ipynb"
    assert runs[run_id].data.tags["mlflow.source.name"] == "notebooks/01_a.ipynb"


def test_a_notebook_in_jupyterlab_is_known_by_its_name(
    store: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", str(project.root / "notebooks" / "03_train.ipynb"))
    with tracked_run("lab") as run:
        pass
    assert mlflow.get_run(run.info.run_id).data.tags["notebook"] == "notebooks/03_train.ipynb"


def test_tuning_nests_its_trials_and_logs_the_best_refitted(
    store: str, training: pd.DataFrame, validation: pd.DataFrame
) -> None:
    small = {"n_estimators": 10}
    tuned = tune(training, validation, params=small, max_evals=3, max_rounds=10, seed=3)
    runs = runs_of(store)
    trials = [run for run in runs if run.data.tags["taxi_nb.kind"] == "trial"]
    (parent,) = (run for run in runs if run.data.tags["taxi_nb.kind"] == "training")
    assert len(trials) == len(tuned.trials) == 3
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {parent.info.run_id}
    assert {run.info.run_id for run in trials} == set(tuned.trials["run_id"])
    won = tuned.trials.iloc[tuned.chosen]
    assert parent.data.params["max_depth"] == str(int(won["max_depth"]))
    assert parent.data.params["n_estimators"] == str(int(won["rounds"]))
    assert parent.data.metrics["best_holdout_rmse"] == pytest.approx(tuned.trials["rmse"].min())
    assert parent.data.tags["tuning"] == tuned.reason
    again = tune(training, validation, params=small, max_evals=3, max_rounds=10, seed=3)
    assert list(again.trials["rmse"]) == list(tuned.trials["rmse"])


def test_validating_on_months_that_were_trained_on_is_refused(
    store: str, training: pd.DataFrame
) -> None:
    for call in (lambda: train("linear", training, training), lambda: tune(training, training)):
        with pytest.raises(ValueError, match=r"must not share a month, both have: 2021-01"):
            call()
    assert runs_of(store) == []


def test_validating_on_a_copy_of_what_was_trained_on_is_refused(
    store: str, project: Project, training: pd.DataFrame
) -> None:
    made = Path(provenance(training).files[0].path)
    for month in ("2021-01", "2021-02"):
        shutil.copy(made, project.root / f"green_tripdata_{month}.parquet")
    rules = Cleaning(within_month=False)
    january, february = (
        load_trips("green", [month], project.root, cleaning=rules)
        for month in ("2021-01", "2021-02")
    )
    with pytest.raises(ValueError, match=r"these files hold the same: .*2021-01.*2021-02"):
        train("linear", january, february)
    assert runs_of(store) == []


@pytest.mark.parametrize(
    "wrong", [{"max_evals": 0}, {"max_rounds": 0}, {"origins": 1}, {"model": "ridge"}]
)
def test_a_search_out_of_range_is_refused(
    store: str, training: pd.DataFrame, validation: pd.DataFrame, wrong: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must be"):
        tune(training, validation, **wrong)  # type: ignore[arg-type]


def test_only_models_of_the_same_trips_are_compared_and_the_best_comes_first(
    store: str, training: pd.DataFrame, validation: pd.DataFrame
) -> None:
    digests = provenance(training).digest, provenance(validation).digest
    with pytest.raises(LookupError, match="no model has been trained on these data yet"):
        training_runs(*digests)
    train("lasso", training, validation, params={"alpha": 10.0})
    train("linear", training, validation)
    other = load_trips("green", ["2021-03"], source="sample", sample_rows=ROWS)
    train("ridge", other, validation)
    again = train("lasso", training, validation, params={"alpha": 1.0})
    runs = training_runs(*digests)
    assert {run.data.params["model"] for run in runs} == {"linear", "lasso"}
    assert again.run_id in {run.info.run_id for run in runs}
    errors = [run.data.metrics["valid_rmse"] for run in runs]
    assert errors == sorted(errors)


def test_processes_that_meet_a_new_store_together_agree(
    project: Project, warm_python: WarmPython
) -> None:
    script = "from taxi_nb.tracking.store import connect; print(connect('race'))"
    environment = {**os.environ, "MLFLOW_LOGGING_LEVEL": "ERROR"}
    started = [warm_python.start(["-c", script], project.root, environment) for _ in range(3)]
    said = [process.communicate() for process in started]
    assert [process.wait() for process in started] == [0, 0, 0], said
    assert len({out for out, _ in said}) == 1
