"""Being told to stop: noted at once, obeyed between steps, and not taken for a wish by anything else."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from cellstate.runs import stopping
from cellstate.runs.stopping import Stopped, StopRequest


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_is_noted_and_the_handlers_are_as_before(name: str) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    stop = StopRequest()
    with stop.listening():
        assert stop.signal is None
        os.kill(os.getpid(), getattr(signal, name))
        assert stop.signal == name
    assert {number: signal.getsignal(number) for number in before} == before


def test_it_takes_a_signal_back_from_who_took_it_since() -> None:
    stop, heard = StopRequest(), []
    with stop.listening():
        signal.signal(signal.SIGTERM, lambda *_: heard.append(True))  # as Lightning does when it begins to fit
        stop.listen_alone()
        os.kill(os.getpid(), signal.SIGTERM)
    assert (stop.signal, heard) == ("SIGTERM", [])


def test_a_second_ctrl_c_does_not_wait() -> None:
    with StopRequest().listening():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # a scheduler may repeat itself
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_stop_is_overdue_after_its_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = StopRequest()
    with stop.listening():
        assert not stop.overdue
        os.kill(os.getpid(), signal.SIGTERM)
        assert not stop.overdue
        monkeypatch.setattr(stopping, "PATIENCE", -1.0)
        assert stop.overdue


def test_a_thread_cannot_listen_and_need_not() -> None:
    heard = []

    def work() -> None:
        with StopRequest().listening():
            heard.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard
