"""People are told how a run ended: by mail and by a webhook, without secrets, and never in vain."""

from __future__ import annotations

import threading
from email import message_from_string
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from taxi_nb.pipeline import notify
from taxi_nb.pipeline.notify import Message, Notifier, NotifyError, message_of_run
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.record import Status, StepError, StepResult
from taxi_nb.pipeline.spec import PipelineFileError
from taxi_nb.tracking.judgements import Judgement
from taxi_nb.tracking.outcomes import Decided
from tests.conftest import Project
from tests.running import CommandLine, run_record

pytest.importorskip("apprise", reason="needs the extra notify")


def told(record: Any) -> Message | None:
    return message_of_run(record, Path("/project/runs/one"))


def notifier(project: Project, written: str) -> Notifier:
    project.notebook("01_a", "1")
    file = project.pipeline(f"notify: {written}\nsteps: [{{notebook: 01_a}}]")
    return Notifier.of(read_pipeline(file, project.root))


FAILED = run_record(
    pipeline="green",
    status=Status.FAILED,
    steps=(
        StepResult(
            "01_load",
            "notebooks/01_load.ipynb",
            status=Status.FAILED,
            error=StepError(3, "CheckError", "too much"),
            checks=(Judgement("left_out", "2021-01", "fail", "7.3 % of 9", "at most 5 %", 0.073),),
        ),
    ),
)


