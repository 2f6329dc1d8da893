"""Recording: what is in a data set, that it does not depend on workers, and refusals."""

import signal
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from filelock import FileLock

from srl_bench import episodes
from srl_bench.config import RecordConfig
from srl_bench.environments import make_environment
from srl_bench.environments.looks import TWIN
from srl_bench.errors import ConfigError, DataError, UnknownNameError
from srl_bench.factors import Factor
from srl_bench.integrity import checksum
from srl_bench.intervene import Simulator
from srl_bench.pretrain import pretrain
from srl_bench.provenance import _source_digest
from srl_bench.record import _common_table, record, recording_name
from srl_bench.rollouts import open_rollouts
from srl_bench.vecenv import encode, make_vec_env

ID = "srl_bench/MobileRobot-v0"
SMALL = {"image_size": 48}


def small(out, frames=120, seed=0, **options):
    options = {"environment_kwargs": SMALL, "max_steps": 20, "workers": 1, **options}
    return record(ID, frames, seed, out=out, **options)


def test_a_recording_replays_in_the_environment(mobile):
    """Oracle: the environment itself, put into the recorded states and driven by the recorded actions."""
    env = make_environment(ID, SMALL).unwrapped
    env.reset(seed=0)
    for start, end in zip(mobile.episodes[:3], mobile.episodes[1:4], strict=True):
        np.testing.assert_array_equal(env.observe(mobile.factors[start]), mobile.observations[start])
        for t in range(start, end - 1):
            observation, reward, terminated, _, info = env.step(mobile.actions[t])
            np.testing.assert_array_equal(observation, mobile.observations[t + 1])
            np.testing.assert_allclose(info["state"], mobile.factors[t + 1], atol=1e-12)
            assert (reward, terminated) == (mobile.rewards[t], mobile.terminated[t])
    env.close()


def test_the_last_row_of_an_episode_is_its_final_observation(mobile):
    last = mobile.episodes[1:] - 1
    for name in ("actions", "rewards", "terminated", "truncated"):
        assert not getattr(mobile, name)[last].any()
    assert mobile.truncated[last - 1].all()
    assert mobile.truncated.sum() == mobile.n_episodes
    assert not (mobile.observations[last] == mobile.observations[last - 1]).all()


def test_frames_are_steps_and_episodes_are_cut_at_a_hundred(mobile):
    """By arithmetic: 2,000 steps make 20 episodes, so 20,000 make 200."""
    assert np.diff(mobile.episodes).tolist() == [101] * 20
    assert RecordConfig().frames / RecordConfig().max_steps == 200


@pytest.mark.parametrize(
    ("frames", "lengths"), [(60, [20, 20, 20]), (61, [20, 20, 20, 1]), (79, [20, 20, 20, 19]), (80, [20] * 4)]
)
def test_exactly_the_asked_number_of_steps(tmp_path, frames, lengths):
    rollouts = small(tmp_path / "data", frames)
    assert (np.diff(rollouts.episodes) - 1).tolist() == lengths
    last = rollouts.episodes[1:] - 1
    assert rollouts.truncated[last - 1].all()
    assert not rollouts.actions[last].any()


@pytest.mark.parametrize(("kwargs", "max_steps", "length"), [({"max_steps": 6}, 20, 6), ({}, 20, 20)])
def test_the_cut_of_the_recording_is_apart_from_the_environments_limit(tmp_path, kwargs, max_steps, length):
    rollouts = small(tmp_path / "data", 60, max_steps=max_steps, environment_kwargs={**SMALL, **kwargs})
    assert set(np.diff(rollouts.episodes) - 1) == {length}
    assert rollouts.environment_kwargs.get("max_steps") == kwargs.get("max_steps")


