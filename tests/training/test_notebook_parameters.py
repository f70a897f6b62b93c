"""What is wrong with the values of a pipeline is told at once, before any kernel starts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.spec import PipelineFileError
from taxi_nb.training.notebook_parameters import PARAMETERS
from taxi_nb.trips.availability import require_months
from taxi_nb.trips.errors import MissingMonthError, TripsError, UnreachableError
from tests.conftest import REPOSITORY, Project
from tests.receiving import published
from tests.running import CommandLine

ALL = [path.stem for path in sorted((REPOSITORY / "notebooks").glob("*.ipynb"))]


def mistakes(file: Path, root: Path, *overrides: str) -> list[str]:
    with pytest.raises(PipelineFileError) as caught:
        read_pipeline(file, root, overrides, subject=PARAMETERS)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("given", "says", "takers"),
    [
        ("taxi=purple", "must be 'green' or 'yellow', got 'purple'", ALL),
        ("taxi=gren", "got 'gren'; did you mean 'green'?", ALL),
        ("train_months=[2021-13]", "must be a month such as 2021-03, got '2021-13'", ALL[:6]),
        ("train_months=[2021-1]", "must be a month such as 2021-03, got '2021-1'", ALL[:6]),
        ("train_months=2021-01", "must be list[str], got str '2021-01'", ALL[:6]),
        ("score_month=May", "must be a month such as 2021-03, got 'May'", ALL[6:]),
        ("max_evals=0", "must be at least 1, got 0", ["04_tune"]),
        ("sample_rows=-3", "must be at least 1, got -3", ALL),
        ("seed=-1", "must be at least 0, got -1", ALL),
        ("seed=x", "must be int, got str 'x'", ALL),
        ("level=90", "must be less than 1.0, got 90", ["05_evaluate"]),
        ("margin=-0.1", "must be at least 0.0, got -0.1", ["06_register"]),
        ("cleaning={max_dist: 9}", "has no setting 'max_dist'; its settings are", ALL),
        ("model=xgbost", "; did you mean 'xgboost'?", ["04_tune", "03_train"]),
    ],
)
def test_a_wrong_value_is_one_mistake_whoever_takes_it(
    given: str, says: str, takers: list[str]
) -> None:
    (mistake,) = mistakes(REPOSITORY / "params" / "default.yaml", REPOSITORY, given)
    assert mistake.startswith(f"--set {given.partition('=')[0]}: ")
    assert says in mistake
    named = mistake.rpartition("(declared in ")[2].rstrip(")").split(", ")
    assert sorted(named) == sorted(takers)


def test_months_to_learn_from_choose_by_and_report_on_differ() -> None:
    (mistake,) = mistakes(REPOSITORY / "params/default.yaml", REPOSITORY, "valid_months=[2021-01]")
    assert mistake.startswith(
        "--set valid_months: must have no month of train_months, both have 2021-01"
    )
    (mistake,) = mistakes(REPOSITORY / "params/default.yaml", REPOSITORY, "valid_months=[2021-03]")
    assert "params.test_months: must have no month of valid_months, both have 2021-03" in mistake


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            "{max_dept: 3}",
            "which is no parameter of any model; did you mean 'max_depth'?",
        ),
        ("{max_depth: 3}", "'max_depth', which is no parameter of linear (declared in 03_train)"),
    ],
)
def test_parameters_are_those_of_the_model_beside_them(given: str, says: str) -> None:
    (mistake,) = mistakes(REPOSITORY / "params/smoke.yaml", REPOSITORY, f"model_params={given}")
    assert says in mistake


def test_a_models_numbers_are_numbers() -> None:
    found = mistakes(
        REPOSITORY / "params/monthly.yaml",
        REPOSITORY,
        "model_params={n_estimators: 20.5, learning_rate: fast}",
    )
    assert "must have a whole number for 'n_estimators', got 20.5" in "".join(found)
    assert "must have a number for 'learning_rate', got 'fast'" in "".join(found)


def test_a_models_switch_is_no_number(project: Project) -> None:
    imports = "from taxi_nb import ModelName, ModelParams\n"
    declared = "model: ModelName = 'xgboost-rich'\nmodel_params: ModelParams = {}"
    project.notebook("01_a", "1", parameters=imports + declared)
    file = project.pipeline("steps: [{notebook: 01_a}]")
    given = "model_params={enable_categorical: true, max_depth: 3}"
    read_pipeline(file, project.root, [given], subject=PARAMETERS)
    (mistake,) = mistakes(file, project.root, "model_params={max_depth: true}")
    assert "must have a whole number for 'max_depth', got True" in mistake


def test_only_models_are_tuned_that_can_be() -> None:
    (mistake,) = mistakes(REPOSITORY / "params/smoke.yaml", REPOSITORY, "model=linear")
    assert "must be one that can be tuned: xgboost-rich, xgboost-before, xgboost" in mistake


def test_types_are_those_that_the_notebook_imports_or_writes_out(project: Project) -> None:
    project.notebook(
        "01_a",
        "1",
        parameters="from pydantic import Field\nfrom taxi_nb import Count, Month as When\n"
        "when: When | None = None\nrate: Annotated[float, Field(gt=0, le=1)] = 0.5\n"
        "Month: str = 'May'\nsizes: dict[str, Count] = {}",
    )
    file = project.pipeline(
        "params: {when: May, rate: 0, Month: June, sizes: {a: 0}}\nsteps: [{notebook: 01_a}]"
    )
    assert mistakes(file, project.root) == [
        "params/test.yaml:1: params.rate: must be greater than 0.0, got 0 (declared in 01_a)",
        "params/test.yaml:1: params.sizes: must be at least 1, got 0 (declared in 01_a)",
        "params/test.yaml:1: params.when: must be a month such as 2021-03, got 'May' "
        "(declared in 01_a)",
    ]


def test_a_notebooks_own_value_is_checked_where_nothing_else_is_given(project: Project) -> None:
    project.notebook("01_a", "1", parameters="from taxi_nb import Month\nwhen: Month = 'May'")
    file = project.pipeline("steps: [{notebook: 01_a}]")
    (mistake,) = mistakes(file, project.root)
    assert "01_a: its own value of 'when' must be a month such as 2021-03, got 'May'" in mistake
    read_pipeline(file, project.root, ["when=2021-05"], subject=PARAMETERS)


def test_keys_names_and_values_are_told_in_one_round(project: Project) -> None:
    project.notebook("01_a", "1", parameters="from taxi_nb import Count\nsize: Count = 1")
    file = project.pipeline(
        "experimnt: x\nparams: {size: 0, sice: 1}\nsteps: [{notebook: 01_a, retries: -1}]"
    )
    found = mistakes(file, project.root)
    assert [one.split(": ")[1] for one in found] == [
        "experimnt",
        "params.sice",
        "params.size",
        "steps[0].retries",
    ]


@pytest.fixture
def months(tmp_path: Path) -> Path:
    folder = tmp_path / "months"
    folder.mkdir()
    (folder / "green_tripdata_2021-01.parquet").touch()
    return folder


def test_a_folder_is_asked_for_months_and_nothing_is_read(project: Project, months: Path) -> None:
    require_months(str(months), "green", ["2021-01"])
    with pytest.raises(MissingMonthError, match=r"no green_tripdata_2021-02.*there: 2021-01$"):
        require_months(str(months), "green", ["2021-01", "2021-02"])
    with pytest.raises(TripsError, match=r"there is no folder .*; did you mean 'tlc'"):
        require_months("tcl", "green", ["2021-01"])
    require_months("sample", "green", ["2035-01"])


def test_the_tlc_is_asked_for_what_is_not_here(
    project: Project, months: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with published(months, monkeypatch):
        require_months("tlc", "green", ["2021-01"])
        with pytest.raises(MissingMonthError, match="the TLC has published no 2021-02 of green"):
            require_months("tlc", "green", ["2021-01", "2021-02"])
    monkeypatch.setenv("TAXI_NB_TLC_URL", "http://127.0.0.1:9")
    with pytest.raises(UnreachableError, match="let `source` be a folder of months"):
        require_months("tlc", "green", ["2021-01"])
    own = project.root / "data" / "tlc"
    own.mkdir(parents=True)
    (own / "green_tripdata_2021-01.parquet").touch()
    require_months("tlc", "green", ["2021-01"])


def test_without_data_nothing_starts(project: Project, months: Path, taxi_nb: CommandLine) -> None:
    shutil.copytree(REPOSITORY / "notebooks", project.root / "notebooks", dirs_exist_ok=True)
    shutil.copy(REPOSITORY / "params" / "smoke.yaml", project.root / "params")
    for given, says in (
        ("source=tcl", "there is no folder"),
        (f"source={months}", "green_tripdata_2021-02.parquet; months of green there: 2021-01"),
    ):
        code, out, err = taxi_nb("run", "params/smoke.yaml", "--set", given)
        assert (code, out) == (2, "")
        assert err.count(says) == 1
        assert err.startswith("smoke.yaml: ")
        assert err.rstrip().endswith("nothing has been run")
    assert not list(project.root.glob("runs/*/run.json"))
