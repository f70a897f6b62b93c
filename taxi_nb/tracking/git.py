"""What git says of the project: asked once, for one moment."""

from __future__ import annotations

import difflib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from taxi_nb.secrets.addresses import without_credentials
from taxi_nb.secrets.literals import looks_secret, scrubbed

# A diff beyond this is cut: a reader wants to know what was changed, not the data in it.
MAX_DIFF = 500_000
_SECONDS = 10


@dataclass(frozen=True)
class Change:
    """A file that differs from the commit; its path is the repository's."""

    path: str
    kind: Literal["changed", "added", "deleted", "untracked"]


@dataclass(frozen=True)
class GitState:
    """Commit, branch and changes of a checkout.

    Attributes
    ----------
    commit : str or None
        None where there is none; `missing` says why.
    branch : str
        ``(detached)`` where a commit is checked out by itself.
    remote : str or None
        The branch's remote, else ``origin``, else the first; without credentials.
    user : str or None
        ``user.name``.
    """

    folder: Path
    commit: str | None
    missing: str = ""
    branch: str = ""
    remote: str | None = None
    user: str | None = None
    changes: tuple[Change, ...] = ()

    @property
    def is_dirty(self) -> bool:
        """Whether anything differs from the commit, files that git does not know included."""
        return bool(self.changes)

    @cached_property
    def diff(self) -> str:
        """All that differs from the commit, for a person and for ``git apply``.

        Notebooks are compared without outputs. Lines with ``#`` at the top name what is not in
        it: files that git does not know, files with secrets by their names, how many secrets
        were replaced, and where it was cut. Empty where nothing differs.
        """
        if not self.is_dirty:
            return ""
        try:
            return _diff_text(self)
        except (OSError, subprocess.SubprocessError) as error:
            return f"# what differs is not known: {_reason(error)}\n"


def git_state(folder: Path) -> GitState:
    """Ask git for the state of the checkout that a folder is in."""
    try:
        told = _git(folder, "status", "--porcelain=v2", "--branch", "-z")
    except (OSError, subprocess.SubprocessError) as error:
        return GitState(folder, None, missing=_reason(error), user=_config(folder).get("user.name"))
    fields = _text(told).split("\0")
    headers = dict(_header(field) for field in fields if field.startswith("# "))
    config = _config(folder)
    commit = headers.get("branch.oid", "(initial)")
    return GitState(
        folder,
        None if commit == "(initial)" else commit,
        missing="nothing is committed yet" if commit == "(initial)" else "",
        branch=headers.get("branch.head", ""),
        remote=_remote(config, headers.get("branch.head", "")),
        user=config.get("user.name"),
        changes=tuple(_changes([field for field in fields if not field.startswith("# ")])),
    )


def _git(folder: Path, *arguments: str) -> bytes:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        timeout=_SECONDS,
        check=True,
        stdin=subprocess.DEVNULL,
        # Without locks another git, or another run, is not disturbed.
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
    )
    return done.stdout


def _text(said: bytes) -> str:
    return said.decode("utf-8", "replace")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "git is not installed"
    if not isinstance(error, subprocess.CalledProcessError):
        return f"git did not answer: {type(error).__name__}"
    said = _text(error.stderr).strip()
    if "not a git repository" in said:
        return "not a git checkout"
    return said.splitlines()[0] if said else "git failed"


def _header(field: str) -> tuple[str, str]:
    name, _, value = field.removeprefix("# ").partition(" ")
    return name, value


@cache
def _config(folder: Path) -> dict[str, str]:
    """Return the settings that say who and where; they stay while a process lives."""
    wanted = r"^(user\.name|remote\..*\.url|branch\..*\.remote)$"
    try:
        told = _git(folder, "config", "--null", "--get-regexp", wanted)
    except (OSError, subprocess.SubprocessError):
        return {}
    entries = (entry.partition("\n") for entry in _text(told).split("\0") if entry)
    return {name: value for name, _, value in entries}


def _remote(config: dict[str, str], branch: str) -> str | None:
    others = (name.split(".")[1] for name in config if name.startswith("remote."))
    for name in (config.get(f"branch.{branch}.remote"), "origin", *others):
        if url := config.get(f"remote.{name}.url"):
            # The user of ssh is `git`, no secret; the address is of no use without.
            user = "git@" if url.startswith("ssh://git@") else ""
            return without_credentials(url).replace("://", f"://{user}", 1)
    return None


def _changes(fields: Sequence[str]) -> Iterator[Change]:
    """Read the entries of ``git status --porcelain=v2 -z``."""
    remaining = iter(fields)
    for field in remaining:
        match field[:2]:
            case "? ":
                yield Change(field[2:], "untracked")
            case "1 " | "u ":
                yield _change(field.split(" ", 8 if field[0] == "1" else 10))
            case "2 ":
                new = field.split(" ", 9)
                yield Change(next(remaining), "deleted")
                yield Change(new[-1], "added")


