"""A pipeline file is checked as a whole before anything runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from taxi_nb.pipeline.memory import Memory
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.record import RunRecord, StepResult
from taxi_nb.pipeline.spec import Pipeline, PipelineFileError
from tests.conftest import Project
from tests.running import run_record

PARAMETERS = """
source: str = "sample"
months: list[str] = ["2021-01"]
alpha: float = 0.1
rounds: int = 10
flag: bool = False
options: dict = {}
limit: float | None = None
mode: Literal["fast", "slow"] = "fast"
seed = 42
"""


@pytest.fixture
def project(project: Project) -> Project:
    for name in ("01_load", "02_train", "03_report"):
        project.notebook(name, "1 + 1", parameters=PARAMETERS)
    return project


def read(project: Project, text: str, overrides: Sequence[str] = ()) -> Pipeline:
    return read_pipeline(project.pipeline(text), project.root, overrides)


def problems(project: Project, text: str, overrides: Sequence[str] = ()) -> list[str]:
    with pytest.raises(PipelineFileError) as caught:
        read(project, text, overrides)
    return [str(problem) for problem in caught.value.problems]


def test_steps_come_in_the_order_written_with_the_parameters_their_notebook_declares(
    project: Project,
) -> None:
    project.notebook("04_plain", "1", parameters="other: int = 1")
    pipeline = read(
        project,
        """
experiment: mine
params: {seed: 7, source: tlc}
steps:
  - notebook: 01_load
  - notebook: 04_plain
  - notebook: 02_train
    params: {alpha: 0.5}
""",
    )
    assert pipeline.experiment == "mine"
    assert [step.name for step in pipeline.steps] == ["01_load", "04_plain", "02_train"]
    load, plain, train = (dict(step.parameters) for step in pipeline.steps)
    assert load == {"seed": 7, "source": "tlc"}
    assert plain == {}
    assert train == {"seed": 7, "source": "tlc", "alpha": 0.5}


def test_a_matrix_is_one_execution_for_each_combination(project: Project) -> None:
    pipeline = read(
        project,
        """
steps:
  - notebook: 02_train
    matrix: {alpha: [0.1, 1], mode: [fast, slow]}
""",
    )
    assert [step.name for step in pipeline.steps] == [
        "02_train[0.1,fast]",
        "02_train[0.1,slow]",
        "02_train[1,fast]",
        "02_train[1,slow]",
    ]
    assert pipeline.steps[3].parameters == {"alpha": 1, "mode": "slow"}


def test_a_step_needs_all_before_it_unless_it_says_which(project: Project) -> None:
    pipeline = read(
        project,
        """
steps:
  - notebook: 01_load
  - notebook: 02_train
    matrix: {alpha: [1.0, 2.0]}
  - notebook: 03_report
    needs: [01_load]
  - {notebook: 03_report, name: all}
  - {notebook: 03_report, name: one, needs: ["02_train[2.0]"]}
  - {notebook: 03_report, name: none, needs: []}
""",
    )
    needs = {step.name: step.needs for step in pipeline.steps}
    assert needs["02_train[1.0]"] == ("01_load",)
    assert needs["03_report"] == ("01_load",)
    assert needs["all"] == ("01_load", "02_train[1.0]", "02_train[2.0]", "03_report")
    assert needs["one"] == ("02_train[2.0]",)
    assert needs["none"] == ()


@pytest.mark.parametrize(
    ("written", "seconds"), [("30m", 1800), ("90s", 90), ("1.5h", 5400), ("45", 45)]
)
def test_a_timeout_is_a_time_or_a_number_of_seconds(
    project: Project, written: str, seconds: float
) -> None:
    pipeline = read(project, f"steps: [{{notebook: 01_load, timeout: {written}}}]")
    assert pipeline.steps[0].timeout == seconds


def test_all_mistakes_are_named_at_once_each_with_its_line(project: Project) -> None:
    project.notebook("05_untagged", "%time 1", "months = '2021-02'", parameters=None)
    found = problems(
        project,
        """
