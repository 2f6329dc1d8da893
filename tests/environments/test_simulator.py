"""What every simulated robot must do, whatever its task."""

import hashlib
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pybullet as p
import pytest
from gymnasium.envs.registration import load_env_creator
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from srl_bench.config import RecordConfig
from srl_bench.environments import make_environment, merged_arguments
from srl_bench.environments.mobile_robot import MobileRobot
from srl_bench.environments.options import register
from srl_bench.errors import ConfigError, UnknownNameError
from srl_bench.policies import make_policy
from srl_bench.record import with_policy

IDS = {
    load_env_creator(spec.entry_point): name
    for name, spec in gymnasium.registry.items()
    if name.startswith("srl_bench/")
}
ENVIRONMENTS = tuple(IDS)
OPTIONS = [
    (cls, action_type, obs_type, reward_type, views)
    for cls in ENVIRONMENTS
    for action_type in cls.action_sizes
    for obs_type, reward_type, views in (
        ("pixels", "sparse", 1),
        ("state", "shaped", 1),
        ("pixels+state", "sparse", 2),
        ("pixels", "shaped", 2),
    )
]
DOMAINS = (
    {},
    {"domain": "twin"},
    {"domain": "randomised", "randomise": "mild", "distractors": 1},
    {"domain": "randomised", "randomise": "strong", "distractors": 3},
)

every_environment = pytest.mark.parametrize("cls", ENVIRONMENTS, ids=lambda cls: cls.__name__)
every_domain = pytest.mark.parametrize("domain", DOMAINS, ids=["sim", "twin", "mild", "strong"])


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


@pytest.mark.parametrize(("cls", "action_type", "obs_type", "reward_type", "views"), OPTIONS)
def test_gymnasium_and_sb3_accept_it(cls, action_type, obs_type, reward_type, views):
    options = {"action_type": action_type, "obs_type": obs_type, "reward_type": reward_type}
    options |= {"views": tuple(cls.cameras)[:views], "image_size": 48, "distractors": views - 1}
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
        register(IDS[cls], "elsewhere:Other")
    with pytest.raises(TypeError, match="unheard_of"):
        gymnasium.make(IDS[cls], unheard_of=1)
    with pytest.raises(UnknownNameError, match="image_size"):
        make_environment(IDS[cls], {"image_sise": 64})


@every_environment
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"obs_type": "image"}, "obs_type='image'.*'pixels', 'state', 'pixels\\+state'"),
        ({"action_type": "teleport"}, "action_type='teleport'.*choose one of '"),
        ({"domain": "real"}, "domain='real'.*'sim', 'twin', 'randomised'"),
        ({"randomise": "weak"}, "randomise='weak'.*'none', 'mild', 'strong'"),
        ({"randomise": "mild", "domain": "twin"}, "randomise='mild' needs domain='randomised', not 'twin'"),
        ({"distractors": 9}, "distractors=9.*from 0 to 8"),
        ({"views": ("inside",)}, "views='inside'"),
        ({"views": ()}, "views=\\(\\)"),
        ({"views": "top"}, "views='top' is not accepted; list different ones of "),
        ({"views": 5}, "views=5 is not accepted"),
        ({"views": np.array(["top", "top"])}, "views=array.* is not accepted"),
        ({"domain": np.array(["sim", "twin"])}, "domain=array.* is unknown"),
        ({"image_size": np.array([64, 64])}, "image_size=array.* is not accepted"),
        ({"reward_type": "dense"}, "reward_type='dense'.*'sparse', 'shaped'"),
        ({"render_mode": "ansi"}, "render_mode='ansi'.*None, 'rgb_array', 'human'"),
        ({"image_size": 47}, "image_size=47.*from 48 to 256"),
        ({"image_size": 257}, "image_size=257"),
        ({"image_size": 64.0}, "image_size=64.0"),
        ({"max_steps": 0}, "max_steps=0"),
    ],
)
def test_bad_options_are_named(cls, options, message):
    with pytest.raises(ConfigError, match=message):
        cls(**options)


@pytest.mark.parametrize("mode", [5, np.array(["human", "rgb_array"])])
def test_a_mode_of_rendering_is_a_name(mode):
    with pytest.raises(ConfigError, match=r"render_mode=.* is not accepted"):
        make_environment("srl_bench/MobileRobot-v0", {"render_mode": mode})


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
    env.step(env.action_space.sample())


@every_environment
@pytest.mark.parametrize("size", [64, 128])
def test_layers_equal_the_plain_picture(cls, size):
    env = cls(image_size=size)
    rng = np.random.default_rng(size)
    for state in reachable_states(env, 15):
        np.testing.assert_array_equal(env.observe(state), env.render_plain())
    for _ in range(10):
        np.testing.assert_array_equal(env.observe(env.sample_factors(rng)), env.render_plain())


