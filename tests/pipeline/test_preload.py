"""Which libraries kernels find imported: those that a pipeline's code speaks of."""

from __future__ import annotations

from taxi_nb.pipeline.kernels.pool import DEFAULT_PRELOAD
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.preload import modules_to_preload
from tests.conftest import REPOSITORY, Project


def libraries(project: Project, code: str) -> set[str]:
    project.notebook("01_a", code)
    pipeline = read_pipeline(project.pipeline("steps: [{notebook: 01_a}]"), project.root)
    return {module.partition(".")[0] for module in modules_to_preload(pipeline)}


def test_the_projects_own_pipeline_uses_all_of_them() -> None:
    pipeline = read_pipeline(REPOSITORY / "params" / "default.yaml", REPOSITORY)
    assert modules_to_preload(pipeline) == DEFAULT_PRELOAD


def test_what_no_code_speaks_of_is_not_imported_for_it(project: Project) -> None:
    every_kernel = {"ipykernel", "ipykernel_launcher", "IPython", "pdb", "threadpoolctl", "tornado"}
    assert libraries(project, "print(1)") == every_kernel
    assert libraries(project, "import pandas") == {*every_kernel, "pandas"}
    assert "xgboost" not in libraries(project, "import mlflow, sklearn, seaborn")
    assert "alembic" not in libraries(project, "import mlflow")
    assert "alembic" in libraries(project, "import mlflow\nmlflow.log_metric('m', 1)")


def test_what_a_module_of_the_project_imports_counts(project: Project) -> None:
    assert "xgboost" in libraries(project, "from taxi_nb import train")


def test_code_that_cannot_be_found_is_no_obstacle(project: Project) -> None:
    assert "pandas" in libraries(project, "import nowhere_to_be_found\nimport pandas")
