"""Downloading the TLC's months: from a server that does all that servers do."""

import hashlib
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from taxi_nb.trips.errors import BrokenFileError, DownloadError, MissingMonthError
from taxi_nb.trips.loading import load_trips
from taxi_nb.trips.origin import provenance
from tests.conftest import sample_file
from tests.warm import Forked, WarmPython

NAME = "green_tripdata_2021-01.parquet"


@pytest.fixture(scope="module")
def month(tmp_path_factory) -> Path:
    """Return a month's file for the server to send."""
    return sample_file(tmp_path_factory.mktemp("made"), rows=20_000)


class Server:
    """Answers the first requests as `script` says, and all later ones with the whole file."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.script: list[str | int] = []
        self.requests: list[str] = []
        self.both = threading.Barrier(2)
        self.closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append(self.path)
                server.answer(self, server.script.pop(0) if server.script else "whole")

            def log_message(self, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.address = f"http://127.0.0.1:{self.http.server_port}/trip-data"

    def answer(self, request: BaseHTTPRequestHandler, how: str | int) -> None:
        request.send_response(how if isinstance(how, int) else 200)
        body = b"<html>log in first</html>" if how == "captive portal" else self.content
        if how != "no length":
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if isinstance(how, int):
            return
        half = len(body) // 2
        request.wfile.write(body[:half])
        request.wfile.flush()
        if how == "both at once":
            self.both.wait(timeout=20)
        if how == "hanging":
            self.closing.wait(timeout=20)
        if how not in ("broken", "no length"):
            request.wfile.write(body[half:])


@pytest.fixture
def server(month, monkeypatch) -> Iterator[Server]:
    server = Server(month.read_bytes())
    monkeypatch.setenv("TAXI_NB_TLC_URL", server.address)
    yield server
    server.closing.set()
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TAXI_NB_ROOT", str(tmp_path))
    monkeypatch.delenv("TAXI_NB_DATA_DIR", raising=False)
    return tmp_path


@pytest.fixture
def kept(root) -> Path:
    """Return where the downloaded month is to be."""
    return root / "data/tlc" / NAME


def _load() -> pd.DataFrame:
    return load_trips("green", ["2021-01"], "tlc")


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_month_is_downloaded_once(server, month, kept):
    trips = _load()
    assert kept.read_bytes() == month.read_bytes()
    assert _files(kept.parent) == [NAME, f"{NAME}.json"]
    assert server.requests == [f"/trip-data/{NAME}"]
    pd.testing.assert_frame_equal(_load(), trips)
    assert len(server.requests) == 1
    origin = provenance(trips)
    assert (origin.source, origin.files[0].path) == ("tlc", str(kept))


def test_the_digest_is_recorded_beside(server, month, kept):
    _load()
    record = json.loads(kept.with_name(f"{NAME}.json").read_text())
    assert record.pop("date").endswith("+00:00")
    assert record == {
        "sha256": hashlib.sha256(month.read_bytes()).hexdigest(),
        "address": f"{server.address}/{NAME}",
        "size": month.stat().st_size,
    }


def test_no_progress_bar_without_a_terminal(server, capfd):
    _load()
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_progress_bar_on_a_terminal(server, monkeypatch):
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (25, 100))
    with open(theirs, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        _load()
        monkeypatch.undo()
    shown = os.read(ours, 100_000).decode()
    assert NAME in shown
    assert "100%" in shown


@pytest.mark.parametrize("trouble", ["broken", "no length", 503, 429])
def test_a_transfer_that_fails_is_started_again(server, month, kept, trouble):
    server.script = [trouble]
    _load()
    assert kept.read_bytes() == month.read_bytes()
    assert len(server.requests) == 2


def test_a_transfer_that_always_fails_leaves_nothing(server, kept):
    server.script = ["broken"] * 9
    with pytest.raises(DownloadError, match=r"green 2021-01 could not .*: the connection broke"):
        _load()
    assert len(server.requests) == 4
    assert _files(kept.parent) == []


def test_a_page_in_place_of_the_file(server, kept):
    server.script = ["captive portal"]
    with pytest.raises(DownloadError, match=r"what arrived is not a parquet file\. Without"):
        _load()
    assert len(server.requests) == 1
    assert _files(kept.parent) == []


@pytest.mark.parametrize("status", [403, 404])
def test_a_month_that_is_not_published(server, kept, status):
    server.script = [status]
    with pytest.raises(MissingMonthError, match="has not published green 2021-01 at http://127"):
        _load()
    assert len(server.requests) == 1
    assert _files(kept.parent) == []


def test_a_server_that_refuses(server):
    server.script = [400]
    with pytest.raises(DownloadError, match="the server says 400 Bad Request"):
        _load()
    assert len(server.requests) == 1


def test_no_network_says_what_else_can_be_done(monkeypatch, kept):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("TAXI_NB_TLC_URL", f"http://me:hunter2@127.0.0.1:{port}")
    with pytest.raises(DownloadError) as error:
        _load()
    assert str(error.value) == (
        f"green 2021-01 could not be downloaded from http://127.0.0.1:{port}/{NAME}: "
        "the server cannot be reached. Without a network, use source='sample' (synthetic "
        f"months), or put {NAME} into a folder and name it as the source or in TAXI_NB_DATA_DIR"
    )
    assert _files(kept.parent) == []


def test_the_users_folder_is_looked_at_first(server, month, root, monkeypatch, kept):
    folder = root / "mine"
    folder.mkdir()
    shutil.copy(month, folder / NAME)
    monkeypatch.setenv("TAXI_NB_DATA_DIR", str(folder))
    origin = provenance(_load())
    assert (origin.source, origin.files[0].path) == ("tlc", str(folder / NAME))
    assert server.requests == []


def test_a_month_that_is_not_in_the_users_folder_is_downloaded(server, root, monkeypatch, kept):
    (root / "mine").mkdir()
    monkeypatch.setenv("TAXI_NB_DATA_DIR", str(root / "mine"))
    _load()
    assert kept.exists()


def test_a_file_that_changed_after_its_download(server, month, kept):
    _load()
    kept.write_bytes(month.read_bytes()[:-1] + b"?")
    with pytest.raises(BrokenFileError, match=f"{NAME} is not what was downloaded: its sha256"):
        _load()


def test_a_record_that_cannot_be_read(server, kept):
    _load()
    kept.with_name(f"{NAME}.json").write_text("{")
    with pytest.raises(BrokenFileError, match=r"\.json should hold the digest"):
        _load()


def test_a_file_without_a_record_gets_one(server, month, kept):
    kept.parent.mkdir(parents=True)
    shutil.copy(month, kept)
    _load()
    assert server.requests == []
    kept.write_bytes(month.read_bytes()[:-1] + b"?")
    with pytest.raises(BrokenFileError, match="is not what was downloaded"):
        _load()


def test_a_deleted_file_is_downloaded_again(server, month, kept):
    _load()
    kept.unlink()
    kept.with_name(f"{NAME}.json").write_text('{"sha256": "of another file"}')
    _load()
    assert len(server.requests) == 2
    assert kept.read_bytes() == month.read_bytes()


def test_half_a_file_put_there_by_hand(server, month, kept):
    kept.parent.mkdir(parents=True)
    kept.write_bytes(month.read_bytes()[:5000])
    with pytest.raises(BrokenFileError, match=f"{NAME} is cut short"):
        _load()
    assert _files(kept.parent) == [NAME]


def test_data_that_cannot_be_written(server, root):
    (root / "data").write_text("a file where a folder should be")
    with pytest.raises(ValueError, match=f"{NAME} cannot be written: Not a directory"):
        _load()


def _start_loading(warm_python: WarmPython) -> Forked:
    code = "from taxi_nb import load_trips; load_trips('green', ['2021-01'], 'tlc')"
    return warm_python.start(["-c", code], Path.cwd(), os.environ)


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_two_processes_at_once(server, month, kept, warm_python):
    server.script = ["both at once"] * 2
    processes = [_start_loading(warm_python), _start_loading(warm_python)]
    assert [process.wait(30) for process in processes] == [0, 0]
    assert len(server.requests) == 2
    assert kept.read_bytes() == month.read_bytes()
    assert _files(kept.parent) == [NAME, f"{NAME}.json"]


def test_the_first_of_two_processes_wins(server, month, kept, root, warm_python):
    server.script = ["hanging"]
    slower = _start_loading(warm_python)
    _wait_for(lambda: any(name.endswith(".part") for name in _files(kept.parent)))
    # The month is published anew in the meantime.
    other = load_trips("green", ["2021-01"], "sample", sample_rows=500)
    server.content = Path(provenance(other).files[0].path).read_bytes()
    digest = provenance(_load()).digest
    server.closing.set()
    assert slower.wait(30) == 0
    assert kept.read_bytes() == server.content
    assert provenance(_load()).digest == digest


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_download_is_never_taken_for_done(server, month, kept, warm_python):
    server.script = ["hanging"]
    process = _start_loading(warm_python)
    _wait_for(lambda: any(name.endswith(".part") for name in _files(kept.parent)))
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.closing.set()  # Or the connection, and with it this test, would hang for 20 s more.
    [part] = _files(kept.parent)
    assert part != NAME
    # Long ago, so that nobody can be writing it still.
    os.utime(kept.parent / part, (0, 0))
    _load()
    assert kept.read_bytes() == month.read_bytes()
    assert _files(kept.parent) == [NAME, f"{NAME}.json"]
