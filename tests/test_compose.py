"""compose.yaml: nothing secret, nothing open to the network, and its services work together."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.containers.as_processes import COMMIT
from tests.containers.compose import FILE, MissingVariableError, services
from tests.tracking.stores.servers import postgresql_programs

EXAMPLE = REPOSITORY / ".env.example"
# What of params/smoke.yaml a champion takes: all of it takes a minute more.
FROM_INGEST_TO_CHAMPION = """
experiment: smoke
params: {source: sample, train_months: [2021-01], valid_months: [2021-02], sample_rows: 3000,
  registered_model: smoke}
steps:
  - notebook: 01_ingest
  - notebook: 03_train
    params: {model: linear}
  - notebook: 06_register
"""


def names_in_example() -> list[str]:
    return re.findall(r"^(\w+)=$", EXAMPLE.read_text(), re.MULTILINE)


def all_services() -> dict[str, Any]:
    return services({name: f"value-of-{name}" for name in names_in_example()})


def test_every_secret_comes_from_outside_and_a_missing_one_is_named() -> None:
    lines = [line for line in EXAMPLE.read_text().splitlines() if not line.startswith("#")]
    assert all(line.endswith("=") for line in lines)
    assert set(re.findall(r"\$\{(\w+):\?", FILE.read_text())) == set(names_in_example())
    for name in names_in_example():
        given = {other: "x" for other in names_in_example() if other != name}
        with pytest.raises(MissingVariableError, match=name):
            services(given)
    for service in all_services().values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN|ACCESS_KEY", name):
                assert value.startswith("value-of-"), name


def test_make_writes_random_secrets_that_only_their_owner_reads(tmp_path: Path) -> None:
    written = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        for file in ("Makefile", ".env.example"):
            shutil.copy(REPOSITORY / file, folder)
        subprocess.run(["make", "-s", ".env"], cwd=folder, check=True, capture_output=True)
        assert (folder / ".env").stat().st_mode & 0o777 == 0o600
        written.append(dict(line.split("=") for line in (folder / ".env").read_text().split()))
    assert list(written[0]) == names_in_example()
    values = [value for each in written for value in each.values()]
    assert len(set(values)) == len(values)
    assert all(len(value) == 48 for value in values)
    ignored = subprocess.run(["git", "check-ignore", "-q", ".env"], cwd=REPOSITORY)
    assert ignored.returncode == 0


def test_ports_are_this_machines_and_what_answers_is_asked_for_its_health() -> None:
    for name, service in all_services().items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
        if "restart" in service and name != "prefect-worker":
            assert service["healthcheck"]["test"][0] == "CMD", name
        assert set(service.get("depends_on", {})) <= set(all_services())


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What was seen when the smoke pipeline went through all services."""
    if os.name != "posix" or os.getuid() != 0 or not shutil.which("unshare"):
        pytest.skip("only root may give processes names and ports of their own")
    if postgresql_programs() is None:
        pytest.skip("NO POSTGRESQL HERE: compose.yaml is NOT TESTED (apt install postgresql)")
    pytest.importorskip("moto.server")
    # Not below pytest's folders: PostgreSQL is not root, and nobody but root may look in there.
    folder = Path(tempfile.mkdtemp(prefix="taxi-nb-together-", dir="/tmp"))
    request.addfinalizer(lambda: shutil.rmtree(folder))  # noqa: PT021 - much may fail before
    folder.chmod(0o755)
    for name in ("notebooks", "params"):
        shutil.copytree(REPOSITORY / name, folder / name)
    for name in ("requirements.lock", "Makefile", ".env.example"):
        shutil.copy(REPOSITORY / name, folder)
    subprocess.run(["make", "-s", ".env"], cwd=folder, check=True, capture_output=True)
    (folder / "params" / "smoke.yaml").write_text(FROM_INGEST_TO_CHAMPION)
    apart = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run(
        [*apart, sys.executable, "-m", "tests.containers.as_processes", str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=390,
    )
    logs = "".join(f"== {log.name}\n{log.read_text()[-2000:]}" for log in folder.glob("*.log"))
    assert done.returncode == 0, f"{done.stderr}\n{logs}"
    found: dict[str, Any] = json.loads((folder / "seen.json").read_text())
    found["logs"] = {log.stem: log.read_text() for log in folder.glob("*.log")}
    return found


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_services_answer_whom_they_should(seen: dict[str, Any]) -> None:
    assert seen["a client asks MLflow"] == 200
    assert seen["a browser asks MLflow"] == 200
    assert seen["another name for MLflow"] == 403
    assert seen["Lab"] == 403
    assert seen["Lab with its token"] == 200
    assert seen["a prediction"] == 401
    assert seen["a prediction with its token"] == 200
    assert "smoke version 1 at http://127.0.0.1:5001/invocations" in seen["logs"]["serve"]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_container_that_has_nothing_takes_all_results_from_the_bucket(
    seen: dict[str, Any],
) -> None:
    assert any(key.startswith("mlflow/") for key in seen["keys"])
    assert any(key.startswith("results/") for key in seen["keys"])
    run = seen["second run"]
    assert {step["status"] for step in run["steps"]} == {"cached"}
    assert run["commit"] == COMMIT
    assert run["dirty"] is None