def test_what_another_process_recorded_meanwhile_is_opened(tmp_path, monkeypatch):
    """It ends after this one has looked, and before it holds the lock."""
    recording, ran = sys.modules[record.__module__], []  # the function has the name of its module
    describe = recording._describe

    def meanwhile(config):
        monkeypatch.undo()
        ran.append(small(tmp_path / "data"))
        return describe(config)

    monkeypatch.setattr(recording, "_describe", meanwhile)
    found = small(tmp_path / "data")
    assert ran[0].info == found.info
    assert list(tmp_path.iterdir()) == [tmp_path / "data"]


def test_the_folder_may_be_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "there")
    assert small(tmp_path / "data").path == tmp_path / "there"
    assert {path.name for path in tmp_path.iterdir()} == {"data", "there"}


def test_the_seed_decides_everything(tmp_path):
    first, same, other = (small(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert first.data_hash == same.data_hash
    assert not (first.actions == other.actions).all()
    assert not (first.factors == other.factors).all()


def test_episodes_differ_from_each_other(mobile):
    starts = mobile.factors[mobile.episodes[:-1]]
    assert len(np.unique(starts, axis=0)) == mobile.n_episodes
    assert (
        len({mobile.actions[a:b].tobytes() for a, b in zip(mobile.episodes, mobile.episodes[1:], strict=False)}) == 20
    )


def test_random_actions_are_uniform(mobile):
    """Oracle: 500 of each, deviation 19."""
    inside = np.concatenate([mobile.transitions(split) for split in ("train", "val", "test")])
    assert np.bincount(mobile.actions[inside]) == pytest.approx([500] * 4, abs=100)


def test_the_scripted_policy_earns_more_than_the_random_one(tmp_path):
    kwargs = {"frames": 600, "max_steps": 60, "environment_kwargs": {**SMALL, "reward_type": "sparse"}}
    rewards = [small(tmp_path / p, policy=p, **kwargs).rewards.sum() for p in ("random", "scripted")]
    assert rewards[1] > 150 > 100 > rewards[0]


def test_noise_is_the_share_of_random_actions(tmp_path):
    noisy, clean = (small(tmp_path / str(x), policy="scripted", noise=x, frames=400) for x in (1.0, 0.0))
    assert clean.rewards.min() >= 0
    assert np.bincount(noisy.actions, minlength=4).min() > 60


def test_continuous_actions(tmp_path):
    rollouts = small(tmp_path / "data", environment_kwargs={**SMALL, "action_type": "continuous"})
    assert (rollouts.actions.shape, rollouts.actions.dtype) == ((126, 2), np.float32)
    assert rollouts.n_actions == 0
    assert np.abs(rollouts.actions).max() <= 1
    assert rollouts.actions.std() == pytest.approx(3**-0.5, abs=0.06)


# Resuming and refusing


def test_the_same_recording_is_opened_and_not_repeated(tmp_path, monkeypatch):
    first = small(tmp_path / "data")
    monkeypatch.setattr(episodes, "run_episode", None)
    assert small(tmp_path / "data").data_hash == first.data_hash


def test_numbers_may_be_those_of_numpy_or_whole_floats(tmp_path):
    kwargs = {"image_size": np.int64(48), "views": np.array(["top"])}
    options = {"seed": np.uint8(3), "max_steps": np.int64(20), "noise": np.float32(0.25)}
    found = small(tmp_path / "data", 1e2, environment_kwargs=kwargs, **options)
    plain = {"image_size": 48, "views": ["top"]}
    other = small(tmp_path / "data", 100, seed=3, max_steps=20, noise=0.25, environment_kwargs=plain)
    assert found.info == other.info
    assert (found.info["recording"]["frames"], found.info["recording"]["environment_kwargs"]) == (100, plain)


def test_options_survive_the_description(tmp_path, monkeypatch):
    """JSON has no tuples; a recording must still recognise itself."""
    first = small(tmp_path / "data", environment_kwargs={"image_size": 48, "random_target": False})
    monkeypatch.setattr(episodes, "run_episode", None)
    again = small(tmp_path / "data", environment_kwargs={"random_target": False, "image_size": 48})
    assert again.data_hash == first.data_hash


@pytest.mark.parametrize("change", [{"seed": 1}, {"frames": 140}, {"max_steps": 10}, {"policy": "scripted"}])
def test_another_recording_in_the_folder_is_refused(tmp_path, change):
    small(tmp_path / "data")
    with pytest.raises(DataError, match="another recording"):
        small(tmp_path / "data", **change)


def test_an_agent_that_was_trained_again_is_another_recording(tmp_path):
    """The same file with other weights; one that is gone contradicts nothing."""
    from stable_baselines3 import A2C

    venv, stored = make_vec_env(ID, 1, obs_type="state"), tmp_path / "agent.zip"
    options = {"policy": f"a2c:{stored}", "agent_reads": "ground_truth"}
    A2C("MlpPolicy", venv, seed=0, device="cpu").save(stored)
    first = small(tmp_path / "data", **options)
    assert small(tmp_path / "data", **options).info == first.info
    A2C("MlpPolicy", venv, seed=1, device="cpu").save(stored)
    with pytest.raises(DataError, match="recorded with other weights"):
        small(tmp_path / "data", **options)
    stored.unlink()
    assert small(tmp_path / "data", **options).info == first.info


def test_a_damaged_recording_is_refused(tmp_path):
    small(tmp_path / "data")
    (tmp_path / "data" / "rewards.npy").unlink()
    with pytest.raises(DataError, match=r"rewards\.npy is missing"):
        small(tmp_path / "data")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_recording_does_not_open_and_goes_on(tmp_path, monkeypatch, error):
    whole = small(tmp_path / "whole", 400, max_steps=20)
    original, ran = episodes.run_episode, []

    def interrupted(env, policy, config, index, frames):
        if index == 11:
            raise error
        ran.append(index)
        return original(env, policy, config, index, frames)

    monkeypatch.setattr(episodes, "run_episode", interrupted)
    with pytest.raises(type(error) if isinstance(error, OSError) else error):
        small(tmp_path / "data", 400, max_steps=20)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".data.partial", "whole"]
    with pytest.raises(DataError):
        open_rollouts(tmp_path / ".data.partial")
    monkeypatch.setattr(episodes, "run_episode", lambda *args: ran.append(args[3]) or original(*args))
    ran.clear()
    again = small(tmp_path / "data", 400, max_steps=20)
    assert min(ran) == 8
    assert again.info["sha256"] == whole.info["sha256"]
    assert sorted(p.name for p in again.path.iterdir()) == sorted(p.name for p in whole.path.iterdir())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "whole"]


