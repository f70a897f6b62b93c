"""The kernels of one pipeline run; cheap to import, Jupyter is loaded with the first manager."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, get_args

from taxi_nb.pipeline.kernels._directories import PrivateDirectory

if TYPE_CHECKING:
    from taxi_nb.pipeline.kernels._client import ForkServer
    from taxi_nb.pipeline.kernels._provisioner import PoolKernelManager, SpawnProvisioner

logger = logging.getLogger(__name__)

KernelKind = Literal["fork", "spawn"]

# Imports of notebooks on tables, models and figures. A module must not start threads or OpenMP
# and BLAS work when it is imported, and must not care which kernel it is imported in.
DEFAULT_PRELOAD: tuple[str, ...] = (
    *("ipykernel.kernelapp", "ipykernel.ipkernel", "ipykernel.zmqshell", "ipykernel_launcher"),
    *("ipykernel.debugger", "IPython.core.completer", "IPython.core.history"),
    *("IPython.core.completerlib", "IPython.core.logger", "IPython.core.oinspect", "pdb"),
    *("IPython.core.debugger", "IPython.extensions.storemagic", "tornado.platform.asyncio"),
    *("IPython.core.pylabtools", "threadpoolctl", "alembic.command", "alembic.script", "git"),
    *("numpy", "numpy.random"),
    *("matplotlib", "matplotlib.pyplot", "matplotlib.backends.backend_agg"),
    # Which Pillow imports when it writes its first picture.
    *("PIL.BmpImagePlugin", "PIL.GifImagePlugin", "PIL.JpegImagePlugin", "PIL.PpmImagePlugin"),
    *("pandas", "pandas.io.formats.html", "pandas.io.formats.string", "narwhals._pandas_like"),
    *("pyarrow", "pyarrow.dataset", "pyarrow.parquet"),
    *("scipy.optimize", "scipy.sparse", "scipy.stats"),
    *("sklearn", "sklearn.compose", "sklearn.ensemble", "sklearn.feature_extraction"),
    *("sklearn.linear_model", "sklearn.metrics", "sklearn.model_selection", "sklearn.pipeline"),
    *("sklearn.preprocessing", "seaborn", "xgboost"),
    *("mlflow", "mlflow.models", "mlflow.sklearn", "mlflow.store.tracking.sqlalchemy_store"),
    *("mlflow.store.tracking.sqlalchemy_workspace_store", "sqlalchemy.dialects.sqlite"),
    *("mlflow.pyfunc", "mlflow.pyfunc.scoring_server", "mlflow.tracing.processor.otel"),
    *("mlflow.pyfunc.utils.environment", "mlflow.models.display_utils"),
    *("mlflow.tracing.processor.base_mlflow", "mlflow.tracing.export.utils"),
    *("mlflow.xgboost", "skops.io", "hyperopt"),
)


def fork_is_supported() -> bool:
    """Whether kernels can be forked here at all, safe or not."""
    return all(hasattr(os, name) for name in ("fork", "waitid", "setsid"))


def default_kind() -> KernelKind:
    """Return "fork" where that is safe, which is Linux, and "spawn" elsewhere.

    The system frameworks of macOS, which numerical libraries call, do not survive a fork.
    """
    return "fork" if sys.platform == "linux" and fork_is_supported() else "spawn"


def in_one_order(env: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which sets of texts have one order: a pool's and its kernels'."""
    return {"PYTHONHASHSEED": "0", **env}


class KernelPool:
    """Makes kernel managers that share one fork server and one private directory.

    May be used from several threads. A context manager: starts on entry, closes on exit.
    Where forking is not possible, "fork" spawns and logs a warning. The fork server imports
    `preload`, as far as possible. `env` is its environment (default: that of this process); a
    kernel with other values of variables that are read once, such as PYTHONHASHSEED, is spawned.
    """

    def __init__(
        self,
        kind: KernelKind,
        preload: Sequence[str] = DEFAULT_PRELOAD,
        *,
        env: Mapping[str, str] | None = None,
    ) -> None:
        if kind not in get_args(KernelKind):
            raise ValueError(f"`kind` must be one of {list(get_args(KernelKind))}, got: {kind!r}")
        self.kind: KernelKind = kind
        self._preload = tuple(preload)
        self._env = dict(os.environ if env is None else env)
        self._lock = threading.RLock()
        self._directory: PrivateDirectory | None = None
        self._server: ForkServer | None = None
        self._provisioners: set[SpawnProvisioner] = set()

    def __enter__(self) -> KernelPool:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin to start the fork server, if there is to be one, and return at once."""
        from taxi_nb.pipeline.kernels._client import ForkServer

        with self._lock:
            if self._directory is not None:
                return
            self._directory = PrivateDirectory()
            if self.kind == "fork" and fork_is_supported():
                self._server = ForkServer(self._preload, self._directory.path, self._env)
            elif self.kind == "fork":
                logger.warning("this platform cannot fork kernels, they will be spawned")

    def manager(self, env: Mapping[str, str] | None = None) -> PoolKernelManager:
        """Return an asynchronous manager for one kernel that is not started yet.

        Stopping the kernel is up to the caller, with ``await km.shutdown_kernel(now=True)`` or
        by ``client.owns_km = True`` before `nbclient.NotebookClient.execute`. Processes, sockets
        and files go with it, at the latest when the pool closes. `env` is the kernel's whole
        environment (default: that of this process when it starts).
        """
        from taxi_nb.pipeline.kernels._provisioner import PoolKernelManager

        self.start()
        return PoolKernelManager(self._provisioner, env)

    def close(self) -> None:
        """Kill what is left of kernels and server, remove their files; it may start again."""
        with self._lock:
            provisioners = tuple(self._provisioners)
            self._provisioners.clear()
            server, self._server = self._server, None
            directory, self._directory = self._directory, None
        for provisioner in provisioners:
            provisioner.kill_now()
        if server is not None:
            server.close()
        if directory is not None:
            directory.remove()

    def _provisioner(self, manager: PoolKernelManager) -> SpawnProvisioner:
        from taxi_nb.pipeline.kernels._provisioner import ForkProvisioner, SpawnProvisioner

        with self._lock:
            if self._directory is None:
                raise RuntimeError("the kernel pool is closed")
            kind = ForkProvisioner if self._server else SpawnProvisioner
            kernel_id, kernel_spec = manager.kernel_id, manager.kernel_spec
            made = kind(parent=manager, kernel_id=kernel_id, kernel_spec=kernel_spec)
            if isinstance(made, ForkProvisioner) and self._server:
                made.server = self._server
            made.directory = self._directory.subdirectory()
            made.on_cleanup = self._provisioners.discard
            self._provisioners.add(made)
            return made