@every_environment
@every_domain
def test_layers_equal_the_plain_picture_in_every_domain_and_view(cls, domain):
    env = cls(image_size=64, views=tuple(cls.cameras), **domain)
    for seed in range(3):
        env.reset(seed=seed)
        pictures = env.step(env.action_space.sample())[0]
        for view, picture in pictures.items() if len(env.views) > 1 else [(env.views[0], pictures)]:
            np.testing.assert_array_equal(picture, env.render_plain(view=view))


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
@every_domain
def test_factors_round_trip(cls, domain):
    env = cls(obs_type="state", **domain)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    tolerances = np.array([factor.tolerance for factor in env.factors])
    for _ in range(200):
        values = np.array([factor.sample(rng) for factor in env.factors])
        env.set_factors(values)
        assert (np.abs(env.get_factors() - values) <= tolerances).all()
    for state in reachable_states(env, 50):
        env.set_factors(state)
        # factors that follow from others are exact, too, where the others agree with them
        np.testing.assert_allclose(env.get_factors(), state, rtol=0, atol=1e-6)


@every_environment
@every_domain
def test_random_states_are_in_range_and_possible(cls, domain):
    env = cls(obs_type="state", **domain)
    rng = np.random.default_rng(1)
    for _ in range(20):
        state = env.sample_factors(rng)
        assert all(f.low <= value <= f.high for f, value in zip(env.factors, state, strict=True))
        assert env.possible(state)


@pytest.mark.parametrize(("cls", "action_type"), [(cls, name) for cls in ENVIRONMENTS for name in cls.action_sizes])
def test_what_happens_is_possible_and_what_is_out_of_range_is_not(cls, action_type):
    env = cls(obs_type="state", action_type=action_type, distractors=1)
    for state in reachable_states(env, 40):
        assert env.possible(state)
        beyond = state.copy()
        beyond[-1] = env.factors[-1].high + 0.1
        assert not env.possible(beyond)


@every_environment
def test_factors_have_names_of_their_own(cls):
    names = [factor.name for factor in cls(domain="randomised", distractors=2).factors]
    assert len(set(names)) == len(names)


@every_environment
def test_states_lie_in_the_declared_ranges(cls):
    env = cls(obs_type="state", distractors=2)
    states = np.array(reachable_states(env, 300))
    low, high = (np.array([getattr(factor, end) for factor in env.factors]) for end in ("low", "high"))
    assert (states >= low).all()
    assert (states <= high).all()
    episode = [factor.scope == "episode" for factor in env.factors]
    start = env.reset(seed=1)[1]["state"]
    for _ in range(20):
        state = env.step(env.action_space.sample())[-1]["state"]
        np.testing.assert_array_equal(state[episode], start[episode])


@pytest.mark.parametrize(("cls", "action_type"), [(cls, name) for cls in ENVIRONMENTS for name in cls.action_sizes])
@settings(max_examples=6, deadline=None, derandomize=True)
@given(data=st.data())
def test_whatever_is_done_states_stay_finite_and_in_their_ranges(cls, action_type, data):
    """Runs of equal extreme actions reach further than random ones."""
    env = cls(obs_type="state", action_type=action_type, distractors=1)
    env.reset(seed=data.draw(st.integers(0, 1000)))
    low, high = (np.array([getattr(factor, end) for factor in env.factors]) for end in ("low", "high"))
    size = env.action_sizes[action_type]
    extremes = (
        st.integers(0, size - 1) if action_type == "discrete" else st.tuples(*[st.sampled_from((-1, 0, 1))] * size)
    )
    for action in data.draw(st.lists(extremes, min_size=6, max_size=6)):
        for _ in range(20):
            _, reward, terminated, truncated, info = env.step(action)
            assert np.isfinite(info["state"]).all()
            assert np.isfinite(reward)
            assert (info["state"] >= low).all(), dict(zip(env.factors, info["state"], strict=True))
            assert (info["state"] <= high).all(), dict(zip(env.factors, info["state"], strict=True))
            if terminated or truncated:
                return


@every_environment
def test_the_twin_looks_different_and_moves_alike(cls):
    sim, twin, strong = cls(), cls(domain="twin"), cls(domain="randomised", distractors=2)
    rng = np.random.default_rng(0)
    differences = []
    for seed in range(3):
        pairs = [env.reset(seed=seed) for env in (sim, twin, strong)]
        for _ in range(6):
            (ours, state), (theirs, same), (_, longer) = pairs
            differences.append(np.abs(ours.astype(float) - theirs).mean() / 255)
            np.testing.assert_array_equal(state["state"], same["state"])
            np.testing.assert_array_equal(state["state"], longer["state"][: len(sim.factors)])
            action = sim.scripted_action(rng, 0.5)
            pairs = [(env_step[0], env_step[-1]) for env_step in (env.step(action) for env in (sim, twin, strong))]
    assert np.mean(differences) > 0.05