def test_a_partial_recording_of_something_else_is_not_continued(tmp_path, monkeypatch):
    original = episodes.run_episode
    monkeypatch.setattr(episodes, "run_episode", lambda *args: 1 / 0 if args[3] == 9 else original(*args))
    with pytest.raises(ZeroDivisionError):
        small(tmp_path / "data", 400)
    monkeypatch.undo()
    assert small(tmp_path / "data", 400, seed=1).data_hash == small(tmp_path / "other", 400, seed=1).data_hash


def test_a_recorder_that_was_killed_goes_on(tmp_path):
    code = (
        "import os, signal, srl_bench as srl\nfrom srl_bench import episodes\n"
        "original = episodes.run_episode\n"
        "def kill(*args):\n"
        "    if args[3] == 13: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return original(*args)\n"
        "episodes.run_episode = kill\n"
        f"srl.record({ID!r}, 400, out={str(tmp_path / 'data')!r}, workers=1, max_steps=20, environment_kwargs={SMALL})"
    )
    process = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert process.returncode == -signal.SIGKILL
    assert small(tmp_path / "data", 400).data_hash == small(tmp_path / "whole", 400).data_hash


@pytest.mark.parametrize("kwargs", [SMALL, {**SMALL, "max_steps": 7}])
@pytest.mark.parametrize("interrupted", [False, True])
def test_checksums_are_those_of_the_files(tmp_path, monkeypatch, kwargs, interrupted):
    """Those of frames are computed while they are written, if the number of rows comes out as expected."""
    original = episodes.run_episode
    if interrupted:
        monkeypatch.setattr(episodes, "run_episode", lambda *args: 1 / 0 if args[3] == 9 else original(*args))
        with pytest.raises(ZeroDivisionError):
            small(tmp_path / "data", 251, environment_kwargs=kwargs)
        monkeypatch.undo()
    rollouts = small(tmp_path / "data", 251, environment_kwargs=kwargs)
    for name, sha256 in rollouts.info["sha256"].items():
        assert checksum(rollouts.path / f"{name}.npy") == sha256, name


