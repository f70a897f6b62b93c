"""A pipeline file that speaks of months relative to one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.spec import Pipeline, PipelineFileError
from tests.conftest import REPOSITORY, Project
from tests.running import CommandLine

PARAMETERS = """
train: list[str] = []
valid: list[str] = []
score: str = ""
either: list[str] | str = ""
file: str = ""
"""
FILE = """
params:
  train: "{month-3}..{month-2}"
  valid: "{month-1}"
steps:
  - notebook: 01_a
    params: {score: "{month}", either: "{month+1}", file: "scores-{month-1}.parquet"}
"""


@pytest.fixture
def project(project: Project) -> Project:
    project.notebook("01_a", "print(train, valid, score)", parameters=PARAMETERS)
    return project


def read(project: Project, text: str, *overrides: str, **arguments: Any) -> Pipeline:
    return read_pipeline(project.pipeline(text), project.root, overrides, **arguments)


def values(pipeline: Pipeline) -> Mapping[str, Any]:
    return pipeline.steps[0].parameters


def problems(project: Project, text: str, *overrides: str, **arguments: Any) -> list[str]:
    with pytest.raises(PipelineFileError) as caught:
        read(project, text, *overrides, **arguments)
    return [str(problem) for problem in caught.value.problems]


def test_months_are_counted_from_the_one_that_is_named(project: Project) -> None:
    pipeline = read(project, FILE, "month=2023-02")
    assert values(pipeline) == {
        "train": ["2022-11", "2022-12"],
        "valid": ["2023-01"],
        "score": "2023-02",
        "either": "2023-03",
        "file": "scores-2023-01.parquet",
    }
    assert type(pipeline.steps[0].parameters["score"]) is str
    assert (pipeline.month, pipeline.overrides) == ("2023-02", ("month=2023-02",))


def test_lists_matrices_and_set_may_speak_of_months_too(project: Project) -> None:
    text = """
month: 2021-01
steps:
  - notebook: 01_a
    params: {train: ["2019-01", "{month-12}..{month-11}", "{month}"]}
    matrix: {score: ["{month}", "{month+1}"], valid: [["{month}"], "{month-1}"]}
"""
    pipeline = read(project, text, "either='{month-1}'", "month=2022-01")
    assert values(pipeline)["train"] == ["2019-01", "2021-01", "2021-02", "2022-01"]
    assert values(pipeline)["either"] == "2021-12"
    assert [step.parameters["score"] for step in pipeline.steps] == [
        *("2022-01", "2022-01"),
        *("2022-02", "2022-02"),
    ]
    assert [step.parameters["valid"] for step in pipeline.steps[:2]] == [["2022-01"], ["2021-12"]]
    # Of the file's own month they would be others.
    assert values(read(project, text))["train"][-1] == "2021-01"


def test_the_newest_month_is_asked_of_the_parameters(project: Project) -> None:
    asked: list[Any] = []

    def newest(settings: Mapping[str, Any]) -> str:
        asked.append(settings["file"])
        return "2024-01"

    pipeline = read(project, f"month: latest{FILE}", "file=x", newest_month=newest)
    assert (asked, pipeline.month) == (["x"], "2024-01")
    # What a record keeps is the month that was meant.
    assert pipeline.overrides == ("file=x", "month=2024-01")


@pytest.mark.parametrize(
    ("text", "override", "said"),
    [
        (FILE, None, "month: is needed: the file has values such as {month-1}"),
        (FILE, "month=2023-13", "--month: must be a month such as 2023-03, or latest"),
        (FILE, "month=latest", "--month: is latest, and has to be a month here"),
        (f"month: soon{FILE}", None, "month: must be a month such as 2023-03, or latest"),
        (FILE.replace("-3}", " - x}"), "month=2023-01", "{month - x} must be such as {month}"),
        (FILE.replace('"{month-1}"', "{month-1}"), "month=2023-01", 'in quotes, "{month-1}"'),
        (FILE.replace("-3}", "+3}"), "month=2023-01", "ends before it begins"),
        ("steps: [{notebook: 01_a}]", "month=2023-01", "--month: has no use: nothing in the file"),
    ],
)
def test_what_is_wrong_is_one_message_with_its_place(
    project: Project, text: str, override: str | None, said: str
) -> None:
    (problem,) = problems(project, text, *([override] if override else []))
    assert said in problem


def test_a_text_that_only_looks_like_one_is_left_alone(project: Project) -> None:
    text = "steps: [{notebook: 01_a, params: {file: 'scores-{month}.parquet'}}]"
    assert values(read(project, text)) == {"file": "scores-{month}.parquet"}


def test_a_notebook_may_have_a_parameter_of_that_name(project: Project) -> None:
    project.notebook("01_a", "1", parameters="month: str = ''")
    pipeline = read(project, "steps: [{notebook: 01_a}]", "month=2023-02")
    assert values(pipeline) == {"month": "2023-02"}


@pytest.mark.slow
def test_plan_run_and_record_say_which_month_was_meant(
    project: Project, taxi_nb: CommandLine, store: str
) -> None:
    project.pipeline(FILE)
    code, out, _ = taxi_nb("plan", "params/test.yaml", "--month", "2021-05")
    assert (code, out.splitlines()[0]) == (0, "months are relative to 2021-05")
    assert taxi_nb("run", "params/test.yaml", "--month", "2021-05")[0] == 0
    folder = project.root / "runs" / "latest"
    assert json.loads((folder / "run.json").read_text())["overrides"] == ["month=2021-05"]
    assert "['2021-02', '2021-03'] ['2021-04'] 2021-05" in (folder / "01_a.ipynb").read_text()
    assert "month=2021-05" in (folder / "index.html").read_text()
    assert "nothing changed" in taxi_nb("run", "params/test.yaml", "--month", "2021-05")[1]
    out = taxi_nb("plan", "params/test.yaml", "--month", "2021-06")[1]
    assert "01_a  will run" in out
    code, out, err = taxi_nb("run", "params/test.yaml")
    assert (code, out) == (2, "")
    assert "--month latest" in err


def test_the_projects_own_file_counts_from_any_month() -> None:
    file = REPOSITORY / "params" / "monthly.yaml"
    pipeline = read_pipeline(file, REPOSITORY, ["month=2021-05"])
    assert pipeline.steps[0].parameters["train_months"] == ["2021-02", "2021-03"]
    assert pipeline.steps[-1].parameters["score_month"] == "2021-05"