def test_a_run_is_told_of_by_mail_and_webhook_with_its_numbers_and_page(
    project: Project, webhook: Any, mail: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    notifier(project, "[env:OPS_MAIL, env:OPS_HOOK]").tell(told(FAILED), said.append)
    assert said == []
    (hook,) = webhook.got
    assert hook["title"] == "green: failed, check failed"
    assert hook["message"].splitlines() == [
        "01_load failed: cell 3: CheckError: too much",
        "check: left_out 7.3 % of 9, at most 5 %: FAIL",
        "page: /project/runs/one/index.html",
    ]
    (text,) = mail.got
    letter = message_from_string(text, policy=default)
    assert letter["subject"] == "green: failed, check failed"
    assert "ops@example.com" in letter["to"]
    body = letter.get_body(("plain", "html"))
    assert body is not None
    assert "left_out 7.3 % of 9, at most 5 %: FAIL" in body.get_content()


def test_only_events_that_somebody_asked_for_are_told(project: Project, webhook: Any) -> None:
    chosen = notifier(project, "[{to: env:OPS_HOOK, on: [refused, promoted]}]")
    chosen.tell(told(FAILED), print)
    assert webhook.got == []
    decided = {"decision": "fares version 2 not promoted: RMSE 7.1", "champion": "fares, version 1"}
    register = StepResult("06_register", "n", status=Status.OK)
    refused = run_record(steps=(register,), decided=Decided("06_register", False), **decided)
    chosen.tell(told(refused), print)
    assert webhook.got[0]["title"] == "test: refused"
    assert (
        "fares version 2 not promoted: RMSE 7.1. The model to use is fares, version 1"
        in (webhook.got[0]["message"])
    )


def test_what_an_earlier_run_decided_is_not_told_again() -> None:
    register = StepResult("06_register", "n", status=Status.CACHED, metrics={"retrain": 1.0})
    assert told(run_record(steps=(register,), decided=Decided("06_register", True))) is None
    judged = StepResult("07", "n", status=Status.OK, metrics={"retrain": 1.0})
    (message,) = filter(None, [told(run_record(steps=(judged,)))])
    assert message.events == ["retrain"]


def test_a_what_if_is_no_news() -> None:
    register = StepResult("06_register", "n", status=Status.OK)
    decided = {"decision": "fares version 2 would be promoted: x", "promotes": False}
    made = run_record(steps=(register,), decided=Decided("06_register", False), **decided)
    assert told(made) is None


def test_a_message_is_tried_again_and_its_loss_is_only_said(
    project: Project, webhook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    chosen = notifier(project, "[env:OPS_HOOK]")
    webhook.refuses = 2
    chosen.tell(told(FAILED), said.append)
    assert (len(webhook.got), said) == (1, [])
    webhook.refuses = 3
    chosen.tell(told(FAILED), said.append)
    assert len(webhook.got) == 1
    assert said == ["notify: the message could not be sent to the address in OPS_HOOK"]


def test_who_does_not_answer_is_not_waited_for(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()
    monkeypatch.setattr(notify, "_SECONDS", 0.1)
    monkeypatch.setenv("OPS_HOOK", "json://127.0.0.1:9")
    chosen = notifier(project, "[env:OPS_HOOK]")
    chosen.senders = {"OPS_HOOK": lambda _: never.wait()}
    said: list[str] = []
    chosen.tell(told(FAILED), said.append)
    never.set()
    assert len(said) == 1


def test_secrets_are_hidden(
    project: Project, webhook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOOR_CODE", "friend and enter")
    from taxi_nb.secrets.known import KNOWN

    KNOWN.remember("DOOR_CODE")
    lines = ["spoke friend and enter", "by ghp_0123456789abcdefghijklmnopqrstuvwxyzAB"]
    message = Message("friend and enter", lines, ["failed"])
    notifier(project, "[env:OPS_HOOK]").tell(message, print)
    assert webhook.got[0]["title"] == "[env:DOOR_CODE]"
    assert webhook.got[0]["message"] == "spoke [env:DOOR_CODE]\nby ***"


def test_the_users_own_variable_holds_addresses_or_names_them(
    project: Project, webhook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = webhook.server_port
    for value in (
        "env:OPS_HOOK",
        f"json://127.0.0.1:{port}",
        f"env:OPS_HOOK json://localhost:{port}",
    ):
        webhook.got.clear()
        monkeypatch.setenv("TAXI_NB_NOTIFY", value)
        notifier(project, "[]").tell(told(FAILED), print)
        assert len(webhook.got) == len(value.split())
    monkeypatch.setenv("TAXI_NB_NOTIFY", "off")
    assert not notifier(project, "[env:OPS_HOOK]").events


@pytest.mark.parametrize(
    ("written", "key", "says"),
    [
        ("env:OPS_MAIL", "notify", "must be a list, such as [env:OPS_MAIL]"),
        ("[slack://T0K3N/A/B]", "notify[0]", "must be env:NAME and not the address itself, which"),
        ("[{to: mailto://me:s3cret@x.com}]", "notify[0].to", "write env:NAME here"),
        ("[{to: [env:A, json://s3cret]}]", "notify[0].to[1]", "must be env:NAME"),
        ("[{on: [failed]}]", "notify[0].to", "is missing"),
        ("[{to: env:A, no: [failed]}]", "notify[0].no", "is not a known key"),
        ("[{to: env:A, on: [fialed]}]", "notify[0].on", "did you mean 'failed'?"),
        ("[{to: env:A, on: []}]", "notify[0].on", "names no event"),
        ("[5]", "notify[0]", "must be env:NAME"),
    ],
)
def test_a_mistake_is_named_without_the_address(
    project: Project, written: str, key: str, says: str
) -> None:
    with pytest.raises(PipelineFileError) as caught:
        notifier(project, written)
    assert f"params/test.yaml:1: {key}: " in str(caught.value)
    assert says in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "T0K3N" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "the environment variable OPS_X is not set, and `notify` says env:OPS_X"),
        ("mailto", "OPS_X holds no address that Apprise knows"),
        ("nosuchthing://s3cret", "OPS_X holds no address that Apprise knows"),
    ],
)
def test_an_address_that_is_none_is_told_before_anything_runs(
    project: Project, monkeypatch: pytest.MonkeyPatch, value: str | None, says: str
) -> None:
    if value:
        monkeypatch.setenv("OPS_X", value)
    with pytest.raises(NotifyError, match=says) as caught:
        notifier(project, "[env:OPS_X]")
    assert "s3cret" not in str(caught.value)


def test_without_apprise_one_error_names_the_extra(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    with pytest.raises(NotifyError, match=r"pip install 'taxi-nb\[notify\]'"):
        notifier(project, "[env:OPS_X]")
    assert not notifier(project, "[]").events


@pytest.mark.slow
def test_the_command_tells_of_a_run_that_fails_and_of_one_that_is_closed(
    project: Project, taxi_nb: CommandLine, store: str, webhook: Any
) -> None:
    project.notebook("01_a", "raise ValueError('no')")
    file = project.pipeline("notify: [env:OPS_HOOK]\nsteps: [{notebook: 01_a}]")
    assert taxi_nb("run", str(file))[0] == 1
    assert webhook.got[0]["title"] == "test: failed"
    assert "01_a failed: cell 2: ValueError: no" in webhook.got[0]["message"]
    assert str(project.root / "runs") in webhook.got[0]["message"]
    run = taxi_nb("open", str(file))[1].strip()
    for _ in range(2):  # The second only says it once more.
        assert taxi_nb("close", run)[0] == 1
    assert len(webhook.got) == 2