params:
  sauce: tlc
  months: 2021-01
steps:
  - notebook: 01_lode
  - notebook: 05_untagged
  - notebook: 02_train
    params: {aplha: 1.0, rounds: 2.5}
    matrix:
      mode: [fast,
             medium]
    needs: [01_laod]
""".lstrip(),
    )
    assert found == [
        "params/test.yaml:3: params.months: must be list[str], got str '2021-01' "
        "(declared in 02_train)",
        "params/test.yaml:5: steps[0].notebook: notebooks/01_lode.ipynb there is no such "
        "notebook; did you mean '01_load'?",
        "params/test.yaml:6: steps[1].notebook: notebooks/05_untagged.ipynb has no parameters "
        "cell, and cell 2 sets 'months', which would not be given to it: give the cell that sets "
        "it the tag 'parameters'",
        "params/test.yaml:8: steps[2].params.aplha: 02_train declares no parameter 'aplha'; "
        "did you mean 'alpha'?",
        "params/test.yaml:8: steps[2].params.rounds: must be int, got float 2.5 "
        "(declared in 02_train)",
        "params/test.yaml:11: steps[2].matrix.mode[1]: must be 'fast' or 'slow', "
        "got 'medium' (declared in 02_train)",
        "params/test.yaml:12: steps[2].needs[0]: '01_laod' is not a step that comes before "
        "02_train; did you mean '01_lode'?",
    ]


def test_a_shared_parameter_that_no_notebook_declares_is_a_mistake(project: Project) -> None:
    found = problems(project, "params: {sauce: tlc}\nsteps: [{notebook: 01_load}]")
    assert found == [
        "params/test.yaml:1: params.sauce: no notebook of this pipeline declares it; "
        "did you mean 'source'?"
    ]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ('alpha: "abc"', "must be float, got str 'abc'"),
        ("rounds: abc", "must be int, got str 'abc'"),
        ("rounds: true", "must be int, got bool True"),
        ("flag: 'False'", "must be bool, got str 'False'"),
        ("flag: 0", "must be bool, got int 0"),
        ("months: [2021-01-01]", "must be list[str], got date"),
        ("months: [1]", "must be list[str], got list [1]"),
        ("options: [a]", "must be dict, got list ['a']"),
        ("limit: high", "must be float | None, got str 'high'"),
        ("seed: x", "must be int, got str 'x'"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_before_any_kernel_starts(
    project: Project, value: str, wanted: str
) -> None:
    found = problems(project, f"steps:\n  - notebook: 01_load\n    params: {{{value}}}")
    assert len(found) == 1
    assert wanted in found[0]
    assert "params/test.yaml:3" in found[0]


@pytest.mark.parametrize(
    "value", ["alpha: 1", "alpha: 1e-3", "limit: null", "limit: 2", "seed: 1", "source: 'no'"]
)
def test_values_that_fit_are_taken(project: Project, value: str) -> None:
    read(project, f"steps:\n  - notebook: 01_load\n    params: {{{value}}}")


def test_a_parameter_without_a_default_has_to_be_given(project: Project) -> None:
    project.notebook("06_strict", "1", parameters="place: str")
    found = problems(project, "steps: [{notebook: 06_strict}]")
    assert found == ["params/test.yaml:1: steps[0]: 06_strict needs a value for 'place'"]
    read(project, "steps: [{notebook: 06_strict, params: {place: x}}]")


def test_set_overrides_the_file_for_every_notebook_that_declares_the_name(
    project: Project,
) -> None:
    text = """
params: {months: ["2021-01"]}
steps:
  - notebook: 01_load
  - notebook: 02_train
    params: {rounds: 3}
    matrix: {alpha: [1.0, 2.0]}
