"""What the Jupyter server loads: kernels with our extension, and the pages in ``runs/``."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

from jupyter_server.base.handlers import AuthenticatedFileHandler
from jupyter_server.services.kernels.kernelmanager import ServerKernelManager
from jupyter_server.utils import url_path_join
from tornado import web

from taxi_nb.pipeline.report.site import page_policy
from taxi_nb.project import file_inside, project_root
from taxi_nb.tracking.names import PAGES_VARIABLE

PLACE = "taxi-nb/runs"
_EXTENSION = "--InteractiveShellApp.extra_extensions=taxi_nb"
_OWN_MANAGER = "jupyter_server.services.kernels.kernelmanager.ServerKernelManager"


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(app: Any) -> None:
    """Serve the pages of runs; let kernels of this Python load our extension."""
    place = url_path_join(app.base_url, PLACE)
    app.web_app.add_handlers(".*$", [(f"{place}/(.*)", RunPages)])
    # How cards call the command line: it need not be on the path of Lab's terminals.
    pages = app.web_app.settings.setdefault("page_config_data", {})
    pages["taxiNb"] = f"{shlex.quote(sys.executable)} -m taxi_nb"
    # One that somebody chose, or a gateway's, stays: there `%load_ext taxi_nb` does the same.
    if getattr(app.kernel_manager, "kernel_manager_class", "") == _OWN_MANAGER:
        app.kernel_manager.kernel_manager_class = f"{__name__}.ManagerOfKernels"


class ManagerOfKernels(ServerKernelManager):
    """Starts kernels of this Python with our extension; it reaches no kernel of anything else."""

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        """Name our extension to IPython's kernel."""
        command = list(super().format_kernel_cmd(extra_arguments))
        return [*command, _EXTENSION] if _is_ours(command) else command

    # jupyter-client's types say that it is no coroutine.
    async def start_kernel(self, *given: Any, **named: Any) -> None:  # type: ignore[override]
        """Tell the kernel where this server shows pages."""
        app = getattr(self.parent, "parent", None)
        if (env := named.get("env")) is not None and app is not None:
            named["env"] = {**env, PAGES_VARIABLE: url_path_join(app.base_url, PLACE)}
        await super().start_kernel(*given, **named)


def _is_ours(command: list[str]) -> bool:
    """Whether a command starts IPython's kernel in this environment: others may lack us."""
    python = Path(command[0])
    # Environments differ by their folders, though their interpreters may be one file.
    is_here = python.parent == Path(sys.executable).parent
    is_this = os.path.realpath(python) == os.path.realpath(sys.executable)
    return is_here and is_this and "ipykernel_launcher" in command


class RunPages(AuthenticatedFileHandler):
    """The files in ``runs/``, for whoever may read the server's files; nothing is written.

    Jupyter shows pages at an origin of their own, to which browsers send no cookie: their figures
    would be refused. These are shown at the server's, and what may run there is ours alone.
    """

    def initialize(self, path: str = "", **named: Any) -> None:  # type: ignore[override]
        """Look for files below ``runs/``, wherever that is on the disk."""
        super().initialize(path or os.path.realpath(project_root() / "runs"), **named)

    @property
    def content_security_policy(self) -> str:
        """Jupyter's own, and what pages may do: run the scripts that we wrote, load pictures."""
        own = super(AuthenticatedFileHandler, self).content_security_policy
        return f"{own}; {page_policy()}"

    def check_xsrf_cookie(self) -> None:
        """Ask for none: nothing is changed here, and a page's address may be typed or sent."""

    def set_headers(self) -> None:
        """Let no browser guess what a file is, nor show it to pages from elsewhere."""
        super().set_headers()
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")

    def validate_absolute_path(self, root: str, absolute_path: str) -> str:
        """Refuse what is not below ``runs/`` on the disk either, as a link may lead elsewhere."""
        path: str = super().validate_absolute_path(root, absolute_path)
        try:
            return str(file_inside(Path(root), str(Path(path).relative_to(root))))
        except ValueError:
            raise web.HTTPError(404) from None
