"""Where months come from: folders, URLs, S3; and what is said when they are not there."""

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from taxi_nb.trips.errors import MissingMonthError, TripsError
from taxi_nb.trips.loading import load_trips
from taxi_nb.trips.origin import provenance
from tests.conftest import Bucket, sample_file


@pytest.fixture(scope="module")
def month(tmp_path_factory) -> Path:
    """Return a month's file to put wherever a test needs one."""
    return sample_file(tmp_path_factory.mktemp("made"), rows=2000)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TAXI_NB_ROOT", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TAXI_NB_DATA_DIR", raising=False)
    return tmp_path


@pytest.fixture
def folder(root, month) -> Path:
    folder = root / "months"
    folder.mkdir()
    shutil.copy(month, folder / "green_tripdata_2021-01.parquet")
    return folder


def _source(source: object) -> str:
    return provenance(load_trips("green", ["2021-01"], source)).source  # type: ignore[arg-type]


def test_a_folder_by_absolute_path(folder):
    assert _source(str(folder)) == str(folder)


def test_a_folder_as_a_path_object(folder):
    assert _source(folder) == str(folder)


def test_a_relative_folder_starts_from_the_root(folder, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert _source("months") == str(folder)


def test_a_folder_in_the_home(folder):
    assert _source("~/months") == str(folder)


def test_a_folder_by_url(folder, root):
    folder.rename(root / "my months, 100%20 #1?")
    assert _source((root / "my months, 100%20 #1?").as_uri()) == str(root / "my months, 100%20 #1?")


def test_without_a_source_the_folder_in_the_environment(folder, monkeypatch):
    monkeypatch.setenv("TAXI_NB_DATA_DIR", str(folder))
    assert _source(None) == str(folder)


def test_without_a_source_and_a_folder_the_sample():
    trips = load_trips("green", ["2021-01"], sample_rows=300)
    assert provenance(trips).source == "sample"


def test_the_sample_stays_the_sample_whatever_the_environment_says(folder, monkeypatch):
    monkeypatch.setenv("TAXI_NB_DATA_DIR", str(folder))
    assert _source("sample") == "sample"


def test_a_folder_in_the_environment_that_is_not_there(monkeypatch):
    monkeypatch.setenv("TAXI_NB_DATA_DIR", "/no/such/months")
    with pytest.raises(TripsError, match=r"variable TAXI_NB_DATA_DIR: .*got: '/no/such/months'"):
        load_trips("green", ["2021-01"])


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("smaple", "there is no folder .*smaple"),
        ("/no/such/months", "there is no folder /no/such/months"),
        ("file:///no/such/months", "there is no folder /no/such/months"),
        ("gopher://months", "no such protocol"),
        ("://months", "no such protocol"),
        ("s3://[months", "Invalid IPv6 URL"),
        ("~nobody-of-that-name/months", "home directory"),
        ("months/green_tripdata_2021-01.parquet", "a file, not a folder"),
        ("", ""),
        (7, ""),
    ],
)
def test_an_unknown_source(folder, source, why):
    with pytest.raises(TripsError, match=f"`source` must be .*'sample', 'tlc', .*got: .*{why}"):
        load_trips("green", ["2021-01"], source)


def test_a_missing_month_names_those_that_are_there(folder, month):
    shutil.copy(month, folder / "green_tripdata_2021-02.parquet")
    shutil.copy(month, folder / "yellow_tripdata_2021-05.parquet")
    with pytest.raises(MissingMonthError) as error:
        load_trips("green", ["2021-03"], str(folder))
    assert str(error.value) == (
        f"{folder} has no green_tripdata_2021-03.parquet; months of green there: 2021-01, 2021-02"
    )


def test_a_folder_without_any_month_of_the_taxi(folder):
    with pytest.raises(MissingMonthError, match="no month of yellow there"):
        load_trips("yellow", ["2021-01"], str(folder))


@pytest.mark.parametrize(
    ("months", "got"),
    [
        (["2021-1"], "'2021-1'"),
        (["2021-13"], "'2021-13'"),
        (["21-01"], "'21-01'"),
        (["2021-01-01"], "'2021-01-01'"),
        (["2021-01 "], "'2021-01 '"),
        (["2021-01\n"], r"'2021-01\\n'"),
        ([dt.date(2021, 1, 1)], r"datetime.date\(2021, 1, 1\)"),
        ([202101], "202101"),
        (["2021-01", "2021-02", "2021-01"], r"'2021-01' \(given twice\)"),
        ("2021-01", r"'2021-01' \(a string; put it in a list\)"),
        ([], r"\[\]"),
        (None, "None"),
        ({"2021-01"}, r"\{'2021-01'\}"),
    ],
)
def test_months_that_are_none(months, got):
    with pytest.raises(TripsError, match=rf"`months` must be a list of months .*, got: {got}$"):
        load_trips("green", months, "sample")


