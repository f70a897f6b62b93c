"""Signals end steps; what opens and closes the books is not cut short."""

from __future__ import annotations

import pytest

from taxi_nb.pipeline.interrupted import Interrupted, SignalGate


def test_a_signal_ends_what_runs_and_a_second_one_waits() -> None:
    gate = SignalGate()
    with pytest.raises(Interrupted) as ended:
        gate.arrive(15)
    assert ended.value.signal_number == 15
    assert not gate.arrive(2)


def test_a_signal_that_came_before_the_steps_ends_them_at_once() -> None:
    gate, done = SignalGate(), list[str]()

    def run() -> None:
        with gate.closed():
            assert not gate.arrive(15)
            done.append("opened the books")
            try:
                with gate.opened():
                    done.append("a step")
            finally:
                done.append("closed the books")

    with pytest.raises(Interrupted):
        run()
    assert done == ["opened the books", "closed the books"]


def test_a_signal_while_the_books_are_closed_changes_nothing() -> None:
    gate, done = SignalGate(), list[str]()
    with gate.closed():
        with gate.opened():
            done.append("a step")
        assert not gate.arrive(15)
        done.append("closed the books")
    assert done == ["a step", "closed the books"]
    with pytest.raises(Interrupted):  # The next one counts again.
        gate.arrive(15)
