"""`taxi-nb lab`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from taxi_nb.project import project_root

# Cards for Lab's launcher, and the answers to what Lab would ask on its first start.
_CARDS, _ANSWERS = (Path(__file__).parents[1] / "lab" / name for name in ("cards", "settings"))


def lab(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="NOTEBOOK", help="What to open; after `--` JupyterLab's options."),
    ] = None,
) -> None:
    """Explore in JupyterLab with this project's store, until Ctrl-C.

    Every notebook has `%params`, `%plan`, `%report` and the like, the launcher cards for them.

    Example:
      taxi-nb lab notebooks/01_ingest.ipynb
      taxi-nb lab -- --no-browser --port=8889
    """
    from taxi_nb.tracking.names import URI_VARIABLE
    from taxi_nb.tracking.store import tracking_uri

    root = str(project_root())
    places = [str(_ANSWERS), os.environ.get("JUPYTER_CONFIG_PATH")]
    # What a batch kernel is given, too.
    env = {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONHASHSEED": "0", **os.environ}
    env |= {"TAXI_NB_ROOT": root, URI_VARIABLE: tracking_uri()}
    env["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, places))
    command = [sys.executable, "-m", "jupyterlab", *_settings(), f"--notebook-dir={root}"]
    command += arguments or []
    if os.name == "posix":
        sys.stdout.flush()
        os.execve(sys.executable, command, env)  # noqa: S606 - Lab is what signals are for
    raise SystemExit(subprocess.run(command, env=env).returncode)


def _settings() -> list[str]:
    """Let Lab load our extension, and give it kernels that no other user can listen to."""
    from jupyter_core.paths import jupyter_runtime_dir

    settings = [
        "--ServerApp.jpserver_extensions",
        "taxi_nb.lab.server=True",
        f"--LabApp.extra_labextensions_path={_CARDS}",
    ]
    # A kernel's output goes to whoever connects to its port; a socket in Jupyter's own folder only
    # its owner can open. Its path has 107 bytes at most, of which the kernel's name takes 60.
    if os.name == "posix" and len(os.fsencode(jupyter_runtime_dir())) <= 47:
        settings.append("--KernelManager.transport=ipc")
    return settings
