import numpy as np
import pytest
import worlds
from PIL import Image

from srl_bench.errors import DataError, UnknownNameError
from srl_bench.factors import Factor
from srl_bench.report.dataset import contact_sheet, episode_frames, histograms, print_summary, write_preview


def test_coverage_by_hand(tmp_path):
    """Five of twenty parts of [0, 1], both of two categories of three, and a value outside counts for nothing."""
    episodes = worlds.simulate(4, 5, size=8)
    values = [[0.01, 0.11, 0.99, 0.51, 0.26], [0.02, 7.0, 0.03, 0.98, 0.52]]
    for index, episode in enumerate(episodes):
        steps = len(episode["factors"])
        column = np.resize(values[index % 2], steps)
        episode["factors"] = np.stack([column, np.full(steps, 2.0 * (index % 2))], axis=1)
    table = (Factor("x", "m", 0.0, 1.0), Factor("kind", "", 0, 2, kind="categorical", scope="episode"))
    rollouts = worlds.write(tmp_path / "data", episodes, factors=table)
    np.testing.assert_allclose(rollouts.coverage(), [5 / 20, 2 / 3])
    groups = rollouts.episodes_by("kind")
    assert {value: ids.tolist() for value, ids in groups.items()} == {0.0: [0, 2], 2.0: [1, 3]}
    only = (table[0], Factor("kind", "", 2, 2, kind="categorical", scope="episode"))
    np.testing.assert_allclose(worlds.write(tmp_path / "one", episodes, factors=only).coverage(), [5 / 20, 1.0])
    with pytest.raises(DataError, match="changes within episodes"):
        rollouts.episodes_by("x")
    with pytest.raises(UnknownNameError, match="kind"):
        rollouts.episodes_by("kinds")


def test_a_contact_sheet_shows_first_and_last_moments(mobile):
    sheet = contact_sheet(mobile)
    tile = 2 * (48 + 2)
    assert sheet.shape == (8 * tile, 10 * tile, 3)
    np.testing.assert_array_equal(sheet[2 : tile - 2 : 2, 2 : tile - 2 : 2], mobile.observations[0])
    last = mobile.observations[mobile.episodes[-1] - 1]
    np.testing.assert_array_equal(sheet[-tile + 2 : -2 : 2, -tile + 2 : -2 : 2], last)


def test_a_film_plays_episodes(mobile, tmp_path):
    frames = episode_frames(mobile)
    assert frames.shape == (mobile.episodes[6], 96, 96, 3)
    files = write_preview(mobile, tmp_path / "preview")
    assert [file.name for file in files] == ["contact_sheet.png", "episodes.gif", "histograms.png"]
    with Image.open(files[1]) as film:
        assert film.size == (96, 96)
        assert film.n_frames > 100


def test_histograms_of_everything(mobile):
    titles = [axis.get_title() for axis in histograms(mobile).axes if axis.get_visible()]
    assert titles == ["return", "action", "robot_x", "robot_y", "target_x", "target_y"]


def test_the_summary_counts(mobile, capsys):
    print_summary(mobile)
    printed = capsys.readouterr().out
    assert "2,020 observations of 48 x 48 x 3" in printed
    assert "20 episodes (5 test, 3 val, 12 train) of 100 to 100 steps" in printed
    assert "0 ended in a terminal state, 20 were cut" in printed
