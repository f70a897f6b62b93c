"""The project's own pipelines, whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import mlflow
import pytest

from taxi_nb.pipeline.kernels.pool import KernelPool
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.record import Status
from taxi_nb.pipeline.run import run_pipeline
from tests.conftest import REPOSITORY, Project, current_project, runs_of, texts
from tests.running import Listener

pytestmark = pytest.mark.slow

REAL_MONTHS = Path(os.environ.get("TAXI_NB_TEST_DATA", REPOSITORY.parent / "shared" / "data"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project in a folder whose name is hard on addresses."""
    return current_project(tmp_path / "it's 100% #1, isn't it?", monkeypatch)


@pytest.fixture
def copy(project: Project) -> Project:
    """The project's notebooks and pipelines in a place of their own."""
    for folder in ("notebooks", "params"):
        shutil.copytree(REPOSITORY / folder, project.root / folder, dirs_exist_ok=True)
    return project


def test_the_smoke_pipeline_from_ingest_to_champion(
    copy: Project, store: str, warm_pool: KernelPool
) -> None:
    pipeline = read_pipeline(copy.root / "params" / "smoke.yaml", copy.root)
    record, folder = run_pipeline(pipeline, pool=warm_pool, jobs=2, listener=Listener())
    assert record.status is Status.OK, [str(step.error) for step in record.steps if step.error]
    for step in record.steps:
        assert step.executed_notebook is not None
        shown = texts(folder / step.executed_notebook)
        assert "**Conclusion.**" in shown
        assert "Warning" not in shown, step.name
        # A step that used no trips of its own speaks of those that its needs used.
        assert step.data_source in ("sample (synthetic)", None)
        assert step.html is not None
        assert "made-up records" in (folder / step.html).read_text(), step.name
    page = (folder / "index.html").read_text()
    assert "sample (synthetic)" in page
    # Figures are described by their own titles.
    for title in ("How long trips take", "Residuals", "Error by hour"):
        assert f'alt="{title}"' in page
    kinds = [run.data.tags["taxi_nb.kind"] for run in runs_of(store)]
    assert kinds.count("pipeline") == 1
    assert kinds.count("training") == 3
    assert kinds.count("trial") == 2
    assert kinds.count("registration") == 1
    assert kinds.count("scoring") == 1
    assert {run.info.status for run in runs_of(store)} == {"FINISHED"}
    champion = mlflow.MlflowClient().get_model_version_by_alias("smoke", "champion")
    best = min(
        (run for run in runs_of(store) if run.data.tags["taxi_nb.kind"] == "training"),
        key=lambda run: run.data.metrics["valid_rmse"],
    )
    assert champion.run_id == best.info.run_id
    # What evaluation measured of the best model, scoring uses.
    scored = next(run for run in runs_of(store) if run.data.tags["taxi_nb.kind"] == "scoring")
    assert 0.7 < scored.data.metrics["interval_coverage"] <= 1
    assert [model.mlflow_run_id for model in record.models if model.champion] == [champion.run_id]
    assert len(record.models) == 3
    assert record.champion == f"smoke, version {champion.version}"
    assert "promoted: there was no champion" in (record.decision or "")


def test_the_same_notebooks_on_months_larger_than_a_frame(
    copy: Project, store: str, warm_pool: KernelPool
) -> None:
    copy.pipeline(
        """
params: {sample_rows: 3000, max_trips: 1000}
steps:
  - notebook: 01_ingest
  - notebook: 03_train
    matrix: {model: [linear, random_forest]}
"""
    )
    pipeline = read_pipeline(copy.root / "params" / "test.yaml", copy.root)
    record, folder = run_pipeline(pipeline, pool=warm_pool, jobs=2, listener=Listener())
    ingested, linear, forest = record.steps
    assert (ingested.status, linear.status) == (Status.OK, Status.OK)
    assert forest.status is Status.FAILED
    assert "'random_forest' cannot learn in batches" in str(forest.error)
    assert linear.metrics["training_trips"] > 2_900
    assert linear.executed_notebook is not None
    assert "**Conclusion.**" in texts(folder / linear.executed_notebook)


@pytest.mark.skipif(
    not (REAL_MONTHS / "green_tripdata_2021-01.parquet").is_file(),
    reason=f"no real months in {REAL_MONTHS}; set TAXI_NB_TEST_DATA to a folder of them",
)
def test_the_known_results_on_real_trips(
    copy: Project, store: str, warm_pool: KernelPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_NB_DATA_DIR", str(REAL_MONTHS))
    (copy.root / "params" / "known.yaml").write_text(
        """
params:
  source: tlc
  taxi: green
  train_months: [2021-01]
  valid_months: [2021-02]
  # These results have the three trips in them that were picked up in another month.
  cleaning: {within_month: false}
steps:
  - notebook: 03_train
    matrix: {model: [linear, linear-lsqr, ridge, lasso]}
  - notebook: 03_train
    name: stronger
    needs: []
    params: {model: lasso, model_params: {alpha: 0.1}}
"""
    )
    pipeline = read_pipeline(copy.root / "params" / "known.yaml", copy.root)
    record, _ = run_pipeline(pipeline, pool=warm_pool, jobs=2, listener=Listener())
    assert record.status is Status.OK, [str(step.error) for step in record.steps if step.error]
    known = {
        "03_train[linear]": 7.480827,
        "03_train[linear-lsqr]": 7.758715,
        "03_train[ridge]": 7.703735,
        "03_train[lasso]": 11.167276,
        "stronger": 12.143234,
    }
    found = {step.name: step.metrics["valid_rmse"] for step in record.steps}
    assert found == pytest.approx(known, abs=1e-6)
    assert {step.data_source for step in record.steps} == {"tlc"}
