import gymnasium
import numpy as np
import pytest

from srl_bench import cli
from srl_bench.environments import environment_class, environment_ids, make_environment
from srl_bench.environments.mobile_robot import MobileRobot
from srl_bench.errors import ConfigError
from srl_bench.play import ARROWS, DOWN_KEYS, UP_KEYS, action_of, choose, keys_of, play

ENVIRONMENT = "srl_bench/MobileRobot-v0"
EVERY = [
    (name, action_type)
    for name in environment_ids()
    if name.startswith("srl_bench/")
    for action_type in environment_class(name).action_sizes
]
# what a window reads, less what starts an episode and ends the session
KEYS = [*set("abcdefghijklmnopqrstuvwxyz0123456789") - {"n", "x"}, *ARROWS]


def reachable(space):
    """Return the actions that come of one key at a time, held or pressed again, from the start of a session."""
    chosen, actions = [0], []
    for present in chosen:
        for key in KEYS:
            after = choose(space, {key}, present)
            actions.append(action_of(space, {key}, after))
            if after not in chosen:
                chosen.append(after)
    return [action for action in actions if action is not None]


@pytest.mark.parametrize(("environment", "action_type"), EVERY)
def test_every_action_has_keys(environment, action_type):
    env = make_environment(environment, {"obs_type": "state", "action_type": action_type})
    space = env.action_space
    size = environment_class(environment).action_sizes[action_type]
    actions = reachable(space)
    assert all(space.contains(action) for action in actions)
    if isinstance(space, gymnasium.spaces.Discrete):
        assert set(actions) == set(range(size))
    else:
        one_way = [*np.eye(size), *-np.eye(size)]
        np.testing.assert_array_equal(np.unique(actions, axis=0), np.unique([*one_way, np.zeros(size)], axis=0))
        np.testing.assert_array_equal(action_of(space, set(UP_KEYS)), np.ones(size))
        np.testing.assert_array_equal(action_of(space, set(DOWN_KEYS)), -np.ones(size))
    env.reset(seed=0)
    env.step(actions[-1])
    env.close()


def test_keys_that_are_held_step_through_many_actions():
    space, chosen, seen = gymnasium.spaces.Discrete(25), 0, []
    for down in [{"up"}] * 26 + [{"down"}] * 2 + [set()]:
        chosen = choose(space, down, chosen)
        assert action_of(space, down, chosen) is None
        seen.append(chosen)
    assert seen == [*range(1, 25), 24, 24, 23, 22, 22]
    assert action_of(space, {"right"}, chosen) == 22
    assert choose(space, {"down"}, 0) == 0
    assert choose(space, {"7"}, chosen) == action_of(space, {"7"}, 7) == 7
    assert choose(gymnasium.spaces.Discrete(10), {"up"}, 0) == 0


def test_numbers_go_to_their_bounds():
    space = gymnasium.spaces.Box(np.array([0, -3], np.float32), np.array([1, 1], np.float32))
    np.testing.assert_array_equal(action_of(space, {"q"}), [1, -1])
    np.testing.assert_array_equal(action_of(space, {"a", "s"}), [0, -3])


@pytest.mark.parametrize(
    "space",
    [
        gymnasium.spaces.Box(-1, 1, (9,)),
        gymnasium.spaces.Box(-np.inf, np.inf, (2,)),
        gymnasium.spaces.Box(-1, 1, (2, 2)),
        gymnasium.spaces.MultiDiscrete([2, 2]),
    ],
)
def test_spaces_without_keys(space):
    with pytest.raises(ConfigError, match="play takes Discrete actions, and a Box of up to 8 numbers"):
        keys_of(space)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (gymnasium.spaces.Discrete(2), ("actions 0 to 1", "the first 2 (right, left)")),
        (gymnasium.spaces.Discrete(10), ("actions 0 to 9", "the first 4 (right, left, up, down)")),
        (gymnasium.spaces.Discrete(25), ("up, down: choose one of the actions 0 to 24", "right: take it")),
        (gymnasium.spaces.Box(-1, 1, (3,)), ("q w e: ", "a s d: ")),
        (gymnasium.spaces.Box(-1, 1, (8,)), ("q w e r t y u i: ", "a s d f g h j k: ")),
    ],
)
def test_the_keys_are_named(space, words):
    assert all(word in keys_of(space) for word in words)


def test_the_help_names_the_keys(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["srl-bench", "play", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    words = " ".join(capsys.readouterr().out.split())
    assert " ".join(UP_KEYS) in words
    assert " ".join(DOWN_KEYS) in words
    assert all(arrow in words for arrow in ARROWS)


@pytest.mark.parametrize(
    ("down", "action"), [({"2"}, 2), ({"right"}, 0), ({"left"}, 1), ({"up"}, 2), ({"down"}, 3), (set(), None)]
)
def test_keys_of_discrete_actions(down, action):
    assert action_of(gymnasium.spaces.Discrete(4), down) == action
    later = action_of(gymnasium.spaces.Discrete(4, start=-2), down)
    assert later == (action if action is None else action - 2)


@pytest.mark.parametrize(
    ("down", "action"), [({"q"}, [1, 0]), ({"a", "w"}, [-1, 1]), ({"q", "a"}, [0, 0]), ({"e"}, [0, 0])]
)
def test_keys_of_continuous_actions(down, action):
    np.testing.assert_array_equal(action_of(gymnasium.spaces.Box(-1, 1, (2,)), down), action)


def test_a_session(capsys):
    """Two steps to the right, a new episode, the end."""
    script = iter([{"right"}, {"right"}, set(), {"n"}, {"x"}])
    play(ENVIRONMENT, {"obs_type": "state"}, keys=lambda: next(script))
    printed = capsys.readouterr().out
    assert "arrows" in printed
    assert all(name in printed for name in ("robot_x", "target_y", "return"))


def test_a_session_with_many_actions(capsys):
    """The fourth speed of 25, chosen in three frames and taken twice: 4 / 25 of the full speed earns 0.16 a step."""
    script = iter([{"up"}, {"up"}, {"up"}, {"right"}, {"right"}, {"x"}])
    play("srl_bench/SlotCar-v0", {"obs_type": "state"}, keys=lambda: next(script))
    printed = capsys.readouterr().out
    assert "choose one of the actions 0 to 24" in printed
    assert "action 3, return 0.32" in printed


def test_a_session_with_eight_numbers(capsys):
    script = iter([set(UP_KEYS), {"k"}, {"x"}])
    play("srl_bench/KukaGrasp-v0", {"obs_type": "state", "action_type": "joints"}, keys=lambda: next(script))
    assert "q w e r t y u i" in capsys.readouterr().out


def test_a_window_needs_a_display(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(ConfigError, match="display"):
        play(ENVIRONMENT, {})


def test_a_window_shows_what_the_camera_sees(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = MobileRobot(render_mode="human")
    env.reset(seed=0)
    env.step(0)
    surface = env._window._surface
    expected = env._frame(224, "top")
    for row, column in ((10, 10), (112, 112), (200, 60)):
        scale = 512 / 224
        at = (int((column + 0.5) * scale), int((row + 0.5) * scale))
        assert tuple(surface.get_at(at))[:3] == tuple(expected[row, column])
    assert env.pressed_keys() == set()
    assert env.render() is None
    env.close()
