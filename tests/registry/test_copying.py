"""A version goes to another registry whole, once, and says where it came from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from taxi_nb import ConformalIntervals, load_model, model_card, promotion_history
from taxi_nb.cli import app
from taxi_nb.registry.copying import copy_version
from taxi_nb.registry.promotion import promote
from taxi_nb.registry.versions import RegistryError
from taxi_nb.scoring.scored_model import load_scored_model
from taxi_nb.tracking.model_files import noted_files, require_same_files
from tests.conftest import Project, runs_of
from tests.trained_models import TrainedModels, store_in

NAME = "nyc-taxi-duration"


@pytest.fixture
def production(tmp_path: Path, empty_store: Path) -> Path:
    """The folder of another store, with nothing in it."""
    root = tmp_path / "production"
    root.mkdir()
    shutil.copy(empty_store, root / "mlflow.db")
    return root


@pytest.fixture
def staging(three_champions: TrainedModels) -> TrainedModels:
    """Three champions, of which the last has intervals."""
    model = load_model(f"models:/{NAME}/3")
    intervals = ConformalIntervals.calibrate(model, three_champions.training)
    intervals.log(three_champions.run_ids["good"])
    return three_champions


def address(root: Path) -> str:
    return f"sqlite:///{root}/mlflow.db"


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["registry", *arguments], env={"COLUMNS": "200"})
    return done.exit_code, done.output


def test_a_copy_has_all_that_scoring_and_a_reviewer_need(
    staging: TrainedModels, production: Path, store: str
) -> None:
    code, said = command("copy", "3", "--to", address(production))
    assert (code, said.splitlines()[0]) == (
        0,
        f"{NAME}: version 3 is version 1 in {address(production)}",
    )
    assert f"{address(production)} taxi-nb registry promote 1 --reason WHY" in said
    here = load_scored_model(f"models:/{NAME}/3")
    files = noted_files(MlflowClient(), MlflowClient().get_model_version(NAME, "3"))
    original = staging.run("good")
    with store_in(production):
        client = MlflowClient()
        version = client.get_model_version(NAME, "1")
        assert noted_files(client, version) == files
        assert {
            name: version.tags[f"origin.{name}"] for name in ("registry", "version", "run_id")
        } == {
            "registry": store,
            "version": f"{NAME}, version 3",
            "run_id": original.info.run_id,
        }
        assert version.tags["lineage.commit"] == original.data.tags["git.commit"]
        assert version.tags["lineage.training_digest"] == original.data.params["training_digest"]
        traced = CliRunner().invoke(app, ["trace", f"models:/{NAME}/1"], env={"COLUMNS": "200"})
        assert f"origin.version: {NAME}, version 3" in traced.output
        # No alias has moved: that is for whoever has the other registry.
        assert client.get_registered_model(NAME).aliases == {}
        run = client.get_run(str(version.run_id))
        assert run.info.run_id != original.info.run_id
        assert (run.data.params, run.data.metrics) == (original.data.params, original.data.metrics)
        assert (run.info.status, run.info.start_time) == ("FINISHED", original.info.start_time)
        assert run.inputs
        assert len(run.inputs.dataset_inputs) == 2
        there = load_scored_model(f"models:/{NAME}/1")
        assert there.intervals is not None
        for part in ("columns", "errors", "used", "synthetic"):
            assert getattr(there, part) == getattr(here, part), part
        assert there.reference.to_dict() == here.reference.to_dict()
        trips = {name: staging.validation[name].to_numpy() for name in here.columns}
        assert np.array_equal(there.predict(trips), here.predict(trips))
        card = model_card(NAME, "1")
        assert card.startswith(f"# {NAME}, version 1\n\nCopied from {NAME}, version 3 in `{store}`")
        assert f'load_model("models:/{NAME}/1")' in card
        assert promote("1", reason="tried in staging").after == "1"
        assert load_model(f"models:/{NAME}@champion")
        # Plain MLflow takes it as well.
        plain = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
        raw = staging.validation[list(here.columns)]
        assert np.array_equal(plain.predict(raw), here.predictor.predict(raw))


def test_copied_twice_it_is_the_same_version(staging: TrainedModels, production: Path) -> None:
    for _ in range(2):
        code, said = command("copy", "3", "--to", address(production))
    assert (code, said) == (
        0,
        f"{NAME}: version 3 was there already, as version 1 in {address(production)}\n",
    )
    assert command("copy", "2", "--to", address(production))[0] == 0
    assert len(runs_of(address(production), "tags.`taxi_nb.kind` = 'training'")) == 2
    # Back again it is what it was.
    with store_in(production):
        said = command("copy", "1", "--to", address(Path.cwd()))[1]
        assert "version 1 was there already, as version 3" in said


def test_the_variable_that_holds_the_address_can_be_named(
    staging: TrainedModels, production: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRODUCTION", address(production))
    assert command("copy", "1", "--to", "env:PRODUCTION")[0] == 0
    # The store at hand is what it was.
    assert len(promotion_history(NAME).promotions) == 3


class Killed(BaseException):
    """As a kill: nothing of the call goes on."""


_WRITES = (
    *("create_experiment", "create_run", "log_batch", "log_inputs", "log_artifacts", "log_param"),
    *("set_terminated", "create_logged_model", "log_model_artifacts", "finalize_logged_model"),
    *("log_outputs", "set_tag", "create_registered_model", "create_model_version", "log_text"),
    *("update_model_version", "rename_experiment", "set_experiment_tag"),
)


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Kills the call before it writes so many times; how many it still may."""
    left = [-1]

    def dies(method: Any) -> Any:
        def called(*given: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] == -1:
                raise Killed
            return method(*given, **named)

        return called

    for name in _WRITES:
        monkeypatch.setattr(MlflowClient, name, dies(getattr(MlflowClient, name)))
    return left


