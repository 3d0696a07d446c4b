"""What processes tell each other: the mean over all samples, the same result and the same decision in each of them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from tests import forkserver

from cellstate.distributed import Agreement, agreement, gather, joined, on_first, portable, share_of


def member(rank: str, world: str, port: str, work: str, folder: str) -> None:
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=int(rank), world_size=int(world))
    torch.save(globals()[work](int(rank)), Path(folder) / rank)
    dist.destroy_process_group()


MEMBER = "import sys; from tests.unit.test_exchange import member; member(*sys.argv[1:])"


def on(world: int, work: Callable[[int], Any], folder: Path) -> list[Any]:
    """Run ``work(rank)`` in so many processes, and return what each of them gave."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    jobs = [["-c", MEMBER, str(rank), str(world), str(port), work.__name__, folder] for rank in range(world)]
    for process in [forkserver.Process(job, cwd=Path(__file__).parents[2]) for job in jobs]:
        assert process.wait() == 0
    return [torch.load(folder / str(rank)) for rank in range(world)]


WEIGHTS = (5, 1, 3)
LOSSES = (0.25, 4.0, -1.0)


def weighted(rank: int) -> tuple[float, list[int], Any]:
    share = share_of(WEIGHTS[rank], torch.device("cpu"))
    assert share is not None
    return float(share) * LOSSES[rank], gather(rank), on_first(lambda values: [sum(values), time.monotonic()], rank)


def test_averaged_over_processes_shares_give_the_mean_over_all_samples(tmp_path: Path) -> None:
    answers = on(3, weighted, tmp_path)
    mean = sum(weight * loss for weight, loss in zip(WEIGHTS, LOSSES, strict=True)) / sum(WEIGHTS)
    assert sum(answer[0] for answer in answers) / 3 == pytest.approx(mean, rel=1e-12)
    assert [answer[1] for answer in answers] == [[0, 1, 2]] * 3
    assert answers[0][2] == answers[1][2] == answers[2][2]  # also what each would have computed differently
    assert answers[0][2][0] == 3


def told_at(rank: int) -> list[int]:
    asked, heard, now = Agreement(), [], 0.0
    with mock.patch.object(agreement, "time", SimpleNamespace(monotonic=lambda: now)):
        for call in range(400):
            now += 0.002 * (1 + rank)  # the processes are not equally fast
            wish = rank == 1 and call >= 100
            if asked.any([wish, False], torch.device("cpu"))[0]:
                heard.append(call)
    return heard


def test_all_hear_of_a_wish_at_the_same_call(tmp_path: Path) -> None:
    first, second = on(2, told_at, tmp_path)
    assert first == second
    assert first, "the wish was never heard"
    assert min(first) >= 100
    assert len(first) < 50, "they ask each other now and then, not at every call"


def test_one_process_has_its_own_way_at_no_cost() -> None:
    assert Agreement().any([True, False], torch.device("cpu")) == [True, False]
    assert share_of(7, torch.device("cpu")) is None
    assert gather("mine") == ["mine"]
    assert on_first(lambda values: values, 3) == [3]


class Kept:
    """Scores as models have them."""

    def __init__(self, first: int) -> None:
        self.rows = [torch.arange(first, first + 2), torch.arange(first + 2, first + 3)]
        self.hits = torch.tensor([first, 1])
        self.name = "left alone"


def test_lists_are_joined_in_order_of_rank_and_tensors_added() -> None:
    whole = joined([portable(Kept(0)), portable(Kept(3)), portable(Kept(6))])
    assert torch.cat(whole["rows"]).tolist() == list(range(9))
    assert whole["hits"].tolist() == [9, 3]
    assert set(whole) == {"rows", "hits"}
