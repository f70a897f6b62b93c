"""A notebook of one's own made into a step: by `adopt`, by `taxi-nb adopt` and `taxi-nb new`."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from taxi_nb.located_yaml import YamlError, parse_value
from taxi_nb.pipeline._another_step import with_another_step
from taxi_nb.pipeline.adoption import Adoption, AdoptionError, adopt
from taxi_nb.pipeline.pipeline_file import read_pipeline
from tests.conftest import REPOSITORY, Project
from tests.notebooks_are_clean import complaints
from tests.running import CommandLine, Run

CELLS = (
    "#md # Which fares are high?",
    "%load_ext taxi_nb\n%params params/default.yaml",
    "import pandas as pd\nseed = 42  # of the sample\nnames = ['a', 'b']\nlimit = None",
    "rows = 1_000\nfor number in range(3):\n    last = number",
    "total = 0\ntotal += rows\nfound = []\nfound.append(seed)\nroot = rows ** 0.5",
    "print(seed, names, rows)",
    "#md ## Conclusion",
    "from IPython.display import Markdown\nMarkdown(f'**Conclusion.** {total}')",
)
PIPELINE = """\
# What we run every month.
params:
  seed: 7   # of everything

steps:   # in this order
  - notebook: 01_first   # the first
    # it needs nothing
# the end
"""


@pytest.fixture
def explored(project: Project) -> Path:
    """A notebook as exploring leaves it: outputs, counts, no parameters cell."""
    project.notebook("01_first", parameters="seed: int = 1  # a")
    project.pipeline(PIPELINE, "default")
    path = project.notebook("fares", *CELLS, parameters=None)
    content = nbformat.read(path, as_version=4)
    shown = nbformat.v4.new_output("stream", text="42\n")
    content.cells[5].update(outputs=[shown], execution_count=9)
    content.cells[5].metadata["execution"] = {"iopub.status.busy": "2026-01-01"}
    nbformat.write(content, path)
    return path


def cells_of(made: Adoption) -> list[str]:
    return [cell.source for cell in nbformat.reads(made.notebook_after.decode(), 4).cells]


def test_a_notebook_becomes_a_step_and_all_of_it_is_shown_before(
    explored: Path, project: Project, run: Run
) -> None:
    before = explored.read_bytes()
    made = adopt(explored, project.root, parameters=["seed", "names", "rows"])
    said = made.diff()
    assert explored.read_bytes() == before
    assert "+seed: int = 42  # of the sample" in said
    assert "-# %% (with outputs)" in said
    assert "-%params params/default.yaml" in said
    assert "+  - notebook: fares" in said
    made.write()
    written = nbformat.read(explored, as_version=4)
    nbformat.validate(written)
    # The parameters come before all code; what they were taken from stays but for them.
    (parameters,) = [c for c in written.cells if "parameters" in c.metadata.get("tags", [])]
    assert parameters.source == (
        "seed: int = 42  # of the sample\nnames: list[str] = ['a', 'b']\nrows: int = 1_000"
    )
    sources = [cell.source for cell in written.cells]
    assert sources[:4] == [
        CELLS[0].removeprefix("#md "),
        parameters.source,
        "import pandas as pd\nlimit = None",
        "for number in range(3):\n    last = number",
    ]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in written.cells)
    assert not any("execution" in cell.metadata for cell in written.cells)
    # Each line of the pipeline file is there, remarks included, and one more.
    text = (project.root / "params" / "default.yaml").read_text()
    assert text.replace("  - notebook: fares\n", "") == PIPELINE
    assert list(complaints(explored)) == [
        f"{explored}: parameters line 2 has no comment",
        f"{explored}: parameters line 3 has no comment",
    ]
    record, _ = run(text)
    assert [step.status for step in record.steps] == ["ok", "ok"]
    assert record.steps[1].parameters == {"seed": 7}
    # Once is enough.
    assert adopt(explored, project.root).diff() == ""


def test_what_a_person_has_not_chosen_is_not_written(explored: Path, project: Project) -> None:
    made = adopt(explored, project.root)
    assert made.candidates == {
        "seed": "seed: int = 42  # of the sample",
        "names": "names: list[str] = ['a', 'b']",
        "rows": "rows: int = 1_000",
    }
    with pytest.raises(AdoptionError, match="which of seed, names, rows are parameters"):
        made.write()
    none = adopt(explored, project.root, parameters=[])
    assert cells_of(none)[1] == "# No parameters."
    none.write()
    assert read_pipeline(none.pipeline, project.root).steps[1].parameters == {}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("total", "'total' is assigned 2 times"),
        ("found", "'found' is changed after it was assigned"),
        ("root", "'root' is computed"),
        ("limit", r"'limit' could be of any type: write one, such as `limit: int \| None = None`"),
        ("last", "'last' is not assigned a plain value in a line of its own"),
        ("number", "'number' is not assigned a plain value"),
        ("row", "'row' is not assigned here; did you mean 'rows'"),
    ],
)
def test_a_name_that_is_no_setting_is_refused(
    explored: Path, project: Project, name: str, why: str
) -> None:
    with pytest.raises(AdoptionError, match=f"{why}.*could be parameters: seed, names, rows"):
        adopt(explored, project.root, parameters=[name])


@pytest.mark.parametrize(
    ("source", "candidates"),
    [
        ("a = 1; b = 2", []),
        ("a = b = 1", []),
        ("if True:\n    a = 1", []),
        ("%%time\na = 1", []),
        ("!ls\na = 1", ["a: int = 1"]),
        ("%matplotlib inline\na = 1", ["a: int = 1"]),
        ("a = {\n    'x': 1,  # why\n    'y': 2,\n}", ["a: dict = {'x': 1, 'y': 2}"]),
        ("a: float = 1  # of b", ["a: float = 1  # of b"]),
        ("a: Month = '2021-01'", ["a: str = '2021-01'"]),
        ("a = -0.5\ndef f():\n    a = 3", ["a: float = -0.5"]),
        ("a = 1\ndef f():\n    global a\n    a = 3", []),
        ("a = 1\nb = [a for a in range(3)]", ["a: int = 1"]),
        ("a = 1\nfrom os import path as a", []),
        ("a = 1\ndel a", []),
        ("max = 3", []),
        ("a = (1, 2)\na = 3", []),
        ("a = ", []),
        ("api_key = 'sk-live-1234567890abcdefghij'", []),
    ],
)
def test_names_that_could_be_parameters_are_found_without_executing(
    project: Project, source: str, candidates: list[str]
) -> None:
    notebook = project.notebook("one", source, parameters=None)
    assert list(adopt(notebook, project.root).candidates.values()) == candidates


def test_a_notebook_from_elsewhere_is_copied_and_keeps_its_own_cell(
    project: Project, tmp_path: Path
) -> None:
    made_at = project.notebook("one", "rate = 0.5", parameters="seed: int = 1  # of it")
    elsewhere = made_at.rename(tmp_path / "Untitled.ipynb")
    made = adopt(elsewhere, project.root, name="08_fares", parameters=["rate"])
    made.write()
    assert elsewhere.exists()
    assert cells_of(made) == ["seed: int = 1  # of it\nrate: float = 0.5"]
    assert (project.root / "params/default.yaml").read_text() == "steps:\n  - notebook: 08_fares\n"
    with pytest.raises(AdoptionError, match=r"notebooks/08_fares.ipynb is there already"):
        adopt(elsewhere, project.root, name="08_fares")
    with pytest.raises(AdoptionError, match="a step's name is a word such as 08_fares"):
        adopt(elsewhere, project.root, name="../08_fares")


def test_a_notebook_of_the_project_stays_where_its_files_are(project: Project) -> None:
    project.pipeline("steps:\n- notebook: 01_first\n", "default")
    made = project.notebook("one", "pass")
    (project.root / "notebooks" / "deep").mkdir()
    for place, named in {"notebooks/deep/two": "notebooks/deep/two", "three": "./three"}.items():
        notebook = (project.root / place).with_suffix(".ipynb")
        notebook.write_bytes(made.read_bytes())
        adopted = adopt(notebook, project.root)
        assert adopted.notebook == notebook
        assert adopted.pipeline_after.decode().endswith(f"- notebook: {named}\n")
    adopted.write()
    project.notebook("01_first")
    pipeline = read_pipeline(adopted.pipeline, project.root)
    assert [step.name for step in pipeline.steps] == ["01_first", "three"]
    assert adopt(notebook, project.root).diff() == ""


def test_a_notebook_in_the_projects_own_folder_is_no_second_step(project: Project) -> None:
    project.notebook("fares", "seed = 1").rename(project.root / "fares.ipynb")
    file = project.pipeline("steps:\n  - notebook: fares\n")
    made = adopt(project.root / "fares.ipynb", project.root, parameters=[])
    assert made.pipeline_after == file.read_bytes()


def test_what_cannot_be_a_step_is_told_before_anything_is_written(
    explored: Path, project: Project
) -> None:
    project.pipeline("params: {seed: many}\nsteps: [{notebook: 01_first}]", "default")
    with pytest.raises(AdoptionError, match=r"gives 'seed' to every notebook, which must be int"):
        adopt(explored, project.root, parameters=["seed"])
    project.pipeline("steps: {", "default")
    with pytest.raises(AdoptionError, match=r"params/default.yaml:\d: "):
        adopt(explored, project.root, parameters=["seed"])
    project.pipeline("steps: [{notebook: 01_first, name: fares}]", "default")
    with pytest.raises(AdoptionError, match="has a step fares already"):
        adopt(explored, project.root, parameters=["seed"])
    (project.root / "params" / "default.yaml").unlink()
    with pytest.raises(AdoptionError, match=r"there is no pipeline file params/defualt.yaml"):
        adopt(explored, project.root, pipeline=project.root / "params/defualt.yaml")
    for name in ("a", "b"):
        project.pipeline("steps: [{notebook: 01_first}]", name)
    with pytest.raises(AdoptionError, match=r"Name one of params/a.yaml, params/b.yaml"):
        adopt(explored, project.root, parameters=["seed"])
    file = project.root / "params" / "a.yaml"
    made = adopt(explored, project.root, parameters=["seed"], pipeline=file)
    file.write_text("steps: [{notebook: fares}]")
    with pytest.raises(AdoptionError, match=r"params/a.yaml has changed meanwhile"):
        made.write()


@pytest.mark.parametrize(
    ("text", "longer"),
    [
        ("", "steps:\n  - notebook: b\n"),
        ("# none yet\n", "# none yet\nsteps:\n  - notebook: b\n"),
        ("steps: []  # none\n", "steps: [{notebook: b}]  # none\n"),
        ("steps: [{notebook: a}]\n", "steps: [{notebook: a}, {notebook: b}]\n"),
        ("steps: [{notebook: a},]\n", "steps: [{notebook: a}, {notebook: b}]\n"),
        ("steps:\n- notebook: a", "steps:\n- notebook: a\n- notebook: b\n"),
        ("steps:\r\n- notebook: a\r\n", "steps:\r\n- notebook: a\r\n- notebook: b\r\n"),
        (
            "steps:\n- notebook: a\n  params:\n    x: |\n      one\n      two\nmonth: latest\n",
            "steps:\n- notebook: a\n  params:\n    x: |\n      one\n      two\n"
            "- notebook: b\nmonth: latest\n",
        ),
        (
            "steps:\n  - notebook: a\n    matrix: {x: [1,\n      2]}  # both\n"
            "  # end\nparams: {}\n",
            "steps:\n  - notebook: a\n    matrix: {x: [1,\n      2]}  # both\n  - notebook: b\n"
            "  # end\nparams: {}\n",
        ),
    ],
)
def test_a_pipeline_file_gets_a_step_and_keeps_every_other_letter(text: str, longer: str) -> None:
    assert with_another_step(text, "b") == longer


@pytest.mark.parametrize(
    "file", sorted((REPOSITORY / "params").glob("*.yaml")), ids=lambda f: f.stem
)
def test_our_own_pipeline_files_keep_every_letter(file: Path) -> None:
    text = file.read_text()
    longer = with_another_step(text, "2021-01")
    assert parse_value(longer)["steps"][-1] == {"notebook": "2021-01"}
    (added,) = set(longer.splitlines()) - set(text.splitlines())
    assert longer.replace(f"{added}\n", "", 1) == text


def test_a_pipeline_file_without_steps_gets_none() -> None:
    for text in ("params: {}", "[1]", "steps: {}", "steps:"):
        with pytest.raises(YamlError, match="no list `steps`"):
            with_another_step(text, "b")


def test_the_command_line_does_the_same(taxi_nb: CommandLine, explored: Path) -> None:
    code, out, _ = taxi_nb("adopt", "notebooks/fares.ipynb")
    assert code == 0
    assert "Names that could be parameters: seed, names, rows" in out
    assert "Nothing is written yet" in out
    code, _, err = taxi_nb("adopt", "notebooks/fares.ipynb", "--write")
    assert (code, err) == (
        2,
        "which of seed, names, rows are parameters? Name them, or --all or --none\n",
    )
    code, out, _ = taxi_nb("adopt", "notebooks/fares.ipynb", "seed", "--write")
    assert code == 0
    assert "params/default.yaml gives seed = 7" in out
    assert "Written: notebooks/fares.ipynb, a step of params/default.yaml" in out
    code, out, _ = taxi_nb("new", "09_tips")
    assert (code, out.partition(";")[0]) == (
        0,
        "notebooks/09_tips.ipynb is a step of params/default.yaml",
    )
    assert list(complaints(explored.with_name("09_tips.ipynb"))) == []
    code, out, _ = taxi_nb("plan")
    assert code == 0
    assert "09_tips" in out
    for arguments, why in {
        ("new", "09_tips"): "notebooks/09_tips.ipynb is there already: `taxi-nb adopt` makes it",
        ("adopt", "none.ipynb"): "none.ipynb cannot be read: No such file or directory",
        ("adopt", "params/default.yaml"): "only a notebook whose name ends with .ipynb",
        ("adopt", "notebooks/fares.ipynb", "seed", "--all"): "one of them",
    }.items():
        code, _, err = taxi_nb(*arguments)
        assert code == 2
        assert why in err
