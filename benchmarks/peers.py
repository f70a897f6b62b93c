"""The tests of nbclient and papermill themselves, with plain kernels and with ours.

    python -m benchmarks.peers [nbclient papermill] [--kernel fork|spawn] [--keep FOLDER]

Their sources, which hold the tests, and what the tests need come from the package index, in the
versions that are installed here, into an environment of their own. Printed is how many passed
and failed both ways, and each test that ends otherwise with our kernels; then the exit code is 1.
"""

from __future__ import annotations

import argparse
import atexit
import os
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VARIABLE = "PEERS_KERNEL"
# nbclient takes warnings for errors, and this choice is one that newer plug-ins ask for.
SCOPE = ("-o", "asyncio_default_fixture_loop_scope=function")

# Where each has its tests, and what these import beside the project's dependencies. papermill's
# own list asks for an older IPython than ours.
TESTS = {
    "nbclient": ("tests", ["flaky", "pytest", "pytest-asyncio>=1.3", "testpath", "xmltodict"]),
    "papermill": (
        "papermill/tests",
        [
            *("azure-datalake-store", "azure-identity", "azure-storage-blob", "black", "boto3"),
            *("gcsfs", "moto[s3]", "pygithub", "pytest", "pytest-env", "pytest-mock"),
        ],
    ),
}


def pytest_configure() -> None:
    """Give nbclient our kernels: this module is a plug-in of the tests, too."""
    kind = os.environ.get(VARIABLE)
    if not kind:
        return
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.client import NotebookClient

    from taxi_nb.pipeline.kernels.pool import KernelPool

    pool = KernelPool(kind, preload=("ipykernel_launcher",))  # type: ignore[arg-type]
    atexit.register(pool.close)
    plain = NotebookClient.create_kernel_manager

    def create(self: NotebookClient) -> Any:
        named = self.kernel_name or self.nb.metadata.get("kernelspec", {}).get("name", "")
        # Another manager, or a kernel of another name, is what that test is about.
        if self.kernel_manager_class is not AsyncKernelManager or named not in ("", "python3"):
            return plain(self)
        self.kernel_name, self.km = named, pool.manager()
        return self.km

    setattr(NotebookClient, "create_kernel_manager", create)  # noqa: B010


def sources(name: str, folder: Path) -> Path:
    """Fetch a project's source package and unpack it."""
    wanted = f"{name}=={version(name)}"
    fetch = ["pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", wanted]
    subprocess.run([sys.executable, "-m", *fetch, "--dest", str(folder)], check=True)
    (archive,) = folder.glob(f"{name}-*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def environment(folder: Path) -> Path:
    """Make the environment of the tests, and return its Python."""
    python = folder / "env" / "bin" / "python"
    needed = [name for _, names in TESTS.values() for name in names]
    locked = [f"--constraint={ROOT / 'requirements-dev.lock'}"]
    for command in (
        ["venv", "--quiet", "--allow-existing", str(folder / "env")],
        ["pip", "install", "--quiet", f"--python={python}", *locked, "-e", str(ROOT), *needed],
    ):
        subprocess.run([sys.executable, "-m", "uv", *command], check=True)
    return python


def outcomes(python: Path, source: Path, tests: str, kernel: str) -> dict[str, str]:
    """Run the tests and return how each ended."""
    report = source / f"{kernel or 'plain'}.xml"
    options = ["-p", "benchmarks.peers", "-p", "no:cacheprovider", "-q", f"--junitxml={report}"]
    # nbclient's own program is beside the environment's Python.
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    places = {"PATH": path, "PYTHONPATH": f"{source}{os.pathsep}{ROOT}"}
    known = {**os.environ, VARIABLE: kernel, **places}
    with (source / f"{kernel or 'plain'}.log").open("w") as log:
        command = [str(python), "-m", "pytest", *SCOPE, *options, tests]
        subprocess.run(command, cwd=source, env=known, stdout=log, stderr=subprocess.STDOUT)
    ended = {}
    for case in ElementTree.parse(report).iter("testcase"):
        found = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        ended[f"{case.get('classname')}::{case.get('name')}"] = (*found, "passed")[0]
    return ended


def main() -> int:
    """Run them both ways and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="nbclient, papermill; both without any")
    parser.add_argument("--kernel", default="fork", choices=["fork", "spawn"])
    parser.add_argument("--keep", type=Path, help="a folder for sources, reports and logs")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="peers-") as made:
        folder = Path(given.keep or made).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        python = environment(folder)
        worse = False
        for name in given.names or TESTS:
            source = sources(name, folder)
            both = [outcomes(python, source, TESTS[name][0], way) for way in ("", given.kernel)]
            for way, ended in zip(("plain", given.kernel), both, strict=True):
                counts = Counter(ended.values())
                print(f"{name} {version(name)}, {way} kernels: {dict(counts)}", flush=True)
            plain, ours = both
            for test in sorted(set(plain) | set(ours)):
                if plain.get(test) != ours.get(test):
                    print(f"  {test}: plain {plain.get(test)}, ours {ours.get(test)}")
                    worse = worse or ours.get(test) != "passed"
    return int(worse)


if __name__ == "__main__":
    raise SystemExit(main())
