import gymnasium
import numpy as np
import pytest

from srl_bench.environments.mobile_robot import MobileRobot
from srl_bench.errors import ConfigError
from srl_bench.play import action_of, play

ENVIRONMENT = "srl_bench/MobileRobot-v0"


@pytest.mark.parametrize(
    ("down", "action"), [({"2"}, 2), ({"right"}, 0), ({"left"}, 1), ({"up"}, 2), ({"down"}, 3), (set(), None)]
)
def test_keys_of_discrete_actions(down, action):
    assert action_of(gymnasium.spaces.Discrete(4), down) == action


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
