"""The public names: trips, tracked training, tuning, the registry, figures.

The names are listed in ``__init__.pyi``. Importing the package is cheap: a name is loaded from
its module when it is first used, so that the command line answers before pandas is imported.
"""

import os
from typing import Any

from lazy_loader import attach_stub

from taxi_nb.models.carried import ModelCode
from taxi_nb.trips.extras import extras_named

# A thread of MLflow's telemetry changes the environment while a request may be reading it, which
# lost one of 3,600 runs. In scripts, as in steps, there is none, unless somebody wants it.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Before any model is loaded: what one carries must not take the place of the project's code.
ModelCode.install()

_load, __dir__, __all__ = attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    with extras_named():
        return _load(name)


def load_ipython_extension(shell: Any) -> None:
    """Serve ``%load_ext taxi_nb``: magics, displays, completion."""
    from taxi_nb.lab.extension import register
    from taxi_nb.pipeline.kernels.import_path import find_modules_in
    from taxi_nb.project import project_root

    find_modules_in(str(project_root()))  # As a step's kernel does.
    register(shell)
