"""Recording in several processes: the same data as in one, errors as they are, and nobody left behind."""

import os
import signal
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from joblib import Parallel, delayed

from srl_bench import workers
from srl_bench.environments import make_environment
from srl_bench.errors import ConfigError, WorkerError
from srl_bench.record import record
from srl_bench.rollouts import ARRAYS
from srl_bench.vecenv import make_vec_env

ID = "srl_bench/MobileRobot-v0"
SMALL = {"image_size": 48}


@pytest.fixture
def shared(monkeypatch):
    """Begin when the other process is there, which a short recording would not wait for; count what it ran."""
    ran, fetch, free = [], workers._Stored.fetch, workers.Others.are_free
    monkeypatch.setattr(workers._Stored, "fetch", lambda stored: ran.append(stored) or fetch(stored))
    monkeypatch.setattr(workers.Others, "are_free", lambda o, taken: o.ready.result() or free(o, taken))
    return ran


def test_two_workers_write_the_same_bytes_as_one(tmp_path, shared):
    """4,000 frames, the fewest that start a second worker."""
    one, two = (record(ID, 4_000, 5, out=tmp_path / str(n), workers=n, environment_kwargs=SMALL) for n in (1, 2))
    for name in ARRAYS:
        assert (one.path / f"{name}.npy").read_bytes() == (two.path / f"{name}.npy").read_bytes(), name
    assert (one.path / "rollouts.json").read_text() == (two.path / "rollouts.json").read_text()
    assert [sorted(p.name for p in one.path.iterdir())] * 2 == [
        sorted(p.name for p in path.iterdir()) for path in sorted(tmp_path.iterdir())
    ]
    assert shared


