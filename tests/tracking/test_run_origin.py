"""Every run says where it comes from, be it a notebook of JupyterLab or VS Code, or a script."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import nbformat
import pytest
from mlflow.entities import Run

from taxi_nb import tracked_run
from taxi_nb.tracking.pipeline_runs import PipelineTracking
from tests.conftest import Project, runs_of


def git(project: Project, *arguments: str) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return subprocess.run(
        ["git", *arguments],
        cwd=project.root,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.fixture
def checkout(project: Project, store: str) -> Project:
    """A project in git, with all but the store and what runs make committed."""
    git(project, "init", "--initial-branch=trunk")
    git(project, "config", "user.name", "Ada Lovelace")
    git(project, "config", "user.email", "ada@example.org")
    git(project, "remote", "add", "origin", "https://ada:hunter2@example.org/taxi.git?token=abc")
    (project.root / ".gitignore").write_text("mlflow.db*\nmlartifacts\n")
    (project.root / "module.py").write_text("a = 1\n")
    (project.root / "requirements.lock").write_text("numpy==2.0\n")
    project.notebook("03_train", "print(1)")
    git(project, "add", "-A")
    git(project, "commit", "-m", "all")
    return project


def tracked(name: str = "run") -> Run:
    with tracked_run(name) as run:
        pass
    return mlflow.get_run(run.info.run_id)


def artifact(run: Run, path: str) -> str:
    return mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{path}")


def artifacts(run: Run, folder: str) -> set[str]:
    return {item.path for item in mlflow.MlflowClient().list_artifacts(run.info.run_id, folder)}


def test_a_run_has_commit_branch_remote_author_python_lock_and_machine(checkout: Project) -> None:
    run = tracked()
    tags = run.data.tags
    commit = git(checkout, "rev-parse", "HEAD")
    assert tags["git.commit"] == tags["mlflow.source.git.commit"] == commit
    assert tags["git.branch"] == tags["mlflow.source.git.branch"] == "trunk"
    assert tags["git.remote"] == tags["mlflow.source.git.repoURL"] == "https://example.org/taxi.git"
    assert tags["git.dirty"] == "false"
    assert tags["developer"] == tags["mlflow.user"] == "Ada Lovelace"
    assert tags["python"] == platform.python_version()
    lock = (checkout.root / "requirements.lock").read_bytes()
    assert tags["lock.sha256"] == hashlib.sha256(lock).hexdigest()
    assert f"mlflow=={mlflow.__version__}\n" in artifact(run, "environment/packages.txt")
    host = json.loads(artifact(run, "environment/host.json"))
    assert host["host"] == platform.node()
    assert host["memory_mb"] > 0
    assert "OMP_NUM_THREADS" in host["variables"]
    assert "source/uncommitted.diff" not in artifacts(run, "source")
    assert "hunter2" not in str(run.to_dictionary())


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_an_image_says_of_which_commit_it_is_and_never_that_nothing_else_is_in_it(
    project: Project, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_NB_COMMIT", COMMIT)
    run = tracked()
    tags = run.data.tags
    assert tags["git.commit"] == tags["mlflow.source.git.commit"] == COMMIT
    assert "git.branch" not in tags
    assert tags["git.dirty"].startswith("unknown (there is no checkout; TAXI_NB_COMMIT says")
    assert artifact(run, "source/uncommitted.diff").startswith("# what differs is not known")
    monkeypatch.setenv("TAXI_NB_COMMIT", f"{COMMIT}-dirty")
    tags = tracked().data.tags
    assert tags["git.commit"] == COMMIT
    assert tags["git.dirty"].endswith("and that there were uncommitted changes)")


@pytest.mark.parametrize(
    ("stated", "tag"),
    [
        ("main", "none (TAXI_NB_COMMIT is no commit: 'main')"),
        (f"{COMMIT}x", f"none (TAXI_NB_COMMIT is no commit: '{COMMIT}x')"),
        ("", "none (not a git checkout)"),
    ],
)
def test_what_is_no_commit_is_none(
    project: Project, store: str, monkeypatch: pytest.MonkeyPatch, stated: str, tag: str
) -> None:
    monkeypatch.setenv("TAXI_NB_COMMIT", stated)
    assert tracked().data.tags["git.commit"] == tag


def test_a_checkout_knows_better_than_the_image_that_it_is_mounted_into(
    checkout: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_NB_COMMIT", COMMIT)
    assert tracked().data.tags["git.commit"] == git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("PATH", "")  # As in the image, which has no git.
    assert tracked().data.tags["git.commit"] == "none (git is not installed)"


def test_what_is_not_committed_is_kept_so_that_git_can_apply_it(checkout: Project) -> None:
    (checkout.root / "module.py").write_text("a = 2\n")
    (checkout.root / "gone.py").write_text("")
    git(checkout, "add", "gone.py")
    git(checkout, "commit", "-m", "one more")
    git(checkout, "rm", "gone.py")
    (checkout.root / "new file.py").write_text("b = 1\n")
    # As JupyterLab saves it after it has been executed and edited.
    notebook = nbformat.read(checkout.root / "notebooks" / "03_train.ipynb", as_version=4)
    notebook.cells[1].source = "print(2)"
    notebook.cells[1].execution_count = 7
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="an output\n" * 1000)]
    nbformat.write(notebook, checkout.root / "notebooks" / "03_train.ipynb")
    run = tracked()
    assert run.data.tags["git.dirty"] == "true"
    diff = artifact(run, "source/uncommitted.diff")
    assert diff.startswith("# not known to git, and not in here:\n#   new file.py\n")
    assert "an output" not in diff
    file = checkout.root.parent / "uncommitted.diff"
    file.write_text(diff)
    git(checkout, "reset", "--hard")
    git(checkout, "apply", str(file))
    assert (checkout.root / "module.py").read_text() == "a = 2\n"
    assert not (checkout.root / "gone.py").exists()
    applied = nbformat.read(checkout.root / "notebooks" / "03_train.ipynb", as_version=4)
    assert applied.cells[1].source == "print(2)"


def test_secrets_are_not_in_the_diff_and_a_long_one_is_cut(
    checkout: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_TOKEN", "correct-horse-7")
    for name in (".env", "module.py", "z.csv"):
        (checkout.root / name).write_text("\n")
        git(checkout, "add", "-f", name)
    git(checkout, "commit", "-m", "files")
    (checkout.root / ".env").write_text("PLAIN=hunter2hunter2\n")
    (checkout.root / "module.py").write_text(
        'password = "hunter2"\nurl = "postgresql://me:hunter2@host/db"\n'
        "x = 'correct-horse-7'\nkey_id = 'AKIAABCDEFGHIJKLMNOP'\nsorted(a, key=None)\n"
    )
    (checkout.root / "z.csv").write_text("1,2\n" * 500_000)
    diff = artifact(tracked(), "source/uncommitted.diff")
    for value in ("hunter2", "correct-horse", "AKIAABC"):
        assert value not in diff
    assert "held back, for secrets by their names:\n#   .env\n" in diff
    assert 'password = "***"' in diff
    assert 'url = "postgresql://host/db"' in diff
    assert "sorted(a, key=None)" in diff
    assert "# cut here" in diff
    assert len(diff) < 600_000


def test_a_notebook_is_known_in_jupyterlab_and_vs_code_and_its_source_is_kept(
    checkout: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkout.root / "notebooks" / "03_train.ipynb"
    with monkeypatch.context() as lab:
        lab.setenv("JPY_SESSION_NAME", str(path))
        in_lab = tracked()
    with monkeypatch.context() as vs_code:
        vs_code.setattr("taxi_nb.tracking.origin._shell", lambda: Shell({VS_CODE: str(path)}))
        in_vs_code = tracked()
    for run in (in_lab, in_vs_code):
        tags = run.data.tags
        assert tags["notebook"] == tags["mlflow.source.name"] == "notebooks/03_train.ipynb"
        assert tags["mlflow.source.type"] == "NOTEBOOK"
        assert artifact(run, "source/03_train.ipynb") == path.read_text()


VS_CODE = "__vsc_ipynb_file__"


class Shell:
    """As much of IPython's shell as tells which notebook it is."""

    def __init__(self, names: dict[str, str]) -> None:
        self.user_ns = names


