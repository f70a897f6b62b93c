"""Which notebook or script this code runs in."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from taxi_nb.project import path_within, project_root
from taxi_nb.secrets.known import KNOWN
from taxi_nb.tracking.names import NOTEBOOK_VARIABLE

# Visual Studio Code leaves the notebook's path in the notebook's own names.
_VS_CODE_NAME = "__vsc_ipynb_file__"
_LAB_VARIABLE = "JPY_SESSION_NAME"


@dataclass(frozen=True)
class Origin:
    """A notebook, a script, or a Python that was asked line by line.

    Attributes
    ----------
    name : str
        The path, relative to the project where it is inside; ``<console>`` without one.
    file : Path or None
        The file, where it is to be found.
    kind : {"NOTEBOOK", "LOCAL"}
        As MLflow's pages call it.
    """

    name: str
    file: Path | None
    kind: Literal["NOTEBOOK", "LOCAL"]


def origin() -> Origin:
    """Return what this code runs in: a step, a notebook of JupyterLab or VS Code, a script."""
    file = _notebook_file()
    if file is not None:
        return origin_of(file)
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if _shell() is None and script is not None:
        return origin_of(Path(script).absolute())
    return Origin("<console>", None, "LOCAL")


def origin_of(file: Path) -> Origin:
    """Return a file as what a run comes from."""
    kind: Literal["NOTEBOOK", "LOCAL"] = "NOTEBOOK" if file.suffix == ".ipynb" else "LOCAL"
    return Origin(_shown(file), file if file.is_file() else None, kind)


def current_notebook() -> str | None:
    """Return the running notebook's path, relative to the project where it can be."""
    file = _notebook_file()
    return None if file is None else _shown(file)


def is_step() -> bool:
    """Whether this is the kernel of a pipeline's step."""
    return NOTEBOOK_VARIABLE in os.environ


def _notebook_file() -> Path | None:
    if told := os.environ.get(NOTEBOOK_VARIABLE):
        return project_root() / told
    names = getattr(_shell(), "user_ns", {})
    for told in (names.get(_VS_CODE_NAME), os.environ.get(_LAB_VARIABLE)):
        if isinstance(told, str) and told.endswith(".ipynb"):
            file = Path.cwd() / told
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


def _shown(file: Path) -> str:
    root = project_root()
    # Either may have been reached over a link.
    is_linked = not file.is_relative_to(root)
    return path_within(root.resolve(), file.resolve()) if is_linked else path_within(root, file)


def _shell() -> Any:
    """Return the IPython shell that this code runs in, if it does."""
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    return get_ipython()


def executed_cells() -> str | None:
    """Return the code that a person has executed in this kernel, in its order.

    The notebook on disk may be older, and cells may have been executed in any order. None in a
    step, which executes the notebook as it is, and in a script.
    """
    shell = _shell()
    if shell is None or is_step() or not hasattr(shell, "history_manager"):
        return None
    cells = shell.history_manager.input_hist_raw[1:]
    return "\n\n".join(f"# In [{number}]\n{cell}" for number, cell in enumerate(cells, start=1))


def notebook_parameters(notebook: Path) -> dict[str, Any]:
    """Return what the names in a notebook's parameters cell have for values at this moment.

    Secrets are ``env:NAME`` there, values that JSON cannot hold are shown as Python shows them.
    """
    import ast

    names = getattr(_shell(), "user_ns", {})
    try:
        cells = json.loads(notebook.read_bytes())["cells"]
        tagged = [c for c in cells if "parameters" in c.get("metadata", {}).get("tags", [])]
        statements = [s for c in tagged for s in ast.parse("".join(c["source"])).body]
    except (OSError, ValueError, KeyError, SyntaxError):
        return {}
    targets: list[ast.expr] = [s.target for s in statements if isinstance(s, ast.AnnAssign)]
    targets += [target for s in statements if isinstance(s, ast.Assign) for target in s.targets]
    declared = [target.id for target in targets if isinstance(target, ast.Name)]
    values = {name: names[name] for name in declared if name in names}
    return KNOWN.hide_in(json.loads(json.dumps(values, default=repr)))
