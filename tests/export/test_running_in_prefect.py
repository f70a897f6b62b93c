"""Flows that `taxi-nb export prefect` writes, run by Prefect with a server of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from benchmarks.prefect_flow import PATIENCE, Server
from tests.conftest import Project, runs_of
from tests.running import CommandLine, wait_for

pytestmark = [pytest.mark.engines, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def server(engines: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(engines, tmp_path_factory.mktemp("prefect"))
    yield started
    started.stop()


@contextmanager
def started(server: Server, project: Project, *command: str) -> Iterator[Callable[[], str]]:
    """Start a program of Prefect's environment; give a way to read what it has said so far."""
    log = project.root.parent / f"{time.monotonic_ns()}.log"
    environment = {**server.environment, **os.environ}
    environment["PREFECT_HOME"] = server.environment["PREFECT_HOME"]
    with log.open("w") as opened:
        process = subprocess.Popen(
            [server.programs / command[0], *command[1:]],
            cwd=project.root,
            env=environment,
            stdout=opened,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def said() -> str:
        if process.poll() is not None:
            return log.read_text() + f"\nexit {process.returncode}"
        return log.read_text()

    try:
        yield said
    finally:
        # Asked to end, a worker of Prefect's may wait for ever: nobody needs what it would say.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ended(said: Callable[[], str]) -> str:
    wait_for(lambda: "\nexit " in said(), PATIENCE)
    return said()


def test_a_flow_ends_well_though_the_server_restarts(
    server: Server, three_steps: Project, store: str, taxi_nb: CommandLine
) -> None:
    assert taxi_nb("export", "prefect", "params/two.yaml", "-o", "flow.py")[0] == 0
    with started(server, three_steps, "python", "flow.py") as said:
        wait_for(lambda: "01_a  started" in said(), PATIENCE)
        server.stop()
        wait_for(lambda: "01_a  ok" in said(), PATIENCE)
        server.start()
        assert "exit 0" in ended(said), said()
    assert server.states()["flow"] == "Completed"
    (pipeline_run,) = runs_of(store, "tags.`prefect.flow_run` LIKE '%'")
    (flow_run,) = server("flow_runs")
    assert pipeline_run.data.tags["prefect.flow_run"] == flow_run["id"]
    assert flow_run["id"] in pipeline_run.data.tags["prefect.url"]
    assert pipeline_run.info.status == "FINISHED"
    notes = {note["key"]: note["data"] for note in server("artifacts")}
    assert set(notes) == {f"params-two-yaml-{name}" for name in ("01-a", "03-c", "run")}
    assert pipeline_run.info.run_id in notes["params-two-yaml-run"]


def test_a_step_that_fails_lets_the_flow_fail_and_the_others_finish(
    server: Server, three_steps: Project, store: str, taxi_nb: CommandLine
) -> None:
    file = three_steps.root / "params" / "test.yaml"
    file.write_text(file.read_text().replace("broken: 0", "broken: 2"))
    assert taxi_nb("export", "prefect", str(file), "-o", "flow.py", "-j", "2")[0] == 0
    with started(server, three_steps, "python", "flow.py") as said:
        assert "exit 1" in ended(said), said()
    assert "it is broken" in said()
    states = server.states()
    assert states["flow"] == "Failed"
    assert states["01_a"] == states["02_b[1]"] == "Completed"
    assert states["02_b[2]"] == states["close"] == "Failed"
    assert states["03_c"] == "NotReady"
    # One retry is the file's, and Prefect's alone.
    assert sorted((three_steps.root / "tries.txt").read_text().split()) == ["1", "2", "2"]
    (pipeline_run,) = runs_of(store, "tags.`prefect.flow_run` LIKE '%'")
    assert pipeline_run.info.status == "FAILED"


def test_two_workers_share_a_pool(
    server: Server, three_steps: Project, store: str, taxi_nb: CommandLine
) -> None:
    asked = ["--work-pool", "ours", "--cron", "0 6 2 * *"]
    assert taxi_nb("export", "prefect", "params/one.yaml", "-o", "flow.py", *asked)[0] == 0
    with ExitStack() as stack:

        def start(*command: str) -> Callable[[], str]:
            return stack.enter_context(started(server, three_steps, *command))

        made = start("prefect", "work-pool", "create", "ours", "--type", "process")
        assert "exit 0" in ended(made), made()
        deployed = start("python", "flow.py", "deploy")
        assert "exit 0" in ended(deployed), deployed()
        workers = [
            start("prefect", "worker", "start", "--pool", "ours", "--name", name, "--limit", "1")
            for name in ("one", "two")
        ]
        wait_for(lambda: all("started!" in worker() for worker in workers), PATIENCE)
        (deployment,) = server("deployments")
        assert deployment["schedules"][0]["schedule"]["cron"] == "0 6 2 * *"
        address = f"deployments/{deployment['id']}/create_flow_run"
        runs = [server.post(address, {"parameters": {"seed": seed}})["id"] for seed in (1, 2)]

        def states() -> set[str]:
            return {run["state_name"] for run in server("flow_runs") if run["id"] in runs}

        wait_for(lambda: states() == {"Completed"} or "Failed" in states(), PATIENCE)
        said = [worker() for worker in workers]
        assert states() == {"Completed"}, "\n".join(said)
        # Each took one, and neither took the other's.
        assert [one.count("submitted to infrastructure") for one in said] == [1, 1], "\n".join(said)
    opened = runs_of(store, "tags.`prefect.flow_run` LIKE '%'")
    assert {run.data.tags["prefect.flow_run"] for run in opened} == set(runs)


def test_months_are_judged_and_a_person_is_called(
    server: Server, three_steps: Project, taxi_nb: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    three_steps.notebook("04_d", "1", parameters="train_months: list[str] = []")
    three_steps.pipeline(
        "month: latest\nparams: {train_months: '{month-1}'}\nsteps: [{notebook: 04_d}]", "monthly"
    )
    asked = ["--monthly", "--cron", "0 6 * * *", "-o", "months.py"]
    assert taxi_nb("export", "prefect", "params/monthly.yaml", *asked)[0] == 0
    flow = three_steps.root / "months.py"
    flow.write_text(flow.read_text().replace("[60, 600]", "[0, 0]"))
    # It fails once, and then a model is refused; later it is called wrongly.
    program = three_steps.root / "program"
    program.write_text(
        '#!/bin/sh\necho "$*" >> calls\n'
        'case "$*" in *--month=2021*) exit 2 ;; esac\n'
        "[ $(wc -l < calls) -gt 1 ] || exit 1\n"
        "echo '2021-04: trained, and refused'; exit 3\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("TAXI_NB_COMMAND", str(program))
    with started(server, three_steps, "python", "months.py") as said:
        assert "exit 0" in ended(said), said()
    newest = max(server("flow_runs"), key=lambda run: run["created"])
    assert (newest["state_type"], newest["state_name"]) == ("COMPLETED", "NeedsAttention")
    assert newest["state"]["message"] == "2021-04: trained, and refused"
    calls = (three_steps.root / "calls").read_text().splitlines()
    assert calls == ["monthly params/monthly.yaml --month=latest --jobs=1"] * 2
    assert "params-monthly-yaml-monthly" in {note["key"] for note in server("artifacts")}
    with started(server, three_steps, "python", "months.py", "serve") as said:
        wait_for(lambda: bool(server("deployments")) and "being served" in said(), PATIENCE)
        deployment = next(one for one in server("deployments") if one["name"] == "monthly-months")
        assert deployment["schedules"][0]["schedule"]["cron"] == "0 6 * * *"
        properties = deployment["parameter_openapi_schema"]["properties"]
        assert (properties["month"]["type"], properties["month"]["default"]) == ("string", "latest")
        address = f"deployments/{deployment['id']}/create_flow_run"
        run = server.post(address, {"parameters": {"month": "2021-03"}})["id"]

        def state() -> str:
            return next(one["state_name"] for one in server("flow_runs") if one["id"] == run)

        wait_for(lambda: state() == "Failed", PATIENCE)
    # Wrong usage is not tried again.
    assert len((three_steps.root / "calls").read_text().splitlines()) == 3
