"""Trained models to register: made once, in a store that each test has a copy of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run

    from tests.conftest import Project

ROWS = 2_000


@dataclass(frozen=True)
class TrainedModels:
    """A store with training runs, and the trips they are judged on."""

    database: Path
    run_ids: Mapping[str, str]
    training: pd.DataFrame
    validation: pd.DataFrame

    def run(self, name: str) -> Run:
        import mlflow

        return mlflow.get_run(self.run_ids[name])


def project_folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """Make a folder called as tests' projects are: without a name of its own, an experiment's is
    the folder's.
    """
    folder = factory.mktemp(name) / "project"
    folder.mkdir()
    return folder


@contextmanager
def store_in(root: Path) -> Iterator[None]:
    """Let the store of a folder be the current one, for a while."""
    import mlflow

    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAXI_NB_ROOT", str(root))
        # MLflow sets this variable, too.
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        mlflow.set_tracking_uri(f"sqlite:///{root}/mlflow.db")
        yield
        mlflow.set_tracking_uri(before)


@pytest.fixture(scope="session")
def trained_models(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> TrainedModels:
    """Three models, each better than the one before: poor, fair, good."""
    from taxi_nb import load_trips, train

    root = project_folder(tmp_path_factory, "trained")
    shutil.copy(empty_store, root / "mlflow.db")
    with store_in(root):
        training, validation = (
            load_trips("green", [month], source="sample", sample_rows=ROWS)
            for month in ("2021-01", "2021-02")
        )
        alphas = {"poor": 50.0, "fair": 20.0, "good": 5.0}
        run_ids = {
            name: train("lasso", training, validation, params={"alpha": alpha}).run_id
            for name, alpha in alphas.items()
        }
    return TrainedModels(root / "mlflow.db", run_ids, training, validation)


def copy_store(database: Path, root: Path) -> None:
    """Copy a project's store with its artifacts, as a copy of the project has them."""
    shutil.copy(database, root / "mlflow.db")
    shutil.copytree(database.parent / "mlartifacts", root / "mlartifacts", dirs_exist_ok=True)
    from mlflow.tracking._tracking_service import utils

    from taxi_nb.tracking.experiments import bring_home

    with pytest.MonkeyPatch.context() as patch, redirect_stderr(StringIO()):
        patch.setenv("TAXI_NB_ROOT", str(root))
        # As the first use of a copied project does; tests look at artifacts before. MLflow
        # remembers where a run has them: in one process the same run is never elsewhere.
        utils._artifact_repos_cache.clear()
        bring_home(f"sqlite:///{root}/mlflow.db")


@pytest.fixture(scope="session")
def database_of_three_champions(
    tmp_path_factory: pytest.TempPathFactory, trained_models: TrainedModels
) -> Path:
    """The same store after poor, fair and good were promoted, one after the other."""
    from taxi_nb import promote_if_better

    root = project_folder(tmp_path_factory, "champions")
    copy_store(trained_models.database, root)
    with store_in(root):
        for name in trained_models.run_ids:
            decision = promote_if_better(trained_models.run(name), trained_models.validation)
            assert decision.promoted
    return root / "mlflow.db"


@pytest.fixture
def trained(project: Project, trained_models: TrainedModels, store: str) -> TrainedModels:
    """The models in the project's own store, in which nothing is registered."""
    copy_store(trained_models.database, project.root)
    return trained_models


@pytest.fixture
def three_champions(
    project: Project,
    trained_models: TrainedModels,
    database_of_three_champions: Path,
    store: str,
) -> TrainedModels:
    """Poor, fair and good were champion, one after the other, as versions 1 to 3."""
    copy_store(database_of_three_champions, project.root)
    return trained_models
