"""What every simulated robot must do, whatever its task."""

import hashlib
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pybullet as p
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import srl_bench.environments
from srl_bench.environments.kuka_button import KukaButton
from srl_bench.environments.mobile_robot import MobileRobot
from srl_bench.errors import ConfigError

ENVIRONMENTS = (MobileRobot, KukaButton)
IDS = {MobileRobot: "srl_bench/MobileRobot-v0", KukaButton: "srl_bench/KukaButton-v0"}
OPTIONS = [
    (cls, action_type, obs_type, reward_type)
    for cls in ENVIRONMENTS
    for action_type in cls.action_sizes
    for obs_type, reward_type in (("pixels", "sparse"), ("state", "shaped"), ("pixels+state", "sparse"))
]

every_environment = pytest.mark.parametrize("cls", ENVIRONMENTS)


def episode_digest(env, seed, steps=40):
    """Hash of all observations, factors, rewards and endings of one random episode."""
    digest = hashlib.sha256()
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    for _ in range(steps):
        digest.update(observation.tobytes() + info["state"].tobytes())
        observation, reward, terminated, truncated, info = env.step(env.unwrapped.scripted_action(rng, 0.7))
        digest.update(repr((reward, terminated, truncated)).encode())
        if terminated or truncated:
            break
    digest.update(observation.tobytes())
    return digest.hexdigest()


def random_factors(env, rng):
    return np.array([rng.uniform(factor.low, factor.high) for factor in env.factors])


def reachable_states(env, count):
    """Factors of states met by a random policy, over several episodes."""
    rng = np.random.default_rng(0)
    states = []
    while len(states) < count:
        _, info = env.reset(seed=len(states))
        for _ in range(8):
            info = env.step(env.scripted_action(rng, 0.8))[-1]
            states.append(info["state"])
    return states[:count]


@pytest.mark.parametrize(("cls", "action_type", "obs_type", "reward_type"), OPTIONS)
def test_gymnasium_and_sb3_accept_it(cls, action_type, obs_type, reward_type):
    options = {"action_type": action_type, "obs_type": obs_type, "reward_type": reward_type}
    env = gymnasium.make(IDS[cls], render_mode="rgb_array", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # the state is unbounded, and the checkers advise against infinite bounds
        warnings.filterwarnings("ignore", message=".*Box observation space (min|max)imum value is.*infinity.*")
        check_env(env.unwrapped)
        check_env_sb3(env.unwrapped)
    env.close()


@every_environment
def test_registration(cls):
    assert gymnasium.spec(IDS[cls]).entry_point == f"{cls.__module__}:{cls.__name__}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        srl_bench.environments.simulator.register(IDS[cls], "elsewhere:Other")
    with pytest.raises(TypeError, match="unheard_of"):
        gymnasium.make(IDS[cls], unheard_of=1)


@every_environment
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"obs_type": "image"}, "obs_type='image'.*'pixels', 'state', 'pixels\\+state'"),
        ({"action_type": "torque"}, "action_type='torque'.*'discrete', 'continuous'"),
        ({"reward_type": "dense"}, "reward_type='dense'.*'sparse', 'shaped'"),
        ({"render_mode": "human"}, "render_mode='human'.*None, 'rgb_array'"),
        ({"image_size": 47}, "image_size=47.*from 48 to 256"),
        ({"image_size": 257}, "image_size=257"),
        ({"image_size": 64.0}, "image_size=64.0"),
        ({"max_steps": 0}, "max_steps=0"),
    ],
)
def test_bad_options_are_named(cls, options, message):
    with pytest.raises(ConfigError, match=message):
        cls(**options)


def test_reset_takes_no_options():
    with pytest.raises(ConfigError, match="start"):
        MobileRobot().reset(options={"start": (1, 1)})


@pytest.mark.parametrize(("cls", "action_type"), [(cls, name) for cls in ENVIRONMENTS for name in cls.action_sizes])
def test_bad_actions_are_errors(cls, action_type):
    env = cls(action_type=action_type, obs_type="state")
    env.reset(seed=0)
    size = env.action_sizes[action_type]
    bad = [-1, size, 0.5] if action_type == "discrete" else [np.zeros(size + 1), np.full(size, np.nan), 0.0]
    for action in bad:
        with pytest.raises(ConfigError, match="is not accepted"):
            env.step(action)


@every_environment
@pytest.mark.parametrize("obs_type", ["pixels", "state", "pixels+state"])
def test_observations(cls, obs_type):
    env = cls(obs_type=obs_type, image_size=48)
    observation, info = env.reset(seed=1)
    for _ in range(3):
        assert info["state"].dtype == np.float64
        assert info["state"].shape == (len(env.factors),)
        parts = observation if obs_type == "pixels+state" else {obs_type: observation}
        if "pixels" in parts:
            assert parts["pixels"].flags.c_contiguous
            np.testing.assert_array_equal(parts["pixels"], env.render_plain())
        if "state" in parts:
            np.testing.assert_array_equal(parts["state"], info["state"].astype(np.float32))
        observation, *_, info = env.step(env.action_space.sample())