def _change(parts: Sequence[str]) -> Change:
    states, path = parts[1], parts[-1]
    if "D" in states:
        return Change(path, "deleted")
    return Change(path, "added" if "A" in states else "changed")


def _diff_text(state: GitState) -> str:
    top = Path(_text(_git(state.folder, "rev-parse", "--show-toplevel")).rstrip("\n"))
    notes: list[str] = []
    held_back = [c.path for c in state.changes if _may_hold_secrets(c.path)]
    untracked = [c.path for c in state.changes if c.kind == "untracked"]
    if untracked:
        notes += ["not known to git, and not in here:", *(f"  {path}" for path in untracked)]
    if named := sorted({*held_back} - {*untracked}):
        notes += ["held back, for secrets by their names:", *(f"  {path}" for path in named)]
    parts = []
    if state.commit:
        notebooks = [c for c in state.changes if _is_notebook(c) and c.path not in held_back]
        parts = [_plain_diff(top, held_back), *_notebook_diffs(top, notebooks, notes)]
    text, secrets = scrubbed("".join(parts))
    if secrets:
        notes.append(f"secrets replaced by ***: {secrets}; this does not apply as it is")
    if len(text) > MAX_DIFF:
        kept = text.rfind("\n", 0, MAX_DIFF) + 1
        notes.append(f"cut after {kept:,} characters; it goes on")
        text = text[:kept] + "# cut here\n"
    return "".join(f"# {note}\n" for note in notes) + text


def _is_notebook(change: Change) -> bool:
    return change.kind != "untracked" and change.path.endswith(".ipynb")


def _may_hold_secrets(path: str) -> bool:
    file = Path(path)
    endings = {".env", ".key", ".pem", ".p12", ".pfx"}
    return (
        file.suffix.lower() in endings
        or file.name.lower().startswith((".env", "id_rsa", "id_ed25519", ".netrc"))
        or (looks_secret(file.stem) and file.suffix not in (".py", ".md", ".ipynb"))
    )


def _plain_diff(top: Path, held_back: Sequence[str]) -> str:
    """Return git's own diff of all but notebooks, and no more of it than will be kept."""
    command = ["git", "-C", str(top), "diff", "HEAD", "--no-ext-diff", "--no-textconv"]
    command += ["--no-color", "--no-renames", "--", ".", ":(exclude)*.ipynb"]
    command += [f":(exclude,literal){path}" for path in held_back]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        said = process.stdout.read(2 * MAX_DIFF)
        process.kill()
    return _text(said)


def _notebook_diffs(top: Path, notebooks: Sequence[Change], notes: list[str]) -> Iterator[str]:
    committed = _committed(top, [change.path for change in notebooks if change.kind != "added"])
    for change in notebooks:
        old = committed.get(change.path)
        file = top / change.path
        new = file.read_bytes() if file.is_file() else None
        diff = _notebook_diff(change.path, old, new)
        if not diff:
            notes.append(f"only outputs differ: {change.path}")
        yield diff


def _committed(top: Path, paths: Sequence[str]) -> dict[str, bytes]:
    """Return what the commit has of some files, from one process."""
    if not paths:
        return {}
    asked = "".join(f"HEAD:{path}\n" for path in paths).encode()
    command = ["git", "-C", str(top), "cat-file", "--batch"]
    said = subprocess.run(command, input=asked, capture_output=True, timeout=_SECONDS).stdout
    found = {}
    for path in paths:
        header, _, said = said.partition(b"\n")
        if header.endswith(b" missing"):
            continue
        size = int(header.rsplit(b" ", 1)[1])
        found[path], said = said[:size], said[size + 1 :]
    return found


def _notebook_diff(path: str, old: bytes | None, new: bytes | None) -> str:
    before, after = (None if side is None else without_outputs(side) for side in (old, new))
    if before == after:
        return ""
    mode = "new file mode 100644\n" if before is None else "deleted file mode 100644\n"
    heading = f"diff --git a/{path} b/{path}\n" + (mode if None in (before, after) else "")
    lines = difflib.unified_diff(
        _text(before or b"").splitlines(keepends=True),
        _text(after or b"").splitlines(keepends=True),
        "/dev/null" if before is None else f"a/{path}",
        "/dev/null" if after is None else f"b/{path}",
    )
    return heading + "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def without_outputs(notebook: bytes) -> bytes:
    """Return a notebook's file without outputs and execution counts; as it is where it has none."""
    try:
        content: dict[str, Any] = json.loads(notebook)
        cells = [cell for cell in content["cells"] if cell.get("cell_type") == "code"]
    except (ValueError, TypeError, KeyError):
        return notebook
    if not any(cell.get("outputs") or cell.get("execution_count") for cell in cells):
        return notebook
    for cell in cells:
        cell.update(outputs=[], execution_count=None)
        # Jupyter notes there when a cell was executed.
        cell.get("metadata", {}).pop("execution", None)
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