@pytest.mark.slow
def test_killed_at_any_write_and_called_again_it_is_right(
    staging: TrainedModels, production: Path, kill: list[int]
) -> None:
    calls = 0
    while True:
        kill[0] = calls
        try:
            made = copy_version("3", address(production))
        except Killed:
            calls += 1
            continue
        break
    assert calls > 5
    assert made.version == "1"
    with store_in(production):
        client = MlflowClient()
        (version,) = client.search_model_versions(f"name = '{NAME}'")
        require_same_files(client, version)
        (run,) = runs_of(address(production), "tags.`taxi_nb.kind` = 'training'")
        assert (version.run_id, run.info.status) == (run.info.run_id, "FINISHED")
        assert run.data.params == staging_params(staging)
        assert model_card(NAME, "1").startswith(f"# {NAME}, version 1\n")
        (model,) = client.search_logged_models([run.info.experiment_id])
        assert model.status == "READY"
        assert [one.model_id for one in run.outputs.model_outputs] == [model.model_id]
        assert load_scored_model(f"models:/{NAME}/1").intervals is not None


def staging_params(staging: TrainedModels) -> dict[str, str]:
    with store_in(Path.cwd()):
        return dict(staging.run("good").data.params)


def test_a_model_that_outlived_its_run_is_copied_and_scores(
    staging: TrainedModels, production: Path
) -> None:
    run_id = staging.run_ids["good"]
    mlflow.MlflowClient().delete_run(run_id)
    mlflow.tracking._tracking_service.utils._get_store()._hard_delete_run(run_id)
    copy_version("3", address(production))
    with store_in(production):
        found = load_scored_model(f"models:/{NAME}/1")
        assert found.lost_run
        assert found.errors["rmse"] > 0


@pytest.mark.parametrize(
    ("version", "to", "told"),
    [
        ("9", "{production}", "has no version 9: it was deleted, or never registered"),
        ("3", "{here}", "is the store that is copied from: name another"),
        ("3", "{clone}", "is the store that is copied from, or a copy of it: it has the training"),
        ("3", "http://ann:s3cret@127.0.0.1:9", "http://127.0.0.1:9 cannot be used: no server"),
        ("3", "sqlite:////no/such/folder/mlflow.db", "there is no folder /no/such/folder. --to"),
        ("3", "sqlite:///{notes}", "cannot be asked for runs: file is not a database"),
        ("3", "sqlite://", "it is in memory"),
        ("3", "production", "production is no address of a store, which begins with http://"),
        ("3", "env:NOT_SET", "env:NOT_SET is no address of a store"),
    ],
)
def test_a_mistake_is_told_before_anything_is_written(
    staging: TrainedModels, production: Path, tmp_path: Path, version: str, to: str, told: str
) -> None:
    (tmp_path / "notes.txt").write_text("no database " * 100)
    shutil.copy(Path.cwd() / "mlflow.db", tmp_path / "clone.db")
    places = {
        "production": address(production),
        "here": f"sqlite:///{Path.cwd()}/../project/mlflow.db",
        "clone": f"sqlite:///{tmp_path}/clone.db",
        "notes": f"{tmp_path}/notes.txt",
    }
    before = (production / "mlflow.db").read_bytes()
    code, said = command("copy", version, "--to", to.format(**places))
    assert code == 1, said
    assert told in said
    assert said.count("\n") == 1
    assert "s3cret" not in said
    assert (production / "mlflow.db").read_bytes() == before
    assert sorted(path.name for path in production.iterdir()) == ["mlflow.db"]


def test_a_damaged_model_is_not_copied(
    staging: TrainedModels, production: Path, project: Project
) -> None:
    client = MlflowClient()
    place = Path(
        str(mlflow.artifacts.download_artifacts(client.get_model_version_download_uri(NAME, "2")))
    )
    assert place.is_relative_to(project.root)
    (place / "requirements.txt").write_text("evil\n")
    with pytest.raises(RegistryError, match=r"requirements.txt has another content"):
        copy_version("2", address(production))
    assert runs_of(address(production)) == []