"""
    pipeline = read(project, text, ["months=[2021-03]", "rounds=5", "alpha=0.5"])
    assert [step.name for step in pipeline.steps] == ["01_load", "02_train[0.5]"]
    assert pipeline.steps[0].parameters == {"months": ["2021-03"], "rounds": 5, "alpha": 0.5}
    assert pipeline.steps[1].parameters == {"months": ["2021-03"], "rounds": 5, "alpha": 0.5}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("mnths=[2021-03]", "declares 'mnths'; did you mean 'months'?"),
        ("months", "must be NAME=VALUE"),
        ("months=[2021-03", "not a YAML value"),
        ("rounds=many", "must be int, got str 'many'"),
    ],
)
def test_a_wrong_override_is_named(project: Project, override: str, message: str) -> None:
    found = problems(project, "steps: [{notebook: 01_load}]", [override])
    assert len(found) == 1
    assert "--set" in found[0]
    assert message in found[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a mapping"),
        ("- a", "must be a mapping"),
        ("steps: []", "at least 1 item"),
        ("steps: 5", "must be"),
        ("setps: [{notebook: 01_load}]", "did you mean 'steps'?"),
        ("steps: [{notebok: 01_load}]", "did you mean 'notebook'?"),
        ("steps: [{notebook: 01_load}]\nsteps: []", "given twice"),
        ("steps: [", "params/test.yaml:1"),
        ("steps: [{notebook: 01_load, timeout: soon}]", "a time such as 90s, 30m or 2h"),
        ("steps: [{notebook: 01_load, timeout: -1}]", "greater than 0"),
        ('steps: [{notebook: 01_load, name: "a\\nb"}]', "must be on one line"),
        ('steps: [{notebook: "01_load\\0"}]', "must be on one line"),
        ("steps: [{notebook: 01_load, retries: -1}]", "greater than or equal to 0"),
        ("steps: [{notebook: 01_load}, {notebook: 01_load}]", "give this one a `name`"),
        ("steps: [{notebook: 01_load, matrix: {alpha: []}}]", "at least 1 item"),
        ("steps: [{notebook: 01_load, matrix: {alpha: [1.0, 1.0]}}]", "comes up twice"),
        ("steps: [{notebook: 01_load, params: {alpha: 1.0}, matrix: {alpha: [1.0]}}]", "an axis"),
    ],
)
def test_a_file_that_makes_no_sense_says_where_and_why(
    project: Project, text: str, message: str
) -> None:
    assert any(message in problem for problem in problems(project, text))


def test_a_file_that_is_not_there_or_not_text_is_one_clear_error(
    project: Project, tmp_path: Path
) -> None:
    with pytest.raises(PipelineFileError, match="cannot be read: No such file"):
        read_pipeline(tmp_path / "no.yaml", project.root)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PipelineFileError, match="not UTF-8"):
        read_pipeline(binary, project.root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not a notebook"),
        ("{}", "no list of cells"),
        ('{"cells": [{"cell_type": "code", "metadata": {"tags": ["parameters"]}', "not a notebook"),
    ],
)
def test_a_file_that_is_no_notebook_is_named(project: Project, content: str, message: str) -> None:
    (project.root / "notebooks" / "07_broken.ipynb").write_text(content)
    found = problems(project, "steps: [{notebook: 07_broken}]")
    assert "notebooks/07_broken.ipynb" in found[0]
    assert message in found[0]


def test_a_parameters_cell_that_is_not_python_is_named_with_its_line(project: Project) -> None:
    project.notebook("08_syntax", "1", parameters="a = 1\nb = = 2")
    found = problems(project, "steps: [{notebook: 08_syntax}]")
    assert "parameters cell, line 2" in found[0]


def test_checking_runs_nothing_of_the_notebook(project: Project) -> None:
    project.notebook(
        "09_hostile", "1", parameters="a: __import__('os').system('touch owned') = 1\nb = print(1)"
    )
    read(project, "steps: [{notebook: 09_hostile, params: {a: 1, b: 2}}]")
    assert not (project.root / "owned").exists()


def test_the_projects_own_pipelines_are_right() -> None:
    from tests.conftest import REPOSITORY

    for file in (REPOSITORY / "params").glob("*.yaml"):
        pipeline = read_pipeline(file, REPOSITORY, newest_month=lambda _: "2021-05")
        names = {path.stem for path in (REPOSITORY / "notebooks").glob("*.ipynb")}
        # Every month nobody explores and tunes again.
        left_out = {"02_explore", "04_tune"} if file.stem == "monthly" else set()
        assert {step.notebook.stem for step in pipeline.steps} == names - left_out


def written(project: Project, content: bytes) -> Path:
    file = project.root / "params" / "odd.yaml"
    file.write_bytes(content)
    return file


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"steps:\n  - notebook: 01_load\n    params: {source: \xe9}\n", "odd.yaml:3: not UTF-8"),
        ("steps: [{notebook: 01_load}]".encode("utf-16"), "odd.yaml: not UTF-8 text: it is UTF-16"),
        (b"steps:\n  - notebook: 01_load\n    params: {options: &o {self: *o}}", "odd.yaml:3: "),
        (b"steps:\n  - notebook: 01_load\n    params: {options: {? [1] : 3}}", "odd.yaml:3: "),
        (b"x: " + b"a" * 10_000_000, "odd.yaml: is larger than 10 MB"),
    ],
)
def test_a_file_that_is_not_to_be_read_is_one_line(
    project: Project, content: bytes, wanted: str
) -> None:
    with pytest.raises(PipelineFileError) as caught:
        read_pipeline(written(project, content), project.root)
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mark_that_says_utf_8_is_no_part_of_the_text(project: Project) -> None:
    file = written(project, "steps: [{notebook: 01_load}]".encode("utf-8-sig"))
    assert [step.name for step in read_pipeline(file, project.root).steps] == ["01_load"]


def test_what_is_no_file_is_named_at_once_and_not_waited_for(project: Project) -> None:
    pipe = project.root / "params" / "pipe.yaml"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero"), project.root / "params"):
        with pytest.raises(PipelineFileError, match="is not a file"):
            read_pipeline(path, project.root)
    with pytest.raises(PipelineFileError, match="cannot be read: File name too long"):
        read_pipeline(project.root / ("a" * 300), project.root)
    found = problems(project, f"steps: [{{notebook: {'a' * 300}}}]")
    assert "there is no such notebook" in found[0]


def test_a_date_is_no_text_and_one_that_is_none_is_named(project: Project) -> None:
    for day, wanted in (("2021-02-28", "in quotes it is a text"), ("2021-02-31", "is no date")):
        (found,) = problems(project, "steps: [{notebook: 01_load}]", [f"source={day}"])
        assert found.startswith("--set source: ")
        assert wanted in found
    pipeline = read(project, "steps: [{notebook: 01_load}]", ["source='2021-02-31'"])
    assert pipeline.steps[0].parameters == {"source": "2021-02-31"}


def test_a_value_of_set_says_one_thing_and_says_it_once(project: Project) -> None:
    (found,) = problems(project, "steps: [{notebook: 01_load}]", ["options={a: 1, a: 2}"])
    assert found == "--set options: not a YAML value: the key 'a' is given twice"
    (found,) = problems(project, "steps: [{notebook: 01_load}]", ["seed=1", "seed=2"])
    assert found == "--set seed: is given twice"


def test_keys_keep_their_types_in_the_record_and_in_what_decides_about_reuse(
    project: Project,
) -> None:
    text = "steps: [{{notebook: 01_load, params: {{options: {{{}: 0.5}}}}}}]"
    numbered, named = (read(project, text.format(key)) for key in ("1", "'1'"))
    assert numbered.steps[0].parameters == {"options": {1: 0.5}}
    one = StepResult("01_load", "notebook", numbered.steps[0].parameters)
    back = RunRecord.from_json(run_record(steps=(one,)).to_json())
    assert back.steps[0].parameters == {"options": {1: 0.5}}
    keys = [Memory(made).inputs_before(made.steps[0]).key for made in (numbered, named)]
    assert keys[0] != keys[1]
