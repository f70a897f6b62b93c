"""The environment of a run: Python, packages, the lock, the machine."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from taxi_nb.project import project_root

# What says which packages a project runs with.
_LOCKS = (
    *("requirements.lock", "uv.lock", "poetry.lock", "pdm.lock", "pixi.lock", "pylock.toml"),
    *("conda-lock.yml", "conda-lock.yaml", "Pipfile.lock"),
)
# They decide how sums are split over threads, and the order of sets.
_DECISIVE = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "PYTHONHASHSEED",
)


def installed_versions() -> dict[str, str]:
    """Return the version of each installed package, by the names of its metadata folders.

    Reading the metadata themselves takes a hundred times as long.
    """
    versions = {package: version for package, version, _ in _installed()}
    return {"python": platform.python_version(), **versions}


@cache
def packages_with_modules() -> dict[str, set[str]]:
    """Return the packages that have a top-level module, for each that is installed.

    `importlib.metadata.packages_distributions` looks for each file of each package, which takes
    ten times as long, half a second.
    """
    found: dict[str, set[str]] = {}
    for package, _, folder in _installed():
        for module in _modules(folder):
            found.setdefault(module, set()).add(package)
    return found


def _modules(folder: Path) -> set[str]:
    """Return the top-level modules of a package, as its metadata declare them or list its files."""
    for name in ("top_level.txt", "RECORD"):
        try:
            lines = (folder / name).read_text("utf-8").splitlines()
        except OSError:
            continue
        if name == "RECORD":
            files = (line.partition(",")[0] for line in lines)
            lines = [file.partition("/")[0] for file in files if file.endswith(".py")]
        if modules := {line.strip().removesuffix(".py") for line in lines} - {""}:
            return modules
    return set()


def _installed() -> Iterator[tuple[str, str, Path]]:
    """Yield name, version and metadata folder of each installed package; the last one counts."""
    for place in reversed(sys.path):
        try:
            names = os.listdir(place or ".")
        except OSError:
            continue
        for name in names:
            if name.endswith(".dist-info"):
                package, _, version = name.removesuffix(".dist-info").rpartition("-")
                yield canonical(package), version, Path(place, name)


def canonical(package: str) -> str:
    """Return the normalized form of a package's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", package).lower()


def packages_text() -> str:
    """Return a line ``name==version`` for each installed package."""
    versions = installed_versions()
    return "".join(f"{name}=={versions[name]}\n" for name in sorted(versions) if name != "python")


def lock_files(root: Path) -> list[Path]:
    """Return the files that lock a project's packages; ``requirements*.txt`` are among them."""
    named = [root / name for name in _LOCKS if (root / name).is_file()]
    return named + sorted(path for path in root.glob("requirements*.txt") if path.is_file())


def lock_digest(root: Path | None = None) -> str:
    """Return the sha256 of a project's lock file, or ``none`` where it has none.

    Of several it is that of their names and digests, since any may be what was installed.
    """
    try:
        found = {path.name: path.read_bytes() for path in lock_files(root or project_root())}
    except OSError:
        return "none"
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}
    if len(digests) > 1:
        listed = "".join(f"{name} {digest}\n" for name, digest in digests.items())
        return hashlib.sha256(listed.encode()).hexdigest()
    return next(iter(digests.values()), "none")


def host() -> dict[str, Any]:
    """Return facts of the machine, memory in megabytes, and settings that numbers depend on."""
    return {**_machine(), "variables": {name: os.environ.get(name) for name in _DECISIVE}}


@cache
def _machine() -> dict[str, Any]:
    memory = machine_memory()
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "memory_mb": memory and round(memory / 1e6),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def usable_cores() -> int:
    """Return the processors that this process may use, without a container's quota."""
    affinity = getattr(os, "sched_getaffinity", None)  # macOS and Windows have none.
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def machine_memory() -> int | None:
    """Return the machine's bytes of memory; None where that is not known, such as without /proc."""
    import psutil

    try:
        return int(psutil.virtual_memory().total)
    except (OSError, psutil.Error):
        return None


def _processor() -> str:
    """Return the processor's name; Linux keeps it where Python does not look."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