def test_long_episodes(tmp_path):
    """Longer than the room that is set aside at first; oracle: the environment, put into the recorded states."""
    rollouts = small(tmp_path / "data", 3 * 300, max_steps=300, environment_kwargs={**SMALL, "max_steps": 400})
    assert np.diff(rollouts.episodes).tolist() == [301] * 3
    env = make_environment(ID, SMALL).unwrapped
    env.reset(seed=0)
    for row in (0, 127, 128, 255, 256, 300, 301, 301 + 128, 902):
        np.testing.assert_array_equal(env.observe(rollouts.factors[row]), rollouts.observations[row])


def test_two_recorders_of_one_data_set(tmp_path):
    with FileLock(tmp_path / ".data.partial.lock"), pytest.raises(DataError, match="another process"):
        small(tmp_path / "data")


def test_the_default_folder_depends_on_the_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rollouts = record(ID, 60, 0, max_steps=20, workers=1, environment_kwargs=SMALL)
    name = recording_name(RecordConfig(ID, 60, 0, max_steps=20, environment_kwargs=SMALL))
    assert rollouts.path.resolve() == tmp_path / "data" / name
    assert name.startswith("srl_bench_MobileRobot-v0-")
    assert name != recording_name(RecordConfig(ID, 60, 1, max_steps=20, environment_kwargs=SMALL))


def test_an_edited_plug_in_changes_the_recordings_of_its_environments_only(tmp_path, monkeypatch):
    plugin = tmp_path / "my_environment.py"
    plugin.write_text("import gymnasium\ngymnasium.register('tests/Plugged-v0', 'tests.plugged:Environment')\n")
    configs = [RecordConfig("tests/Plugged-v0", policy="random"), RecordConfig(ID)]
    before = [recording_name(config, [str(plugin)]) for config in configs]
    assert [recording_name(config, [str(plugin)]) for config in configs] == before
    assert before[0].startswith("tests_Plugged-v0-")
    assert recording_name(configs[0]) != before[0]
    assert recording_name(configs[1]) == before[1]
    plugin.write_text(plugin.read_text() + "# edited\n")
    _source_digest.cache_clear()
    after = [recording_name(config, [str(plugin)]) for config in configs]
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, True]
    gymnasium.registry.pop("tests/Plugged-v0")