@pytest.mark.slow
def test_a_script_is_known_by_its_path(checkout: Project) -> None:
    script = checkout.root / "nightly.py"
    script.write_text("from taxi_nb import tracked_run\nwith tracked_run('nightly'):\n    pass\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (run,) = runs_of(f"sqlite:///{checkout.root}/mlflow.db")
    assert run.data.tags["mlflow.source.name"] == "nightly.py"
    assert run.data.tags["mlflow.source.type"] == "LOCAL"
    assert "notebook" not in run.data.tags
    assert artifact(run, "source/nightly.py") == script.read_text()
    assert "#   nightly.py" in artifact(run, "source/uncommitted.diff")


def test_outside_git_and_before_the_first_commit_a_run_says_so(
    project: Project, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracked().data.tags["git.commit"] == "none (not a git checkout)"
    git(project, "init")
    assert tracked().data.tags["git.commit"] == "none (nothing is committed yet)"
    shutil.rmtree(project.root / ".git")
    monkeypatch.setenv("PATH", str(project.root))
    run = tracked()
    assert run.data.tags["git.commit"] == "none (git is not installed)"
    assert run.data.tags["lock.sha256"] == "none"
    assert "git.dirty" not in run.data.tags
    assert run.info.status == "FINISHED"


def test_what_a_block_took_is_measured_and_memory_is_the_blocks_own(store: str) -> None:
    with tracked_run("large") as large:
        with tracked_run("within") as within:
            held = bytearray(150_000_000)
        del held
    with tracked_run("small") as small:
        pass
    took = {run.info.run_id: run.data for run in runs_of(store)}
    of_large, of_small = took[large.info.run_id], took[small.info.run_id]
    for data in took.values():
        assert 0 < data.metrics["wall_seconds"] < 60
        assert data.metrics["cpu_seconds"] >= 0
    if of_small.tags["taxi_nb.peak_memory"] == "of the block":
        gap = of_large.metrics["peak_memory_mb"] - of_small.metrics["peak_memory_mb"]
        assert gap > 100
        assert took[within.info.run_id].metrics["peak_memory_mb"] > 150


def test_runs_within_a_run_have_its_tags_and_trials_nothing_else(
    checkout: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    from taxi_nb.tracking import git as module

    ask = module.git

    def note(folder: Path, *arguments: str, **settings: Any) -> Any:
        asked.append(arguments[0])
        return ask(folder, *arguments, **settings)

    monkeypatch.setattr(module, "git", note)
    with tracked_run("search"):
        for number in range(3):
            with tracked_run(f"trial {number}", kind="trial") as trial:
                pass
    assert asked.count("status") == 1
    run = mlflow.get_run(trial.info.run_id)
    assert run.data.tags["git.commit"] == git(checkout, "rev-parse", "HEAD")
    assert run.data.metrics == {}
    assert artifacts(run, "") == set()


def test_a_step_has_its_source_from_the_pipeline(checkout: Project) -> None:
    notebook = checkout.root / "notebooks" / "03_train.ipynb"
    pipeline = PipelineTracking("steps")
    run_id = pipeline.open_run("03_train", "step", {"taxi_nb.step": "03_train"}, source=notebook)
    run = mlflow.get_run(run_id)
    pipeline.close_run(run_id, "FINISHED")
    assert run.data.tags["mlflow.source.name"] == "notebooks/03_train.ipynb"
    assert run.data.tags["git.remote"] == "https://example.org/taxi.git"
    assert artifact(run, "source/03_train.ipynb") == notebook.read_text()
    assert "environment/packages.txt" in artifacts(run, "environment")


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("git@example.org:me/taxi.git", "git@example.org:me/taxi.git"),
        ("ssh://git@example.org/me/taxi.git", "ssh://git@example.org/me/taxi.git"),
        ("https://hunter2@example.org/taxi.git", "https://example.org/taxi.git"),
    ],
)
def test_a_remote_can_still_be_cloned_from_and_has_no_credentials(
    project: Project, remote: str, shown: str
) -> None:
    from taxi_nb.tracking.git import git_state

    git(project, "init")
    git(project, "remote", "add", "up", remote)
    assert git_state(project.root).remote == shown


def test_a_large_notebook_is_kept_without_its_outputs(
    checkout: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkout.root / "notebooks" / "03_train.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="x" * 6_000_000)]
    nbformat.write(notebook, path)
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    run = tracked()
    kept = nbformat.reads(artifact(run, "source/03_train.ipynb"), as_version=4)
    assert kept.cells[1].source == "print(1)"
    assert kept.cells[1].outputs == []
    diff = artifact(run, "source/uncommitted.diff")
    assert diff == "# only outputs differ: notebooks/03_train.ipynb\n"
    assert Path(run.data.tags["notebook"]).name == "03_train.ipynb"


def test_a_commit_of_a_repository_that_ignores_the_project_is_not_its_own(
    project: Project, store: str
) -> None:
    outer = project.root.parent
    project.notebook("01_a", "1")
    (outer / ".gitignore").write_text("/project/\n")
    for arguments in (("init",), ("add", "."), ("commit", "-m", "others")):
        subprocess.run(["git", *arguments], cwd=outer, check=True, capture_output=True)
    told = "none (the git checkout that it lies in does not track the project's files)"
    assert tracked().data.tags["git.commit"] == told
    git(project, "add", "--force", "notebooks")
    assert len(tracked().data.tags["git.commit"]) == 40


def test_asking_git_runs_nothing_that_the_checkout_names(checkout: Project) -> None:
    from taxi_nb.review.verify.checkout import check_out
    from tests.review.test_checkout import RECORD

    touched = checkout.root.parent / "touched"
    trap = checkout.root.parent / "trap.sh"
    trap.write_text(f'#!/bin/sh\necho "$0 $@" >> {touched}\ncat\n')
    trap.chmod(0o755)
    attributes = "*.py filter=trap diff=trap\n*.ipynb filter=included diff=trap\n"
    (checkout.root / ".gitattributes").write_text(attributes)
    (checkout.root / "module.py").write_text("a = 1\n# old\n")
    git(checkout, "add", "-A")
    git(checkout, "commit", "-m", "attributes")
    commit = git(checkout, "rev-parse", "HEAD")
    included = checkout.root.parent / "included"
    included.write_text(f'[filter "included"]\n  clean = {trap}\n  required = true\n')
    for name in (
        *("core.fsmonitor", "diff.external", "diff.trap.textconv", "diff.trap.command"),
        *("filter.trap.clean", "filter.trap.smudge", "filter.trap.process", "core.pager"),
        *("pager.status", "pager.diff", "core.sshCommand", "gpg.program", "core.editor"),
        *("core.askPass", "credential.helper", "core.gitProxy", "uploadpack.packObjectsHook"),
    ):
        git(checkout, "config", name, str(trap))
    git(checkout, "config", "filter.trap.required", "true")
    git(checkout, "config", "alias.status", f"!{trap}")
    git(checkout, "config", "log.showSignature", "true")
    git(checkout, "config", "include.path", str(included))
    for hook in ("post-checkout", "post-index-change", "fsmonitor-watchman", "pre-auto-gc"):
        shutil.copy(trap, checkout.root / ".git" / "hooks" / hook)
    (checkout.root / "module.py").write_text("a = 2\n# new\n")
    checkout.notebook("03_train", "print(2)")
    touched.unlink(missing_ok=True)
    run = tracked()
    assert "a = 2" in artifact(run, "source/uncommitted.diff")
    assert run.data.tags["git.commit"] == commit
    record = replace(RECORD, commit=commit, dirty=False)
    copy = check_out(checkout.root, record, None, checkout.root.parent / "copy")
    assert (copy.root / "module.py").read_text() == "a = 1\n# old\n"
    assert not touched.exists(), touched.read_text()


def test_git_is_not_waited_for_and_the_run_says_so(
    checkout: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from taxi_nb.tracking import asking_git
    from taxi_nb.tracking.git import git_settings

    commit = git(checkout, "rev-parse", "HEAD")
    (checkout.root / "module.py").write_text("a = 2\n")
    programs = tmp_path / "programs"
    programs.mkdir()
    slow = programs / "git"
    real = shutil.which("git")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(asking_git, "SECONDS", 1.5)
    for asked, dirty, said in (
        ("status", "unknown (git did not answer within ", "# what differs is not known: git did "),
        ("diff", "true", "# cut after 0 bytes: git took longer than "),
    ):
        slow.write_text(
            f'#!/bin/sh\nfor word in "$@"; do [ "$word" = {asked} ] && exec sleep 60\ndone\n'
            f'exec {real} "$@"\n'
        )
        slow.chmod(0o755)
        git_settings.cache_clear()
        start = time.monotonic()
        run = tracked()
        assert time.monotonic() - start < 20
        assert run.data.tags["git.commit"] == commit
        assert run.data.tags["git.dirty"].startswith(dirty)
        assert artifact(run, "source/uncommitted.diff").startswith(said)


def test_a_large_file_is_not_read_into_the_diff(checkout: Project) -> None:
    with (checkout.root / "large.bin").open("wb") as file:
        file.truncate(300_000_000)
    git(checkout, "add", "-N", "large.bin")
    start = time.monotonic()
    diff = artifact(tracked(), "source/uncommitted.diff")
    assert diff == "# too large, and not in here:\n#   large.bin\n"
    assert time.monotonic() - start < 12
