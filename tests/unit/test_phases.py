"""The parts of a step: they add up to the whole, and each gets what is its own."""

import time
from types import SimpleNamespace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from cellstate.debug.phases import ORDER, Phases, part_of
from cellstate.debug.tables import PYTHON, operator_rows, operators_of


class Clock:
    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_what_lies_within_an_action_counts_once(clock):
    phases = Phases()
    phases.begin()
    clock.now += 1  # between hooks
    with phases.profile("[LightningModule]Classifier.optimizer_step"):
        clock.now += 2
        with phases.profile("[Strategy]SingleDeviceStrategy.training_step"):
            clock.now += 4
        with phases.profile("[Strategy]SingleDeviceStrategy.backward"):
            clock.now += 8
            with phases.profile("[Callback]Progress.on_before_backward"):
                clock.now += 16
    with phases.profile("run_training_batch"):
        clock.now += 32
    phases.start("[_TrainingEpochLoop].train_dataloader_next")
    clock.now += 64
    phases.stop("[_TrainingEpochLoop].train_dataloader_next")
    phases.end()
    assert phases.seconds == {
        **{"optimizer": 2, "forward and loss": 4, "backward": 8, "callbacks": 16},
        **{"framework": 33, "data": 64},
    }
    assert phases.total == 127


def test_an_action_during_which_the_timing_begins_or_ends_breaks_nothing(clock):
    phases = Phases()
    with phases.profile("[Callback]Stretches.on_train_batch_end"):
        phases.begin()
    with phases.profile("[Callback]Stretches.on_train_batch_end"):
        clock.now += 3
        phases.end()
    clock.now += 5
    assert phases.total == 3
    assert sum(phases.seconds.values()) == 3


def test_off_it_hands_out_one_and_the_same_context():
    phases = Phases()
    assert phases.profile("[Strategy]X.backward") is phases.profile("[Callback]Y.on_train_start")


def test_every_part_has_its_place_in_the_order():
    names = ["[Strategy]A.backward", "[Callback]B.on_train_batch_end", "run_training_batch", "x.optimizer_zero_grad"]
    assert {part_of(name) for name in names} == {"backward", "callbacks", "framework", "optimizer"}
    assert {part_of(name) for name in names} <= set(ORDER)


def test_the_operators_are_those_that_ran():
    one, phases = torch.ones(16, 16), Phases()
    phases.naming = True
    with profile(activities=[ProfilerActivity.CPU]) as traced:
        for _ in range(4):
            with phases.profile("[Strategy]SingleDeviceStrategy.training_step"):
                one @ one
    operators = operators_of(traced.key_averages(), steps=2)
    calls = {operator.name: operator.calls for operator in operators}
    assert calls["aten::mm"] == 2
    assert PYTHON in calls
    assert "forward and loss" not in calls, "a name of ours is no operator"
    rows = operator_rows(operators)
    assert sum(row["self_cpu_share"] for row in rows) == pytest.approx(1, abs=0.01)
    assert [row["self_cpu_ms"] for row in rows] == sorted((row["self_cpu_ms"] for row in rows), reverse=True)


def event(key, device, cpu, on_device, *, ours=False):
    """What torch's profiler tells of one operator or kernel, times in microseconds."""
    return SimpleNamespace(
        key=key, device_type=f"DeviceType.{device}", count=4, is_user_annotation=ours,
        self_cpu_time_total=cpu, self_device_time_total=on_device,
    )  # fmt: skip


def test_a_kernel_counts_with_the_operator_that_starts_it():
    events = [
        event("aten::mm", "CPU", 40, 8000),
        event("aten::add", "CPU", 4000, 80),
        event("sm90_gemm", "CUDA", 0, 8000),
        event("elementwise", "CUDA", 0, 80),
        event("backward", "CPU", 400, 0, ours=True),
        event("backward", "CUDA", 0, 9000, ours=True),
    ]
    operators = operators_of(events, steps=4)
    assert [one.name for one in operators] == ["aten::mm", "aten::add", PYTHON], "what takes the device comes first"
    assert [one.device_ms for one in operators] == pytest.approx([2, 0.02, 0])
    assert [one.cpu_ms for one in operators] == pytest.approx([0.01, 1, 0.1])
