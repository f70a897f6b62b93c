"""Notebooks that Jupytext keeps as text are notebooks too."""

from __future__ import annotations

import sys

import pytest

from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.spec import PipelineFileError
from tests.conftest import Project, texts
from tests.running import CommandLine

pytest.importorskip("jupytext")

PERCENT = """# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # What is twice x?

# %% tags=["parameters"]
x: int = 1  # a number

# %%
# %matplotlib inline
print("twice is", 2 * x)

# %% [markdown]
# ## Conclusion

# %%
print(f"**Conclusion.** {2 * x}")
"""
MARKDOWN = """---
jupyter:
  jupytext:
    text_representation: {extension: .md, format_name: markdown}
---

# What is x?

```python tags=["parameters"]
x: int = 1  # a number
```

```python
import mlflow

with mlflow.start_run():
    mlflow.log_metric("x", x)
print("x is", x)
```
"""


@pytest.mark.slow
def test_they_run_and_run_again_when_their_code_changes(
    project: Project, store: str, taxi_nb: CommandLine
) -> None:
    (project.root / "notebooks" / "01_twice.py").write_text(PERCENT)
    (project.root / "notebooks" / "02_x.md").write_text(MARKDOWN)
    project.pipeline("params: {x: 4}\nsteps: [{notebook: 01_twice}, {notebook: 02_x.md}]")
    code, _, err = taxi_nb("run", "params/test.yaml")
    assert (code, err) == (0, "")
    runs = project.root / "runs"
    assert "twice is 8" in texts(runs / "latest" / "01_twice.ipynb")
    assert "x is 4" in texts(runs / "latest" / "02_x.ipynb")
    # Their pages are as those of others, and their prose is no code.
    assert "What is twice x?" in (runs / "latest" / "01_twice.html").read_text()
    prose = PERCENT.replace("What is twice x?", "How much is twice x?")
    (project.root / "notebooks" / "01_twice.py").write_text(prose)
    assert "nothing will run" in taxi_nb("plan", "params/test.yaml")[1]
    (project.root / "notebooks" / "02_x.md").write_text(MARKDOWN.replace('"x is"', '"it is"'))
    assert "02_x      will run: notebook cell 3 changed" in taxi_nb("plan", "params/test.yaml")[1]
    code, out, _ = taxi_nb("run", "params/test.yaml")
    assert code == 0
    # What changed is compared cell by cell, as of any two runs.
    older = sorted(path.name for path in runs.glob("2*-test"))[0]
    code, out, err = taxi_nb("report", "latest", "--against", older)
    assert (code, err) == (0, "")
    assert "it is" in (runs / "latest" / "index.html").read_text() or out


def test_lint_reads_them(project: Project, taxi_nb: CommandLine) -> None:
    (project.root / "notebooks" / "01_twice.py").write_text(PERCENT)
    (project.root / "notebooks" / "02_x.md").write_text(MARKDOWN)
    (project.root / "notebooks" / "module.py").write_text("x = 1\n")
    (project.root / "notebooks" / "README.md").write_text("```python\nprint(1)\n```\n")
    code, out, _ = taxi_nb("lint")
    assert code == 1
    assert out.splitlines() == [
        "notebooks/02_x.md: the last cell draws no conclusion",
        "notebooks/02_x.md: the last section is not called Conclusion",
    ]


def test_of_a_pair_the_notebook_counts(project: Project) -> None:
    path = project.notebook("01_a", "1")
    (project.root / "notebooks" / "01_a.py").write_text(PERCENT)
    pipeline = read_pipeline(project.pipeline("steps: [{notebook: 01_a}]"), project.root)
    assert pipeline.steps[0].notebook == path
    pipeline = read_pipeline(project.pipeline("steps: [{notebook: 01_a.py}]"), project.root)
    assert pipeline.steps[0].notebook == path.with_suffix(".py")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("01_a.py", "print(1)\n", "is no notebook as text: there `# %%` begins a cell"),
        ("01_a.md", "# Title\n", "is no notebook as text: there `jupytext:` stands in a header"),
        ("01_a.py", PERCENT.replace(": python", ": R"), "is written for the kernel 'R3'"),
        ("01_a.py", "# %%\nx = '\udcff'\n", "is not UTF-8"),
    ],
)
def test_what_is_none_is_refused(project: Project, name: str, text: str, says: str) -> None:
    (project.root / "notebooks" / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(PipelineFileError, match=f"{name} .*{says}"):
        read_pipeline(project.pipeline(f"steps: [{{notebook: {name}}}]"), project.root)


def test_without_jupytext_the_extra_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jupytext", None)
    (project.root / "notebooks" / "01_a.py").write_text(PERCENT)
    with pytest.raises(PipelineFileError, match=r"pip install 'taxi-nb\[jupytext\]'"):
        read_pipeline(project.pipeline("steps: [{notebook: 01_a}]"), project.root)
