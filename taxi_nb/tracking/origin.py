"""The notebook or script that this code runs in."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from taxi_nb.plain_data import plain, restored
from taxi_nb.project import path_within, project_root
from taxi_nb.secrets.known import KNOWN
from taxi_nb.tracking.names import NOTEBOOK_VARIABLE

# Visual Studio Code leaves the notebook's path in the notebook's own names.
_VS_CODE_NAME = "__vsc_ipynb_file__"
# Endings of notebooks that Jupytext keeps as text.
_TEXT = (".py", ".md")
_LAB_VARIABLE = "JPY_SESSION_NAME"


@dataclass(frozen=True)
class Origin:
    """A notebook, a script, or a Python that was asked line by line."""

    name: str  # The path, relative to the project where it is inside; or ``<console>``.
    file: Path | None  # None: not to be found.
    is_text: bool = False  # A notebook that Jupytext keeps as text.

    @property
    def kind(self) -> Literal["NOTEBOOK", "LOCAL"]:
        """Return ``NOTEBOOK``, or what MLflow's pages call anything else: ``LOCAL``."""
        return "NOTEBOOK" if self.is_text or self.name.endswith(".ipynb") else "LOCAL"

    @classmethod
    def here(cls) -> Origin:
        """Return what this code runs in: a step, a notebook of JupyterLab or VS Code, a script."""
        if (notebook := _notebook_file()) is not None:
            return cls.of(notebook, is_notebook=True)
        script = getattr(sys.modules.get("__main__"), "__file__", None)
        if _shell() is None and script is not None:
            return cls.of(Path(script).absolute())
        return cls("<console>", None)

    @classmethod
    def of(cls, file: Path, *, is_notebook: bool = False) -> Origin:
        """Return a file as the origin of a run."""
        root, path = project_root(), file
        if not path.is_relative_to(root):  # Either may have been reached over a link.
            root, path = root.resolve(), path.resolve()
        is_text = is_notebook and path.suffix in _TEXT
        return cls(path_within(root, path), file if file.is_file() else None, is_text)


def is_step() -> bool:
    """Whether this is the kernel of a pipeline's step."""
    return NOTEBOOK_VARIABLE in os.environ


def _notebook_file() -> Path | None:
    if of_step := os.environ.get(NOTEBOOK_VARIABLE):
        return project_root() / of_step
    names = getattr(_shell(), "user_ns", {})
    for path in (names.get(_VS_CODE_NAME), os.environ.get(_LAB_VARIABLE)):
        if isinstance(path, str) and path.endswith((".ipynb", *_TEXT)):
            file = Path.cwd() / path
            return file if file.is_file() else _renamed() or file
    return None


def _renamed() -> Path | None:
    """Ask the Jupyter servers of this user which notebook this kernel belongs to by now.

    The variable has the name that it had when the kernel started: ``Untitled.ipynb``, often.
    """
    connection = getattr(getattr(_shell(), "kernel", None), "config", {}).get("IPKernelApp", {})
    kernel = Path(connection.get("connection_file", "")).stem.removeprefix("kernel-")
    if not kernel:
        return None
    import requests
    from jupyter_server.serverapp import list_running_servers

    for server in list_running_servers():
        try:
            answer = requests.get(
                f"{server['url']}api/sessions",
                headers={"Authorization": f"token {server['token']}"},
                timeout=2,
            )
            sessions = answer.json() if answer.ok else []
        except (requests.RequestException, ValueError):
            continue
        for session in sessions:
            if session["kernel"] and session["kernel"]["id"] == kernel:
                return Path(server["root_dir"], session["path"])
    return None


def _shell() -> Any:
    """Return the IPython shell that this code runs in, if it does."""
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    return get_ipython()


def executed_sources() -> list[str] | None:
    """Return the cells that a person has executed in this kernel, in their order; else None.

    The notebook on disk may be older, and its cells were executed in another order.
    """
    shell = _shell()
    # A step executes the notebook as it is.
    if is_step() or getattr(shell, "history_manager", None) is None:
        return None
    return list(shell.history_manager.input_hist_raw[1:])


def executed_cells() -> str | None:
    """Return the same as one text."""
    cells = executed_sources()
    if cells is None:
        return None
    return "\n\n".join(f"# In [{number}]\n{cell}" for number, cell in enumerate(cells, start=1))


def stored_cells(file: Path) -> Any:
    """Return the cells of a notebook on disk; ImportError for a text one without jupytext."""
    if file.suffix not in _TEXT:
        return json.loads(file.read_bytes())["cells"]
    import jupytext

    return jupytext.read(file)["cells"]


def notebook_parameters(origin: Origin) -> dict[str, Any]:
    """Return the present values of what a notebook's parameters cell declares; none of a script.

    Secrets are ``env:NAME`` there, objects are shown as Python shows them.
    """
    names = getattr(_shell(), "user_ns", None)
    # The pipeline has no names. Its threads must not parse: before CPython 3.11.8, `ast.parse` in
    # several at once can fail with a SystemError (gh-106905).
    if origin.file is None or origin.kind != "NOTEBOOK" or names is None:
        return {}
    import ast

    try:
        cells = stored_cells(origin.file)
        tagged = [c for c in cells if "parameters" in c.get("metadata", {}).get("tags", [])]
        statements = [s for c in tagged for s in ast.parse("".join(c["source"])).body]
    except (ImportError, OSError, ValueError, KeyError, SyntaxError):
        return {}
    targets: list[ast.expr] = [s.target for s in statements if isinstance(s, ast.AnnAssign)]
    targets += [target for s in statements if isinstance(s, ast.Assign) for target in s.targets]
    declared = [target.id for target in targets if isinstance(target, ast.Name)]
    values = {name: names[name] for name in declared if name in names}
    return KNOWN.hide_in(restored(plain(values)))
