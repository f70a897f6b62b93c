"""A secret is used in a notebook and found nowhere: files, runs, artifacts, messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mlflow
import nbformat
import pytest
from nbclient import NotebookClient

from taxi_nb import secret
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.record import Status
from taxi_nb.pipeline.spec import PipelineFileError
from taxi_nb.secrets.known import KNOWN
from taxi_nb.secrets.references import SecretError
from tests.conftest import Project, runs_of, texts
from tests.running import Run
from tests.tracking.stores.servers import running, tracking_server

# With all that code, JSON, addresses and pages write in another way.
VALUE = 'hunter2 "&<ö/\\end'
READ = "from taxi_nb import secret, tracked_run\nvalue = secret(api_token)"
SHOW = (
    "import sys, json, os, urllib.parse, html\n"
    "print(value, repr(value), json.dumps(value), urllib.parse.quote(value), html.escape(value))\n"
    "print('to stderr', value, file=sys.stderr)\n"
    "os.write(1, value.encode())\n"
    "display({'text/html': f'<b>{value}</b>', 'text/plain': value}, raw=True)\n"
    "import pandas\ndisplay(pandas.DataFrame({'t': [value]}))\n"
    "{'a': [value]}"
)
LOG = (
    "import mlflow\n"
    "with tracked_run(params={'note': f'used {value}'}, tags={'tag': value}) as run:\n"
    "    mlflow.log_param('direct', value)\n"
    "    mlflow.set_tag('direct', value)\n"
    "    mlflow.log_text(value, 'note.txt')\n"
    "    mlflow.log_dict({'a': [value]}, 'note.json')\n"
    "assert len(value) == 17  # It is the value itself."
)


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("API_TOKEN", VALUE)
    monkeypatch.setattr(KNOWN, "_spellings", {})
    return VALUE


def everything_below(folder: Path) -> str:
    """Return all that files say, the store's tables and what it has deleted among them."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return "\n".join(path.read_bytes().decode("utf-8", "replace") for path in files)


def test_the_value_of_a_secret_is_in_no_file_of_a_run(
    project: Project, store: str, run: Run, token: str
) -> None:
    project.notebook("01_uses", READ, SHOW, LOG, parameters='api_token: str = ""')
    project.notebook(
        "02_fails",
        READ,
        "raise RuntimeError(f'no entry with {value}')",
        parameters="api_token = ''",
    )
    record, folder = run(
        "params: {api_token: env:API_TOKEN}\nsteps: [{notebook: 01_uses}, {notebook: 02_fails}]"
    )
    used, failed = record.steps
    assert used.status is Status.OK, used.error
    assert str(failed.error) == "cell 4: RuntimeError: no entry with [env:API_TOKEN]"
    left = everything_below(project.root)
    for spelling in (VALUE, repr(VALUE)[1:-1], "hunter2%20%22", "hunter2", "&amp;&lt;ö/"):
        assert spelling not in left, spelling
    assert used.executed_notebook is not None
    shown = texts(folder / used.executed_notebook)
    assert shown.count("[env:API_TOKEN]") >= 8
    assert used.parameters == {"api_token": "env:API_TOKEN"}
    data = mlflow.get_run(str(used.mlflow_run_id)).data
    assert data.params["note"] == "used [env:API_TOKEN]"
    assert data.params["direct"] == data.tags["direct"] == data.tags["tag"] == "[env:API_TOKEN]"


@pytest.mark.slow
def test_a_kernel_that_no_pipeline_started_hides_secrets_too(project: Project, token: str) -> None:
    path = project.notebook("01_lab", READ, SHOW, "raise RuntimeError(value)", parameters=None)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("api_token: str = 'env:API_TOKEN'"))
    # As JupyterLab does it: outputs are kept as the kernel sent them.
    NotebookClient(notebook, allow_errors=True).execute()
    shown = nbformat.writes(notebook)
    assert "hunter2" not in shown
    assert shown.count("[env:API_TOKEN]") >= 8
    assert notebook.cells[-1].outputs[0].evalue == "[env:API_TOKEN]"