@pytest.mark.parametrize("late", [0, 1, 3])
def test_episodes_come_in_order_however_long_the_others_take(late):
    """A chunk of the others is ready when this process has run `late` more; frames that wait are copies."""
    frames, own, told = np.zeros(1, np.uint8), [], []

    class Recorder:
        def run(self, first, number):
            own.append(first)
            for index in range(first, first + number):
                frames[0] = index
                yield {"index": index, "observations": frames}

    class Stored(workers._Stored):
        def __init__(self, first, number):
            super().__init__(Path(f"of the others {first}"), [], [])
            self.episodes.extend(
                {"index": i, "observations": np.array([i], np.uint8)} for i in range(first, first + number)
            )

        def fetch(self):
            return self.episodes

    class Later(Future):
        def __init__(self, chunk):
            super().__init__()
            self.set_result(Stored(*chunk))
            self.due = len(own) + late
            told.append(chunk[0])

        def done(self):
            return len(own) >= self.due

    ready = Future()
    chunks = list(workers._chunks(0, 90, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", lambda path: None)
        found = []
        for chunk in workers._in_order(Recorder(), workers.Others(Later, ready, 2), chunks):
            found += [(episode["index"], int(episode["observations"][0])) for episode in chunk]
            if len(found) > 20 and not ready.done():
                ready.set_result(None)
    assert found == [(index, index) for index in range(90)]
    assert sorted(own + told) == [first for first, _ in chunks]
    assert own[:5] == [0, 4, 8, 12, 16]
    assert len(told) >= 4
    assert late == 0 or len(own) >= 9


def test_workers_go_together_with_those_of_joblib(tmp_path, shared):
    """Which keeps a pool of its own for a while, as suites do."""
    assert Parallel(n_jobs=2)(delayed(abs)(-number) for number in range(4)) == [0, 1, 2, 3]
    record(ID, 4_000, out=tmp_path / "data", workers=2, environment_kwargs=SMALL)
    assert shared
    assert Parallel(n_jobs=2)(delayed(abs)(-number) for number in range(4)) == [0, 1, 2, 3]


PLUGIN = """
import os
from srl_bench.environments.mobile_robot import MobileRobot
from srl_bench.environments.options import register

class Odd(Exception):
    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")

class Told(MobileRobot):
    def __init__(self, places=(), **options):
        self.places = places
        super().__init__(**options)

    def reset(self, **options):
        if self.places == "odd" and os.getpid() != PID:
            raise Odd("odd", "even")
        observation, info = super().reset(**options)
        observation[:2] = 10 * isinstance(self.places, tuple) + len(self.places)
        return observation, info

register("tests/Told-v0", Told)
"""


@pytest.fixture
def told(tmp_path):
    plugin = tmp_path / "told.py"
    plugin.write_text(PLUGIN.replace("PID", str(os.getpid())))
    yield plugin
    gymnasium.registry.pop("tests/Told-v0", None)


def test_all_processes_get_the_same_arguments(tmp_path, told, shared):
    """Tuples go to other processes as lists."""
    kwargs = {**SMALL, "places": (1, 2)}
    options = {"plugins": (str(told),), "environment_kwargs": kwargs}
    one, two = (record("tests/Told-v0", 4_000, out=tmp_path / str(n), workers=n, **options) for n in (1, 2))
    assert one.data_hash == two.data_hash
    assert shared
    assert set(two.observations[two.episodes[:-1], 0, 0, 0].tolist()) == {2}


def test_an_error_that_cannot_be_sent_is_told(tmp_path, told, shared):
    options = {"plugins": (str(told),), "environment_kwargs": {**SMALL, "places": "odd"}}
    with pytest.raises(WorkerError, match="Odd: odd and even"):
        record("tests/Told-v0", 4_000, out=tmp_path / "data", workers=2, **options)


def test_a_plug_in_that_was_edited_meanwhile_is_not_mixed_with_what_it_was(tmp_path, told, shared):
    options = {"plugins": (str(told),), "environment_kwargs": SMALL}
    record("tests/Told-v0", 60, out=tmp_path / "before", workers=1, max_steps=20, **options)
    told.write_text(told.read_text() + "# edited\n")
    with pytest.raises(ConfigError, match="changed since this process read them"):
        record("tests/Told-v0", 4_000, out=tmp_path / "data", workers=2, **options)


def test_an_environment_of_one_process_only(tmp_path, shared):
    gymnasium.register("tests/Here-v0", lambda **options: make_environment(ID, options))
    with pytest.raises(ConfigError, match="tests/Here-v0 is registered in one process only"):
        record("tests/Here-v0", 4_000, out=tmp_path / "data", workers=2, policy="random")
    gymnasium.registry.pop("tests/Here-v0")


def test_relative_paths_begin_where_this_process_is(tmp_path, monkeypatch, shared):
    """The other process is still there, in the folder that it was started in."""
    from stable_baselines3 import A2C

    options = {"policy": "a2c:agent.zip", "agent_reads": "ground_truth", "environment_kwargs": SMALL, "max_steps": 20}
    found = []
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        monkeypatch.chdir(tmp_path / str(seed))
        A2C("MlpPolicy", make_vec_env(ID, 1, obs_type="state"), seed=seed, device="cpu").save("agent.zip")
        found.append(record(ID, 4_000, out="data", workers=2, **options))
    one = record(ID, 4_000, out="again", workers=1, **options)
    assert one.data_hash == found[1].data_hash != found[0].data_hash


def test_a_process_that_may_have_no_children_records_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "current_process", lambda: SimpleNamespace(daemon=True))
    monkeypatch.setattr(workers, "_executor", pytest.fail)
    record(ID, 4_000, out=tmp_path / "data", workers=2, environment_kwargs=SMALL)


def test_others_that_cannot_start_are_an_error():
    ready = Future()
    ready.set_exception(ConfigError("no room"))
    others = workers.Others(pytest.fail, ready, 2)
    with pytest.raises(ConfigError, match="no room"):
        list(workers._in_order(None, others, [(0, 4)]))


def test_two_workers_record_an_agent_as_one_does_also_after_more_training(tmp_path, shared):
    """The other process is still there when the same file holds other weights."""
    from stable_baselines3 import A2C

    venv, stored = make_vec_env(ID, 1, obs_type="state"), tmp_path / "agent.zip"
    options = {"policy": f"a2c:{stored}", "agent_reads": "ground_truth", "environment_kwargs": SMALL}
    A2C("MlpPolicy", venv, seed=0, device="cpu").save(stored)
    before = record(ID, 4_000, out=tmp_path / "before", workers=2, **options)
    A2C("MlpPolicy", venv, seed=1, device="cpu").save(stored)
    one, two = (record(ID, 4_000, out=tmp_path / str(n), workers=n, **options) for n in (1, 2))
    assert one.data_hash == two.data_hash != before.data_hash
    assert len(shared) > 5


@pytest.mark.slow
def test_two_workers_record_an_arm_as_one_does(tmp_path, shared):
    """So many frames that single pixels would show what depends on the pictures drawn before."""
    one, two = (record("srl_bench/KukaButton-v0", 20_000, out=tmp_path / str(n), workers=n) for n in (1, 2))
    assert one.info["sha256"] == two.info["sha256"]


def test_two_workers_write_the_same_views_domains_and_short_episodes_as_one(tmp_path, shared):
    """The environment ends episodes after 30 steps, so that there are more of them than the frames ask for."""
    kwargs = {**SMALL, "views": ("top", "side"), "max_steps": 30}
    one, two = (
        record(ID, 4_010, 5, out=tmp_path / str(n), workers=n, environment_kwargs=kwargs, domains=("sim", "twin"))
        for n in (1, 2)
    )
    assert set(np.diff(one.episodes)) == {31, 4_010 % 30 + 1}
    assert one.data_hash == two.data_hash
    assert one.info == two.info
    np.testing.assert_array_equal(one.views, two.views)
    assert shared


@pytest.mark.parametrize("waits", [True, False])
def test_a_recorder_with_workers_that_was_killed_goes_on(tmp_path, waits):
    """The workers end by themselves: they keep the pipe open on whose end `run` waits. One is killed as they start."""
    code = (
        "import os, signal, srl_bench as srl\nfrom srl_bench import workers\n"
        "from srl_bench.writer import RolloutWriter\n"
        "free = workers.Others.are_free\n"
        f"workers.Others.are_free = lambda o, taken: {waits} and o.ready.result() or free(o, taken)\n"
        "commit = RolloutWriter.commit\n"
        "def kill(writer):\n"
        "    commit(writer)\n"
        "    if writer.n_episodes == 12: os.kill(os.getpid(), signal.SIGKILL)\n"
        "RolloutWriter.commit = kill\n"
        f"srl.record({ID!r}, 4_000, out={str(tmp_path / 'data')!r}, workers=2, environment_kwargs={SMALL})"
    )
    process = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, timeout=100)
    assert process.returncode == -signal.SIGKILL
    partial = tmp_path / ".data.partial"
    assert not (partial / "rollouts.json").exists()
    (partial / "frames_12_1").write_bytes(b"of the one that was killed")
    rollouts, whole = (
        record(ID, 4_000, out=tmp_path / name, workers=n, environment_kwargs=SMALL)
        for name, n in (("data", 2), ("whole", 1))
    )
    assert rollouts.data_hash == whole.data_hash
    assert {p.name for p in rollouts.path.iterdir()} == {p.name for p in whole.path.iterdir()}
    assert {p.name for p in tmp_path.iterdir()} == {"data", "whole"}


def test_an_error_in_a_worker_is_reported_and_nothing_is_left(tmp_path, shared):
    plugin = tmp_path / "failing.py"
    plugin.write_text(
        "import os\nfrom srl_bench.environments.mobile_robot import MobileRobot\n"
        "from srl_bench.environments.options import register\n"
        "from srl_bench.errors import ConfigError\n"
        "class Failing(MobileRobot):\n"
        "    resets = 0\n"
        "    def reset(self, **options):\n"
        "        self.resets += 1\n"
        f"        if self.resets > 6 and os.getpid() != {os.getpid()}: raise ConfigError('six episodes are enough')\n"
        "        return super().reset(**options)\n"
        "register('tests/Failing-v0', Failing)\n"
    )
    with pytest.raises(ConfigError, match="six episodes"):
        record("tests/Failing-v0", 4_000, out=tmp_path / "data", workers=2, plugins=(str(plugin),), policy="random")
    assert list(tmp_path.iterdir()) == [plugin]
    gymnasium.registry.pop("tests/Failing-v0")