@every_environment
@pytest.mark.parametrize("level", ["mild", "strong"])
def test_randomised_looks_differ_between_episodes(cls, level):
    env = cls(domain="randomised", randomise=level)
    sim = cls()
    state = sim.reset(seed=0)[1]["state"]
    pictures = []
    for seed in range(6):
        factors = env.reset(seed=seed)[1]["state"]
        factors[: len(state)] = state
        pictures.append(env.observe(factors).astype(float) / 255)
        assert all(factor.role == "nuisance" for factor in env.factors[len(state) :])
    assert np.mean([np.abs(a - b).mean() for a in pictures for b in pictures if a is not b]) > 0.05


def test_how_much_is_randomised_goes_with_its_domain():
    kwargs = {"domain": "randomised", "randomise": "mild", "distractors": 1}
    assert merged_arguments(kwargs, {"domain": "twin"}) == {"domain": "twin", "distractors": 1}
    assert merged_arguments(kwargs, {"distractors": 2}) == {**kwargs, "distractors": 2}
    assert merged_arguments({"randomise": "mild"}, {"domain": "randomised"})["randomise"] == "mild"
    assert kwargs["randomise"] == "mild"


@every_environment
def test_no_randomisation_is_the_simulator(cls):
    a, b = cls(domain="randomised", randomise="none"), cls()
    np.testing.assert_array_equal(a.reset(seed=4)[0], b.reset(seed=4)[0])
    assert a.factors == b.factors


@every_environment
def test_distractors_move_and_are_seen(cls):
    env, without = cls(distractors=2), cls()
    first, info = env.reset(seed=0)
    assert (first != without.reset(seed=0)[0]).any()
    later = env.step(env.action_space.sample())[-1]
    added = slice(len(without.factors), None)
    assert [factor.role for factor in env.factors[added]] == ["distractor"] * 4
    assert (info["state"][added] != later["state"][added]).all()


@every_environment
def test_the_expert_solves_the_task(cls):
    env = cls(obs_type="state")
    rng = np.random.default_rng(0)
    solved = []
    for seed in range(20):
        env.reset(seed=seed)
        for _ in range(min(env.max_steps, 300)):
            _, _, terminated, truncated, info = env.step(env.scripted_action(rng, 0.0))
            if terminated or truncated or info["is_success"]:
                break
        solved.append(info["is_success"])
    assert np.mean(solved) >= 0.9


@pytest.mark.slow
@every_environment
def test_the_default_recording_covers_the_range_of_every_factor(cls):
    """Of twenty equal parts of each range; over three seeds .85 of one factor of CartPolePixels, else .9 or more."""
    config = with_policy(RecordConfig(environment=IDS[cls]))
    env = cls(obs_type="state", max_steps=config.max_steps)
    start, seen, episode = make_policy(config, env), [], 0
    while len(seen) < config.frames:
        observation, info = env.reset(seed=episode)
        act, ended = start(np.random.default_rng(episode)), False
        episode += 1
        while not ended:
            observation, _, terminated, truncated, info = env.step(act(observation, info))
            seen.append(info["state"])
            ended = terminated or truncated
    shares = [
        len(np.unique(column)) / (factor.high - factor.low + 1)
        if factor.kind == "categorical"
        else np.count_nonzero(np.histogram(column, 20, (factor.low, factor.high))[0]) / 20
        for factor, column in zip(env.factors, np.transpose(seen), strict=True)
    ]
    assert episode >= 200
    assert dict(zip([factor.name for factor in env.factors], shares, strict=True)) == pytest.approx(
        {factor.name: 1.0 for factor in env.factors}, abs=0.2
    )


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
        b.step(b.action_space.sample())
    np.testing.assert_array_equal(a.render(), before[0])
    np.testing.assert_array_equal(a.get_factors(), before[1])
    b.close()
    a.step(a.action_space.sample())
    np.testing.assert_array_equal(a.observe(a.get_factors()), a.render_plain())


@every_environment
def test_close_gives_the_clients_back(cls):
    for _ in range(10):
        env = cls()
        env.reset(seed=0)
        env.render_plain()
        clients = [layer.client for layer in env._scene._layers.values()]
        assert len(clients) >= 2
        assert all(p.isConnected(client) for client in clients)
        env.close()
        env.close()
        assert not any(p.isConnected(client) for client in clients)


def test_forgotten_environments_disconnect():
    env = MobileRobot()
    client = env._world
    del env
    assert not p.isConnected(client)


@every_environment
@pytest.mark.parametrize("steps", [1, 7])
def test_truncation_at_max_steps(cls, steps):
    env = cls(obs_type="state", max_steps=steps)
    for seed in range(2):
        env.reset(seed=seed)
        endings = [env.step(4 % env.action_space.n)[2:4] for _ in range(steps)]
        assert endings == [(False, False)] * (steps - 1) + [(False, True)]


def test_import_is_light():
    code = "import sys, srl_bench.environments; print({'torch', 'stable_baselines3'} & set(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "set()" in output