def test_a_file_with_a_secret_in_it_is_not_logged(
    project: Project, store: str, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taxi_nb import tracked_run

    file = project.root / "answer.csv"
    with tracked_run("leak"):
        file.write_text(f"a,{secret('env:API_TOKEN')}\n")
        with pytest.raises(SecretError, match=r"answer.csv holds what env:API_TOKEN stands for"):
            mlflow.log_artifact(str(file))
    (run,) = runs_of(store)
    assert not mlflow.MlflowClient().list_artifacts(run.info.run_id, "answer.csv")


def mistakes(project: Project, text: str, *overrides: str) -> str:
    with pytest.raises(PipelineFileError) as caught:
        read_pipeline(project.pipeline(text), project.root, overrides)
    assert "hunter2" not in str(caught.value)
    return str(caught.value)


def test_a_variable_that_is_not_set_is_told_before_anything_runs(project: Project) -> None:
    project.notebook("01_a", parameters='api_token: str = "env:NOT_SET_ANYWHERE"')
    told = "the environment variable NOT_SET_ANYWHERE is not set"
    steps = "steps: [{notebook: 01_a}]"
    assert told in mistakes(project, steps)
    assert told in mistakes(project, f"params: {{api_token: env:NOT_SET_ANYWHERE}}\n{steps}")
    assert told in mistakes(project, steps, "api_token=env:NOT_SET_ANYWHERE")
    with pytest.raises(SecretError, match=told):
        secret("env:NOT_SET_ANYWHERE")


def test_a_secret_that_is_written_out_is_refused_wherever_it_is(
    project: Project, store: str
) -> None:
    project.notebook("01_a", parameters='api_token: str = ""\nrules: dict = {}\nurl: str = ""')
    steps = "steps: [{notebook: 01_a}]"
    by_name = "must not be written out, by its name it is a secret"
    assert by_name in mistakes(project, f"params: {{api_token: hunter2}}\n{steps}")
    assert by_name in mistakes(project, "steps: [{notebook: 01_a, params: {api_token: hunter2}}]")
    assert by_name in mistakes(project, "steps: [{notebook: 01_a, matrix: {api_token: [hunter2]}}]")
    assert by_name in mistakes(project, f"params: {{rules: {{dbPassword: hunter2}}}}\n{steps}")
    assert by_name in mistakes(project, steps, "api_token=hunter2")
    assert "declares 'api_tokn'" in mistakes(project, steps, "api_tokn=hunter2")
    in_it = "must not have a password or a signature in it"
    for url in ("https://me:hunter2@host/trips", "s3://b/t?X-Amz-Signature=hunter2"):
        assert in_it in mistakes(project, f"params: {{url: '{url}'}}\n{steps}")
    project.notebook("01_a", parameters='api_token: str = "hunter2"')
    assert by_name in mistakes(project, "steps: [{notebook: 01_a, params: {api_token: env:HOME}}]")
    from taxi_nb import tracked_run

    refused = pytest.raises(SecretError, match="'password' must not be written out")
    with refused as caught, tracked_run(params={"password": "hunter2"}):
        pass
    assert "hunter2" not in str(caught.value)
    assert runs_of(store) == []


def test_what_only_sounds_like_a_secret_is_let_through(project: Project) -> None:
    harmless = (
        'keys_of: str = "a"\nmonkey: str = "b"\nn_tokens: int = 3\nsort_key: str = "zone"\n'
        'token_file: str = "t.txt"\nmax_token: int = 9\npassword: str = ""\nuser: str = "me"\n'
        'url: str = "https://host/trips?page=2"'
    )
    project.notebook("01_a", parameters=harmless)
    assert read_pipeline(project.pipeline("steps: [{notebook: 01_a}]"), project.root)


def test_a_secret_too_short_to_hide_and_a_text_that_is_none_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHORT", "abc")
    with pytest.raises(SecretError, match="SHORT must hold 4 characters or more"):
        secret("env:SHORT")
    with pytest.raises(SecretError, match="`parameter` must be env:NAME") as caught:
        secret("hunter2")
    assert "hunter2" not in str(caught.value)
    assert KNOWN.hide_in("abc") == "abc"


@pytest.fixture
def server_address(tmp_path: Path) -> Iterator[str]:
    server = tracking_server(tmp_path, {})
    with running(server):
        yield f"http://127.0.0.1:{server.port}"


def write_everywhere(value: str, signed: str) -> None:
    """Write a secret and a signed address to wherever a store keeps texts."""
    import mlflow.data.pandas_dataset
    import pandas
    from matplotlib.figure import Figure
    from PIL import Image, PngImagePlugin

    from taxi_nb import tracked_run

    client = mlflow.MlflowClient()
    with tracked_run(f"run {value}") as run:
        mlflow.log_metric(f"metric {value}", 1)
        mlflow.log_metrics({f"metrics {value}": 2})
        mlflow.log_param(f"param {value}", signed)
        mlflow.log_param("signed", signed)
        mlflow.log_param("db_password", "hunter2")
        mlflow.set_tag("list", f"[{value}]")
        mlflow.set_experiment_tag("experiment", value)
        frame = pandas.DataFrame({"a": [1]})
        data = mlflow.data.pandas_dataset.from_pandas(frame, source=signed, name=f"data {value}")
        mlflow.log_input(data)
        figure = Figure()
        mlflow.log_figure(figure, "figure.png", save_kwargs={"metadata": {"Title": value}})
        packed = PngImagePlugin.PngInfo()
        packed.add_text("Title", value, zip=True)
        for number, texts_of in enumerate((packed, None)):
            with client._log_artifact_helper(run.info.run_id, f"packed{number}.png") as path:
                Image.new("RGB", (2, 2)).save(path, pnginfo=texts_of)
        mlflow.log_table({"a": [value]}, "table.json")
    client.create_registered_model("model", tags={"tag": value}, description=f"It is {value}")
    client.set_registered_model_tag("model", "note", value)
    client.update_registered_model("model", f"Still {value}, {signed}")
    client.create_experiment(f"experiment {value}", tags={"tag": value})
    logged = mlflow.initialize_logged_model("logged", tags={"tag": value}, params={"p": value})
    client.set_logged_model_tags(logged.model_id, {"later": value})


@pytest.mark.parametrize("over_http", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_no_call_of_mlflows_writes_a_secret_or_a_signature_to_a_store(
    over_http: bool,
    project: Project,
    store: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setattr(KNOWN, "_spellings", {})
    monkeypatch.setenv("API_TOKEN", "opensesame-ö")
    address = request.getfixturevalue("server_address") if over_http else store
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    mlflow.set_tracking_uri(address)
    signed = "https://host/trips.parquet?X-Amz-Signature=hunter2&page=1"
    write_everywhere(secret("env:API_TOKEN"), signed)
    left = everything_below(tmp_path)
    assert "hunter2" not in left
    assert "opensesame" not in left
    (run,) = runs_of(address)
    assert run.data.metrics["metric env_API_TOKEN"] == 1
    assert run.data.params["signed"] == "https://host/trips.parquet"
    assert run.inputs.dataset_inputs[0].dataset.name == "data env_API_TOKEN"
    model = mlflow.MlflowClient().get_registered_model("model")
    assert model.description == "Still [env:API_TOKEN], https://host/trips.parquet"
    names = {item.path for item in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    assert {"figure.png", "packed0.png", "packed1.png", "table.json"} <= names


def test_a_displayed_picture_loses_the_texts_that_say_a_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import base64
    import io

    from PIL import Image, PngImagePlugin

    monkeypatch.setattr(KNOWN, "_spellings", {})
    monkeypatch.setenv("API_TOKEN", "opensesame-ö")
    KNOWN.remember("API_TOKEN")
    written, info = io.BytesIO(), PngImagePlugin.PngInfo()
    info.add_text("Title", "opensesame-ö", zip=True)
    info.add_text("Author", "opensesame-ö")
    info.add_itxt("Comment", "opensesame-ö", zip=True)
    info.add_text("Software", "ours")
    Image.new("RGB", (2, 2), "red").save(written, "png", pnginfo=info)
    sent = {"data": {"image/png": base64.b64encode(written.getvalue()).decode()}}
    shown = Image.open(io.BytesIO(base64.b64decode(KNOWN.hide_in(sent)["data"]["image/png"])))
    assert shown.info == {"Software": "ours"}
    assert shown.getpixel((0, 0)) == (255, 0, 0)
