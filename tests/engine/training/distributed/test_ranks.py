"""Sharing, gathering and agreeing in real worlds of 1, 2 and 4 processes; and what a launcher's variables mean."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nima_cli.engine.training.distributed.ranks import SINGLE, Ranks
from nima_cli.engine.training.distributed.rendezvous import find_dist_env
from nima_cli.errors import DeviceError
from tests.worlds import Worlds, torch_world

Job = Callable[..., Any]
SLURM = {
    "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "2", "SLURM_STEP_NODELIST": "gpu[07-09,12],login1", "SLURM_NODEID": "2",
    "SLURM_STEP_NUM_TASKS": "7", "SLURM_STEP_TASKS_PER_NODE": "2(x3),1", "SLURM_PROCID": "5", "SLURM_LOCALID": "1",
}  # fmt: skip


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    with Worlds(tmp_path_factory.mktemp("worlds")) as opened:
        yield opened


@pytest.fixture
def job(worlds: Worlds, tmp_path: Path) -> Job:
    """What the first of `size` processes found."""

    def run(size: int, name: str, *args: str | Path) -> Any:
        out = tmp_path / f"{name}.{size}"
        world = worlds.start(torch_world(size), (f"tests.engine.training.world_jobs:{name}", *args, out), cwd=tmp_path)
        ended = world.wait()
        assert [process.code for process in ended] == [0] * size, ended
        return json.loads(out.read_text("utf-8"))

    return run


def test_an_evaluation_is_exact_in_any_world(job: Job, tiny_dataset: Path) -> None:
    alone = job(1, "measure_splits", tiny_dataset)
    assert [tokens > 0 for tokens, *_ in alone] == [True] * 9
    for size in (2, 4):
        for (*counts, nats), (*expected, expected_nats) in zip(
            job(size, "measure_splits", tiny_dataset), alone, strict=True
        ):
            assert counts == expected
            assert nats == pytest.approx(expected_nats, rel=1e-6)


def test_matrices_are_shared_out_and_their_state_is_whole(job: Job) -> None:
    alone = job(1, "step_matrices")
    assert alone["kept"] == alone["kept_by_all"] == 24 + 48 + 125
    for size, kept in ((2, 24 + 24 + 75), (4, 24 + 24 + 50)):
        found = job(size, "step_matrices")
        assert (found["kept"], found["kept_by_all"]) == (kept, alone["kept"])
        for part in ("weights", "momenta"):
            assert list(found[part]) == list(alone[part])
            for name, values in alone[part].items():
                torch.testing.assert_close(torch.tensor(found[part][name]), torch.tensor(values), rtol=1e-5, atol=1e-6)


def test_a_failure_is_everybodys_and_the_lowest_process_says_why(job: Job) -> None:
    found = job(3, "fail_together")
    assert found == {"codes": [1, 2, 1], "texts": ["näher \U0001f600", ""]}


def test_a_first_step_may_take_long_and_later_ones_may_not(job: Job) -> None:
    """While some still compile, the others wait for them; who does not answer later is lost."""
    waits, *found = job(2, "wait_for_a_slow_first_step")
    assert waits == [15 * 60, 45]
    assert found == [2, 2, True]


@pytest.mark.parametrize(("count", "size"), [(1, 1), (1, 4), (5, 2), (5, 4), (8, 4), (9, 4)])
def test_shares_cover_everything_once(count: int, size: int) -> None:
    shares = [Ranks(rank, size).shard_range(count) for rank in range(size)]
    assert [index for share in shares for index in share] == list(range(count))
    assert max(map(len, shares)) == -(-count // size)


def test_alone_nothing_is_shared_or_agreed() -> None:
    tensor = torch.ones(2, 3)
    assert SINGLE.gather(tensor, 2) is tensor
    assert SINGLE.broadcast("text") == "text"
    for backend in ("auto", "gloo", "nccl"):
        assert SINGLE.linked(torch.device("cpu"), backend) is SINGLE


def test_slurms_variables_give_a_place() -> None:
    place = find_dist_env(SLURM)
    assert place is not None
    assert (place.rank, place.world_size, place.local_rank, place.local_world_size) == (5, 7, 1, 2)
    assert place.address is not None
    host, _, port = place.address.removeprefix("tcp://").partition(":")
    assert host == "gpu07"
    assert 1024 < int(port) < 32768
    assert place.threads is None
    granted = find_dist_env({**SLURM, "SLURM_CPUS_PER_TASK": "6"})
    assert granted is not None
    assert granted.threads == 6
    other = find_dist_env({**SLURM, "SLURM_JOB_ID": "4712"})
    assert other is not None
    assert other.address != place.address


@pytest.mark.parametrize("environ", [{}, {"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}])
def test_without_a_launcher_there_is_no_place(environ: dict[str, str]) -> None:
    assert find_dist_env(environ) is None


@pytest.mark.parametrize(
    "environ",
    [
        {"WORLD_SIZE": "2"},
        {"WORLD_SIZE": "x", "RANK": "0"},
        {"WORLD_SIZE": "2", "RANK": "2"},
        {"WORLD_SIZE": "2", "RANK": "-1"},
        {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "3"},
        {**SLURM, "SLURM_PROCID": "7"},
        {**SLURM, "SLURM_JOB_ID": "many"},
        {key: value for key, value in SLURM.items() if key != "SLURM_LOCALID"},
    ],
)
def test_variables_that_contradict_each_other_are_refused(environ: dict[str, str]) -> None:
    with pytest.raises(DeviceError) as refused:
        find_dist_env(environ)
    assert refused.value.hint is not None


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("a", "a"),
        ("a,b", "a"),
        ("n[1-3]", "n1"),
        ("n[05,07-9]x,m", "n05x"),
        ("r[1-2]n[3-4]", "r1n3"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_slurm_tasks_meet_on_the_first_host(nodes: str, host: str) -> None:
    env = find_dist_env({**SLURM, "SLURM_STEP_NODELIST": nodes})
    assert env is not None
    assert env.address is not None
    assert env.address.startswith(f"tcp://{host}:")


@pytest.mark.parametrize(("counts", "node", "tasks"), [("4", 0, 4), ("2(x3),1", 3, 1), ("1,2(x2)", 0, 1)])
def test_slurm_tells_the_tasks_of_each_node(counts: str, node: int, tasks: int) -> None:
    told = {**SLURM, "SLURM_STEP_TASKS_PER_NODE": counts, "SLURM_NODEID": str(node), "SLURM_LOCALID": "0"}
    env = find_dist_env(told)
    assert env is not None
    assert env.local_world_size == tasks
