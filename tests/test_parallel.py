import os
import signal

import numpy as np
import pytest

import srl_bench as srl
from srl_bench.errors import ConfigError, WorkerError

ENVIRONMENT = "srl_bench/MobileRobot-v0"
KWARGS = {"image_size": 48, "max_steps": 7, "obs_type": "pixels+state", "domain": "randomised", "distractors": 1}


@pytest.fixture
def pair():
    venvs = [srl.make_vec_env(ENVIRONMENT, 5, seed=3, workers=workers, **KWARGS) for workers in (0, 3)]
    yield venvs
    for venv in venvs:
        venv.close()


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])


def test_workers_give_the_same_steps(pair):
    local, workers = pair
    same(local.reset(), workers.reset())
    for ours, theirs in zip(local.reset_infos, workers.reset_infos, strict=True):
        np.testing.assert_array_equal(ours["state"], theirs["state"])
    rng = np.random.default_rng(0)
    for _ in range(16):
        actions = rng.integers(0, 4, 5)
        ours, theirs = local.step(actions), workers.step(actions)
        same(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])
        np.testing.assert_array_equal(ours[2], theirs[2])
        for a, b in zip(ours[3], theirs[3], strict=True):
            assert a.keys() == b.keys()
            np.testing.assert_array_equal(a["state"], b["state"])
            assert a["TimeLimit.truncated"] == b["TimeLimit.truncated"]
            if "terminal_observation" in a:
                same(a["terminal_observation"], b["terminal_observation"])
        for a, b in zip(local.reset_infos, workers.reset_infos, strict=True):
            np.testing.assert_array_equal(a["state"], b["state"])


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_any_number_of_processes_gives_the_same_environments(workers):
    local, shared = (srl.make_vec_env(ENVIRONMENT, 5, seed=1, workers=n, image_size=48) for n in (0, workers))
    np.testing.assert_array_equal(local.reset(), shared.reset())
    for _ in range(2):
        for ours, theirs in zip(local.step(np.arange(5) % 4), shared.step(np.arange(5) % 4), strict=True):
            if not isinstance(ours, list):
                np.testing.assert_array_equal(ours, theirs)
    local.close()
    shared.close()


def test_steps_do_not_overwrite_what_was_returned(pair):
    for venv in pair:
        first = venv.reset()
        before = {key: rows.copy() for key, rows in first.items()}
        second = venv.step(np.zeros(5, int))[0]
        kept = {key: rows.copy() for key, rows in second.items()}
        venv.step(np.ones(5, int))
        same(first, before)
        same(second, kept)


def test_attributes_and_methods_reach_single_environments(pair):
    for venv in pair:
        venv.reset()
        assert venv.get_attr("max_steps") == [7] * 5
        assert venv.get_attr("image_size", indices=[4, 1]) == [48, 48]
        venv.set_attr("marker", 9, indices=[3])
        assert venv.env_method("has_wrapper_attr", "marker") == [False, False, False, True, False]
        assert len(venv.env_method("get_factors", indices=3)) == 1
        venv.set_attr("last", 1, indices=-1)
        assert venv.env_method("has_wrapper_attr", "last") == [False, False, False, False, True]
        with pytest.raises(IndexError):
            venv.env_method("get_factors", indices=5)


@pytest.mark.parametrize("index", [0, 4])
def test_errors_of_a_worker_arrive(pair, index):
    """Also of the environments of this process; what comes next is answered again."""
    local, workers = pair
    same(local.reset(), workers.reset())
    with pytest.raises(ConfigError, match="from 0 to 3"):
        workers.step(np.full(5, 7))
    with pytest.raises(ConfigError, match="from 0 to 3"):
        workers.step(np.where(np.arange(5) == index, 7, 0))
    with pytest.raises(WorkerError, match="unheard_of"):
        workers.env_method("unheard_of", indices=index)
    local.reset()
    assert workers.reset()["pixels"].shape == (5, 48, 48, 3)
    assert workers.get_attr("max_steps", indices=index) == [7]


def test_after_an_interruption_nothing_old_is_taken_for_an_answer(pair, monkeypatch):
    _, workers = pair
    workers.reset()

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(workers._local, "step_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        workers.step(np.zeros(5, int))
    with pytest.raises(WorkerError, match="closed"):
        workers.step(np.ones(5, int))


def test_a_dead_worker_is_an_error(pair):
    _, workers = pair
    workers.reset()
    os.kill(workers._processes[1].pid, signal.SIGKILL)
    workers._processes[1].join()
    with pytest.raises(WorkerError, match="died"):
        workers.step(np.zeros(5, int))


@pytest.mark.parametrize("options", [{"n_envs": 0}, {"n_envs": 2, "workers": 3}, {"workers": -1}])
def test_bad_numbers(options):
    with pytest.raises(ConfigError, match="n_envs"):
        srl.make_vec_env(ENVIRONMENT, **options)
