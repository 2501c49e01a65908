"""Two processes do the steps of one: losses, weights, statistics and evaluation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.errors import BenchError
from bench.system.launch import started_together
from bench.train.distributed import ProcessGroup
from tests.support.together import together
from tests.train.distributed_steps import CASES, SIZES, steps


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes has found."""
    folder = tmp_path_factory.mktemp("team")
    with together(str(folder), script="tests/train/distributed_steps.py") as team:
        codes, _, err = team.end()
    assert codes == [0, 0], err
    return [torch.load(folder / f"rank-{rank}.pt") for rank in (0, 1)]


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Any]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    done = {case: steps(ProcessGroup(), **told) for case, told in CASES.items()}
    torch.set_num_threads(threads)
    return done


@pytest.mark.parametrize("case", CASES)
def test_losses_of_twenty_steps_are_those_of_one_process(found, alone, case) -> None:
    expected = alone[case]["losses"]
    assert len(expected) >= 20
    assert expected[0] != pytest.approx(expected[10], rel=1e-2)  # it learns
    for process in found:
        assert process[case]["losses"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_weights_and_running_statistics_are_those_of_one_process(found, alone, case) -> None:
    first, second = (process[case]["state"] for process in found)
    for key, value in alone[case]["state"].items():
        assert torch.equal(first[key], second[key]), key
        # A gradient that is nothing but rounding still moves a weight by the rate of a step.
        torch.testing.assert_close(first[key], value, rtol=1e-3, atol=2e-3, msg=key)


def test_every_image_is_evaluated_once_and_in_order(found, alone) -> None:
    one = alone["convolutions"]["evaluation"]
    assert len(one["labels"]) == sum(SIZES)
    for process in found:
        several = process["convolutions"]["evaluation"]
        assert several["labels"] == one["labels"]
        assert several["predictions"] == one["predictions"]
        assert several["loss"] == pytest.approx(one["loss"], rel=1e-4)


def test_a_signal_to_one_process_stops_all_at_the_same_step(found) -> None:
    assert [process["agreed"] for process in found] == [[None, None, 15, None]] * 2


def test_a_record_says_how_many_processes_trained(found) -> None:
    expected = {
        "processes": 2, "machines": 1, "backend": "gloo", "batch_norm": "over the whole batch",
    }  # fmt: skip
    assert [process["record"] for process in found] == [expected] * 2
    assert ProcessGroup().as_record() is None


def test_torchruns_variables() -> None:
    assert started_together({}) == 1
    assert started_together({"RANK": "1", "WORLD_SIZE": "4"}) == 4
    # SLURM jobs and others set one of them alone.
    assert started_together({"WORLD_SIZE": "4"}) == 1
    with pytest.raises(BenchError, match=r"WORLD_SIZE='four' is no number: start with torchrun"):
        started_together({"RANK": "0", "WORLD_SIZE": "four"})