@pytest.mark.parametrize("taxi", ["purple", "Green", None, ["green"]])
def test_taxis_that_are_none(taxi):
    with pytest.raises(TripsError, match="`taxi` must be 'green' or 'yellow', got: "):
        load_trips(taxi, ["2021-01"], "sample")


@pytest.fixture
def memory(month) -> Iterator[str]:
    files = fsspec.filesystem("memory")
    files.pipe("/trips/green_tripdata_2021-01.parquet", month.read_bytes())
    yield "memory://trips"
    files.rm("/trips", recursive=True)


def test_any_place_that_fsspec_can_read(memory):
    origin = provenance(load_trips("green", ["2021-01"], memory))
    assert origin.source == "memory://trips"
    assert origin.files[0].path == "memory://trips/green_tripdata_2021-01.parquet"


def test_a_url_in_the_environment(memory, monkeypatch):
    monkeypatch.setenv("TAXI_NB_DATA_DIR", memory + "/")
    assert _source(None) == "memory://trips/"


def test_a_missing_month_of_a_url(memory):
    with pytest.raises(MissingMonthError) as error:
        load_trips("green", ["2021-02"], memory)
    assert str(error.value) == (
        "memory://trips has no green_tripdata_2021-02.parquet; months of green there: 2021-01"
    )


def test_a_folder_that_is_missing_at_a_url():
    with pytest.raises(MissingMonthError, match=r"memory://nowhere has no .*; no month of green"):
        load_trips("green", ["2021-02"], "memory://nowhere")


@pytest.mark.parametrize(
    "source",
    [
        "ftp://me:hunter2@127.0.0.1:1/months",
        "ftp://me:hunter2%2Fx@127.0.0.1:1/months",
        "http://me:hunter2@127.0.0.1:1/months?sig=hunter2",
        "gopher://me:hunter2@127.0.0.1/months",
        "gopher://me:hunter2/x@127.0.0.1/months",
        "http://me:hunter2@127.0.0.1[/months",
    ],
)
def test_credentials_stay_out_of_error_messages(source):
    with pytest.raises(TripsError) as error:
        load_trips("green", ["2021-01"], source)
    assert "127.0.0.1" in str(error.value)
    assert "hunter2" not in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__


class _Failing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(500)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def failing_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Failing)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_token_stays_out_of_what_the_server_is_blamed_for(failing_server):
    with pytest.raises(TripsError, match="500, message='Internal Server Error'") as error:
        load_trips("green", ["2021-01"], f"http://{failing_server}/months?token=hunter2")
    assert "hunter2" not in str(error.value)


@pytest.fixture
def put(month, bucket: Bucket) -> Callable[[str], None]:
    """Return what puts a month into trips/nyc of the bucket."""

    def put(name: str) -> None:
        key = f"nyc/green_tripdata_{name}.parquet"
        bucket.client.put_object(Bucket="trips", Key=key, Body=month.read_bytes())

    return put


def test_months_in_s3(put, month):
    put("2021-01")
    origin = provenance(load_trips("green", ["2021-01"], "s3://trips/nyc"))
    assert origin.source == "s3://trips/nyc"
    assert origin.files[0].size == month.stat().st_size
    with pytest.raises(MissingMonthError, match=r"s3://trips/nyc has no .*: 2021-01$"):
        load_trips("green", ["2021-02"], "s3://trips/nyc")
    put("2021-03")
    with pytest.raises(MissingMonthError, match=r"there: 2021-01, 2021-03$"):
        load_trips("green", ["2021-02"], "s3://trips/nyc")
    with pytest.raises(MissingMonthError, match=r"s3://no-bucket has no .*no month of green there"):
        load_trips("green", ["2021-02"], "s3://no-bucket")

    # A secret with a slash in it is what AWS hands out.
    with_credentials = load_trips("green", ["2021-01"], "s3://AKIA42:se/cr3t@trips/nyc/")
    remembered = json.dumps(with_credentials.attrs)
    assert "s3://trips/nyc/green_tripdata_2021-01.parquet" in remembered
    assert "AKIA42" not in remembered
    assert "cr3t" not in remembered
    assert provenance(with_credentials).digest == origin.digest


def test_s3_without_s3fs_names_the_extra(root):
    # In a process of its own: fsspec remembers what it has imported.
    code = """
import sys
sys.modules["s3fs"] = None
from taxi_nb import load_trips
try:
    load_trips("green", ["2021-01"], "s3://key:secret@bucket/trips")
except ValueError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True
    )
    assert result.stdout == (
        "s3://bucket/trips cannot be read here; "
        'reading from s3:// needs s3fs: pip install "taxi-nb[s3]"\n'
    )


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, taxi_nb.trips; print({'numpy', 'pandas', 'pyarrow'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "set()\n"