def test_a_recording_is_named_after_the_weights_of_its_agent(tmp_path):
    (tmp_path / "run" / "agent").mkdir(parents=True)
    weights = tmp_path / "run" / "agent" / "policy.safetensors"
    names = []
    for content in (b"one", b"other", b"one"):
        weights.write_bytes(content)
        (tmp_path / "ppo.zip").write_bytes(content)
        for policy in (str(tmp_path / "run"), f"ppo:{tmp_path / 'ppo.zip'}"):
            names.append(recording_name(RecordConfig(ID, 60, 0, policy=policy)))
    assert names[:2] == names[4:]
    assert len(set(names)) == 4


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"environment": "srl_bench/MobilRobot-v0"}, UnknownNameError, "srl_bench/MobileRobot-v0"),
        ({"environment": "Pong"}, UnknownNameError, "srl_bench/MobileRobot-v0"),
        ({"environment_kwargs": {"image_sise": 48}}, ConfigError, "image_sise.*image_size"),
        ({"environment_kwargs": {"image_size": 10}}, ConfigError, "image_size=10.*48 to 256"),
        ({"environment_kwargs": {"obs_type": "state"}}, ConfigError, "only image observations"),
        ({"environment_kwargs": {"obs_type": "pixels+state"}}, ConfigError, "only image observations"),
        ({"policy": "greedy"}, ConfigError, "random, scripted"),
        ({"frames": 0}, ConfigError, "frames.*at least 1"),
        ({"max_steps": 0}, ConfigError, "max_steps.*at least 1"),
        ({"noise": 1.5}, ConfigError, "noise"),
        ({"agent_reads": "ground_truth"}, ConfigError, "for an agent in a file"),
        ({"max_stepz": 5}, ConfigError, "max_stepz.*max_steps"),
        ({"frames": 30}, DataError, "at least 3"),
        ({"frames": 60.5}, ConfigError, "frames=60.5.*integer"),
        ({"seed": "zero"}, ConfigError, "seed='zero'.*integer"),
        ({"policy": 3}, ConfigError, "policy=3.*string"),
        ({"environment_kwargs": {"image_size": 64j}}, ConfigError, "64j.*JSON"),
        ({"environment_kwargs": {"table": {1: 7}}}, ConfigError, "1: 7.*JSON"),
        ({"environment_kwargs": {"max_steps": 25.0}}, ConfigError, "max_steps=25.0.*integer"),
    ],
)
def test_refusals_name_what_is_accepted(tmp_path, arguments, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        record(**{"out": tmp_path / "data", "frames": 60, "workers": 1, **arguments})
    assert list(tmp_path.iterdir()) == []


class Foreign(gymnasium.Env):
    """A third party's image environment without the attributes that recording reads."""

    observation_space = gymnasium.spaces.Box(0, 255, (48, 48, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {"state": np.zeros(1)}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {"state": np.zeros(1)}


class ForeignActions(Foreign):
    action_space = gymnasium.spaces.MultiDiscrete([2, 2])


class Unbounded(Foreign):
    action_space = gymnasium.spaces.Box(-np.inf, 1, (2,))


class Wide(Foreign):
    """Actions in [0, 10] x [-2, 2] x {3}; the state shows the last one."""

    action_space = gymnasium.spaces.Box(np.array([0, -2, 3]), np.array([10, 2, 3]), dtype=np.float64)
    factors = tuple(Factor(name, "m", 0, 1) for name in "xyz")

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {"state": action}

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0], {"state": np.zeros(3)}


class Open(gymnasium.Env):
    """An environment that passes arguments on."""

    def __init__(self, base=1, **kwargs):
        self.given = kwargs


def test_an_environment_with_open_arguments_gets_them(monkeypatch):
    monkeypatch.delitem(gymnasium.registry, "tests/Open-v0", raising=False)
    gymnasium.register("tests/Open-v0", Open)
    assert make_environment("tests/Open-v0", {"size": 3}).unwrapped.given == {"size": 3}


@pytest.mark.parametrize(
    ("cls", "message"),
    [(Foreign, "factors"), (ForeignActions, "Discrete and Box"), (Unbounded, "finite bounds")],
)
def test_an_environment_that_cannot_be_recorded_says_why(tmp_path, monkeypatch, cls, message):
    monkeypatch.delitem(gymnasium.registry, "tests/Foreign-v0", raising=False)
    gymnasium.register("tests/Foreign-v0", cls)
    with pytest.raises(ConfigError, match=message):
        record("tests/Foreign-v0", 60, out=tmp_path / "data", workers=1)


def test_continuous_actions_are_scaled_by_their_bounds(tmp_path, monkeypatch):
    """Oracle: the environment was given x = 5 + 5 a, y = 2 b and 3."""
    monkeypatch.delitem(gymnasium.registry, "tests/Wide-v0", raising=False)
    gymnasium.register("tests/Wide-v0", Wide)
    rollouts = record("tests/Wide-v0", 60, max_steps=20, out=tmp_path / "data", workers=1)
    assert rollouts.info["action_bounds"] == [[0, -2, 3], [10, 2, 3]]
    rows = np.concatenate([rollouts.transitions(split) for split in ("train", "val", "test")])
    expected = rollouts.factors[rows + 1] / [5, 2, 1] - [1, 0, 3]
    np.testing.assert_allclose(rollouts.actions[rows], expected, atol=1e-6)
    assert np.abs(rollouts.actions).max(0).tolist() == pytest.approx([1, 1, 0], abs=0.1)
    assert not rollouts.actions[rollouts.episodes[1:] - 1].any()


@pytest.mark.parametrize("workers", [0, -1])
def test_numbers_of_workers_are_checked(workers, tmp_path):
    with pytest.raises(ConfigError, match="workers must be at least 1"):
        record(frames=100, out=tmp_path / "data", workers=workers)


def test_views_are_recorded_side_by_side(tmp_path):
    views = ("top", "side", "onboard")
    rollouts = small(tmp_path / "data", environment_kwargs={**SMALL, "views": views})
    assert rollouts.info["views"] == list(views)
    assert rollouts.views.shape == (len(rollouts), 2, 48, 48, 3)
    assert small(tmp_path / "one").views is None
    np.testing.assert_array_equal(rollouts.observations, small(tmp_path / "one").observations)
    env = make_environment(ID, {**SMALL, "views": views}).unwrapped
    env.reset(seed=0)
    for row in (0, 17, 60, len(rollouts) - 1):
        seen = env.observe(rollouts.factors[row])
        np.testing.assert_array_equal(rollouts.observations[row], seen["top"])
        np.testing.assert_array_equal(rollouts.views[row], np.stack([seen["side"], seen["onboard"]]))


def test_domains_are_recorded_by_turns_and_labelled(tmp_path):
    both = small(tmp_path / "both", 120, domains=("sim", "twin"))
    sim = small(tmp_path / "sim", 120)
    first = both.domain[both.episodes[:-1]]
    assert first.tolist() == [0, 1, 0, 1, 0, 1]
    assert (both.domain == first[both.episode_ids]).all()
    np.testing.assert_array_equal(both.factors, sim.factors)
    same = (both.observations == sim.observations).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(same, both.domain == 0)


def test_what_one_domain_varies_is_fixed_in_the_others(tmp_path):
    kwargs = {"image_size": 48, "randomise": "mild", "distractors": 1}
    data = small(tmp_path / "data", 120, domains=("randomised", "twin"), environment_kwargs=kwargs)
    alone = small(tmp_path / "alone", 120, environment_kwargs={**kwargs, "domain": "randomised"})
    drawn = data.domain == 0
    np.testing.assert_array_equal(data.factors[drawn], alone.factors[drawn])
    names = [factor.name for factor in data.factor_table]
    assert names == [factor.name for factor in alone.factor_table]
    for name, column, factor in zip(names, data.factors.T, data.factor_table, strict=True):
        assert factor.low <= column.min() <= column.max() <= factor.high
        if factor.role == "nuisance":
            assert set(column[~drawn]) == {getattr(TWIN, name)}
            assert len(set(column[drawn])) > 1
    # where agents act and simulators are put into states
    assert data.environment_kwargs == {**kwargs, "domain": "randomised"}
    Simulator(pretrain("ground_truth", data)).close()
    shared = [factor.role != "nuisance" for factor in data.factor_table]
    np.testing.assert_array_equal(data.factors[:, shared], alone.factors[:, shared])


def test_domains_of_different_factors_do_not_go_together():
    first, second = (make_environment(ID, {"distractors": count}) for count in (0, 1))
    with pytest.raises(ConfigError, match="sim, twin have different factors"):
        _common_table({"sim": first, "twin": second})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domains": ("sim", "sim")}, "different"),
        ({"domains": ("sim", "real")}, "domain='real'"),
        ({"domains": ("sim", "twin"), "environment_kwargs": {"randomise": "mild"}}, "randomise needs 'randomised'"),
        ({"domains": ("sim",), "environment_kwargs": {"domain": "twin"}}, "together"),
    ],
)
def test_domains_that_do_not_go_together(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        small(tmp_path / "data", **options)


def test_mixed_episodes_range_from_expert_to_random(tmp_path):
    rollouts = small(tmp_path / "data", 2000, policy="mixed", max_steps=100)
    returns = np.add.reduceat(rollouts.rewards, rollouts.episodes[:-1])
    expert = small(tmp_path / "expert", 2000, policy="scripted", noise=0.0, max_steps=100)
    best = np.add.reduceat(expert.rewards, expert.episodes[:-1]).mean()
    assert returns.min() < 0.2 * best < 0.8 * best < returns.max()


@pytest.mark.parametrize("reads", ["pixels", "ground_truth", "encoder"])
def test_an_agent_records(tmp_path, mobile, reads):
    """Oracle: the agent itself, stepped by hand."""
    from stable_baselines3 import PPO

    kwargs = SMALL if reads != "ground_truth" else {"obs_type": "state"}
    venv = make_vec_env(ID, 1, **kwargs)
    encoder = None
    if reads == "encoder":
        encoder = pretrain("random", mobile, latent_dim=4, seed=0)
        encoder.save(tmp_path / "encoder")
        venv = encode(venv, encoder)
    options = {"net_arch": [16]}
    agent = PPO("CnnPolicy" if reads == "pixels" else "MlpPolicy", venv, seed=1, policy_kwargs=options, device="cpu")
    agent.save(tmp_path / "agent.zip")
    source = str(tmp_path / "encoder") if encoder else reads
    policy = f"ppo:{tmp_path / 'agent.zip'}"
    rollouts = small(tmp_path / "data", 60, policy=policy, noise=0.0, agent_reads=source)
    for row in rollouts.transitions("train")[:15]:
        seen = rollouts.observations[row] if reads == "pixels" else rollouts.factors[row].astype(np.float32)
        seen = encoder.encode(rollouts.observations[row]) if encoder else seen
        assert rollouts.actions[row] == agent.predict(seen, deterministic=True)[0]


@pytest.mark.parametrize(
    ("policy", "error", "message"),
    [
        ("ppo:absent.zip", ConfigError, "absent.zip"),
        ("ppo:{junk}", DataError, "holds no agent"),
        ("acktr:{junk}", UnknownNameError, "ppo"),
        ("ppo:{other}", ConfigError, "does not fit"),
    ],
)
def test_agents_that_cannot_be_read(tmp_path, policy, error, message):
    from stable_baselines3 import PPO

    (tmp_path / "junk.zip").write_bytes(b"junk")
    PPO("MlpPolicy", "CartPole-v1", device="cpu").save(tmp_path / "other.zip")
    policy = policy.format(junk=tmp_path / "junk.zip", other=tmp_path / "other.zip")
    with pytest.raises(error, match=message):
        small(tmp_path / "data", policy=policy)


def test_the_file_of_an_agent_executes_nothing(tmp_path):
    """SB3's own loader unpickles; a policy option that has to be unpickled is refused."""
    from stable_baselines3 import PPO
    from torch import nn

    agent = PPO("MlpPolicy", make_vec_env(ID, 1, obs_type="state"), policy_kwargs={"activation_fn": nn.ReLU})
    agent.save(tmp_path / "agent.zip")
    with pytest.raises(DataError, match="as code"):
        small(tmp_path / "data", policy=f"ppo:{tmp_path / 'agent.zip'}", agent_reads="ground_truth")