@every_environment
def test_state_observations_draw_nothing(cls, monkeypatch):
    monkeypatch.setattr(p, "getCameraImage", lambda *_, **__: pytest.fail("a picture was drawn"))
    env = cls(obs_type="state")
    env.reset(seed=0)
    env.step(0)


@every_environment
@pytest.mark.parametrize("size", [64, 128])
def test_layers_equal_the_plain_picture(cls, size):
    env = cls(image_size=size)
    rng = np.random.default_rng(size)
    for state in reachable_states(env, 15):
        np.testing.assert_array_equal(env.observe(state), env.render_plain())
    for _ in range(10):
        np.testing.assert_array_equal(env.observe(random_factors(env, rng)), env.render_plain())


@every_environment
def test_layers_equal_the_plain_picture_while_moving(cls):
    env = cls(render_mode="rgb_array")
    rng = np.random.default_rng(3)
    observation, _ = env.reset(seed=3)
    for _ in range(20):
        np.testing.assert_array_equal(observation, env.render_plain())
        observation = env.step(env.scripted_action(rng, 0.3))[0]
    np.testing.assert_array_equal(env.render(), env.render_plain(224))


@every_environment
def test_render(cls):
    assert cls().render() is None
    for size, expected in ((64, 224), (256, 256)):
        env = cls(image_size=size, render_mode="rgb_array")
        env.reset(seed=0)
        assert env.render().shape == (expected, expected, 3)


@every_environment
def test_factors_round_trip(cls):
    env = cls(obs_type="state")
    for state in reachable_states(env, 200):
        env.set_factors(state)
        np.testing.assert_allclose(env.get_factors(), state, rtol=0, atol=1e-9)


@every_environment
def test_observe_repeats_what_was_seen(cls):
    env = cls()
    rng = np.random.default_rng(0)
    seen = [env.reset(seed=0)]
    for _ in range(10):
        observation, *_, info = env.step(env.scripted_action(rng, 0.5))
        seen.append((observation, info))
    for observation, info in reversed(seen):
        np.testing.assert_array_equal(env.observe(info["state"]), observation)


@every_environment
def test_bad_factors_are_errors(cls):
    env = cls()
    for bad in ([0.0], np.full(len(env.factors), np.nan)):
        with pytest.raises(ConfigError, match=env.factors[-1].name):
            env.set_factors(bad)


@every_environment
def test_same_seed_same_bytes(cls):
    used, fresh, other = cls(), cls(), cls()
    rng = np.random.default_rng(5)
    used.reset(seed=99)
    for _ in range(60):
        used.step(used.scripted_action(rng, 0.2))
    digest = episode_digest(fresh, 7)
    assert episode_digest(used, 7) == digest
    assert episode_digest(fresh, 7) == digest
    assert episode_digest(other, 8) != digest


def test_same_bytes_in_another_process():
    code = (
        f"import sys; sys.path.insert(0, {str(__file__.rsplit('/', 1)[0])!r})\n"
        "from test_simulator import ENVIRONMENTS, episode_digest\n"
        "print(*(episode_digest(cls(), 7) for cls in ENVIRONMENTS))"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.splitlines()[-1].split() == [episode_digest(cls(), 7) for cls in ENVIRONMENTS]


@every_environment
def test_environments_of_one_process_share_nothing(cls):
    a, b = cls(render_mode="rgb_array"), cls()
    a.reset(seed=1)
    before = a.render(), a.get_factors()
    b.reset(seed=2)
    for _ in range(5):
        b.step(0)
    np.testing.assert_array_equal(a.render(), before[0])
    np.testing.assert_array_equal(a.get_factors(), before[1])
    b.close()
    a.step(0)
    np.testing.assert_array_equal(a._frame(64), a.render_plain())


@every_environment
def test_close_gives_the_clients_back(cls):
    for _ in range(10):
        env = cls()
        env.reset(seed=0)
        env.render_plain()
        clients = list(env._clients)
        assert len(clients) == 3
        assert all(p.isConnected(client) for client in clients)
        env.close()
        env.close()
        assert not any(p.isConnected(client) for client in clients)


def test_forgotten_environments_disconnect():
    env = MobileRobot()
    (client,) = env._clients
    del env
    assert not p.isConnected(client)


@every_environment
@pytest.mark.parametrize("steps", [1, 7])
def test_truncation_at_max_steps(cls, steps):
    env = cls(obs_type="state", max_steps=steps)
    for seed in range(2):
        env.reset(seed=seed)
        endings = [env.step(4 if cls is KukaButton else 0)[2:4] for _ in range(steps)]
        assert endings == [(False, False)] * (steps - 1) + [(False, True)]


def test_import_is_light():
    code = "import sys, srl_bench.environments; print({'torch', 'stable_baselines3'} & set(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "set()" in output
