"""Telling people how a run ended, by Apprise: mail, chats, webhooks and many others.

The run does not hang on it: a message that cannot be sent is one line more on the terminal.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from taxi_nb.pipeline._recipients import OFF, VARIABLE, Recipient, own_recipients
from taxi_nb.pipeline.record import RunRecord, Status, StepResult
from taxi_nb.pipeline.spec import Pipeline
from taxi_nb.secrets.known import KNOWN
from taxi_nb.secrets.literals import without_tokens
from taxi_nb.secrets.references import SecretError

# The metric by which a step says that a model should be trained again.
RETRAIN_METRIC = "retrain"
TRIES = 3
# Between tries, and in all for each recipient: nobody waits longer for a run to end.
_SECONDS_BETWEEN = (1.0, 3.0)
_SECONDS = 45.0
_MOST_LINES, _LONGEST_LINE = 12, 600


class NotifyError(ValueError):
    """Nobody could be told: the message says what is missing, and quotes no address."""


@dataclass(frozen=True)
class Message:
    """What happened, and the events that make it worth telling."""

    title: str
    lines: Sequence[str]
    events: Sequence[str]

    @property
    def body(self) -> str:
        """The text, without secrets and not too long."""
        shown = [*self.lines[: _MOST_LINES - 1], self.lines[-1]]
        cut = (f"{line[:_LONGEST_LINE]}…" if len(line) > _LONGEST_LINE else line for line in shown)
        return without_tokens(KNOWN.hide_in("\n".join(dict.fromkeys(cut))))


def message_of_run(record: RunRecord, folder: Path) -> Message | None:
    """Return what is to be told of a run that has ended; None if that is nothing."""
    events = list(_events(record))
    if not events:
        return None
    lines = [f"{step.name} {step.status}: {step.error}" for step in _failed(record)]
    lines += [f"check: {one}" for one in record.checks if one.verdict != "pass"]
    if {"refused", "promoted"} & set(events):
        use = f". The model to use is {record.champion}" if record.champion else ""
        lines.append(f"{record.decision}{use}")
    if "retrain" in events:
        lines.append("retrain: a limit was passed, the page says which")
    said = ", ".join(event.replace("_", " ") for event in events)
    lines.append(f"page: {folder / 'index.html'}")
    return Message(f"{record.pipeline}: {said}", lines, events)


def _events(record: RunRecord) -> Iterator[str]:
    # What was decided in an earlier run was told then.
    ran = {step.name: step for step in record.steps if step.status is Status.OK}
    if not record.status.is_good:
        yield "failed"
    if any(one.verdict == "fail" for one in record.checks):
        yield "check_failed"
    if record.decided and record.decided.step in ran and record.promotes:
        yield "promoted" if record.decided.promoted else "refused"
    if any(step.metrics.get(RETRAIN_METRIC, 0) > 0 for step in ran.values()):
        yield "retrain"


def _failed(record: RunRecord) -> list[StepResult]:
    return [step for step in record.steps if step.error and step.status is not Status.SKIPPED]


class Notifier:
    """Those who are to be told; raises NotifyError if that cannot be, before anything runs."""

    def __init__(self, recipients: Sequence[Recipient]) -> None:
        self.events: dict[str, set[str]] = {}
        for recipient in recipients:
            self.events.setdefault(recipient.variable, set()).update(recipient.events)
        if self.events:
            _require_apprise()
        self.senders: Mapping[str, Callable[[Message], bool]] = {
            variable: _sender(variable) for variable in self.events
        }

    @classmethod
    def of(cls, pipeline: Pipeline) -> Notifier:
        """Return that of a pipeline file and of the user's environment."""
        own = os.environ.get(VARIABLE, "")
        if own.strip() == OFF:
            return cls(())
        return cls((*pipeline.recipients, *own_recipients(own)))

    def tell(self, message: Message | None, say: Callable[[str], None]) -> None:
        """Send a message to all whom it concerns, side by side; say who could not be reached."""
        if message is None:
            return
        concerned = [name for name, on in self.events.items() if on & set(message.events)]
        reached: set[str] = set()
        threads = [
            threading.Thread(target=self._send, args=(name, message, reached), daemon=True)
            for name in concerned
        ]
        for thread in threads:
            thread.start()
        end = time.monotonic() + _SECONDS
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        for name in concerned:
            if name not in reached:
                say(f"notify: the message could not be sent to the address in {name}")

    def _send(self, name: str, message: Message, reached: set[str]) -> None:
        for wait in (*_SECONDS_BETWEEN[: TRIES - 1], None):
            if self.senders[name](message):
                reached.add(name)
                return
            if wait is not None:
                time.sleep(wait)


def _require_apprise() -> None:
    try:
        import apprise  # noqa: F401
    except ImportError:
        raise NotifyError("`notify` needs Apprise: pip install 'taxi-nb[notify]'") from None
    # Its messages quote addresses.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)


def _sender(variable: str) -> Callable[[Message], bool]:
    """Return what sends to the addresses in a variable, with spaces between if they are several."""
    import apprise

    if not os.environ.get(variable):
        raise NotifyError(
            f"the environment variable {variable} is not set, and `notify` says env:{variable}"
        )
    try:
        addresses = KNOWN.remember(variable).split()
    except SecretError as error:
        raise NotifyError(str(error)) from None
    service = apprise.Apprise()
    for address in addresses:
        if variable == VARIABLE and address.startswith("env:"):
            continue
        if not service.add(address):
            raise NotifyError(
                f"{variable} holds no address that Apprise knows, such as "
                "mailtos://user:password@example.com or slack://tokens"
            )

    def send(message: Message) -> bool:
        try:
            title = without_tokens(KNOWN.hide_in(message.title))
            return bool(service.notify(body=message.body, title=title, body_format="text"))
        except Exception:  # Whatever a service's plug-in raises.
            return False

    return send
