import io
import re

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


FACTORS = (Factor("x", "m", 0.0, 1.0), Factor("kind", "", 0, 2, kind="categorical", scope="episode"))


def bins_of(printed, heading):
    """Return {bin: (count, bar, count, bar, ...)} of the lines below a heading of a summary."""
    lines = printed.split(heading)[1].splitlines()[1:]
    rows = [re.match(r"(-?[\d.]+(?: to -?[\d.]+)?) +(\d.*)", line) for line in lines]
    first = next(i for i, row in enumerate(rows) if row)
    last = next((i for i, row in enumerate(rows) if i > first and not row), len(rows))
    return {row[1]: tuple(row[2].split()) for row in rows[first:last]}


def test_the_summary_of_a_set_made_by_hand(tmp_path, capsys):
    """Four episodes of five steps: returns 3, 3, 3, 0.5; nobody takes action 2; a quarter and two thirds covered."""
    episodes = worlds.simulate(4, 5, size=8)
    for index, episode in enumerate(episodes):
        episode["actions"] = np.array([0, 1, 1, 3, 1 if index else 0, 0])
        episode["rewards"] = np.array([0, 0, 0, 0, 3 if index else 0.5, 0], np.float32)
        x = [0.01, 0.11, 0.99, 0.51, 0.26, 0.27]
        episode["factors"] = np.stack([x, np.full(6, 2.0 * (index % 2))], axis=1)
    print_summary(worlds.write(tmp_path / "data", episodes, factors=FACTORS))
    printed = capsys.readouterr().out
    assert "rewards 0: 16, 0.5: 1, 3: 3\n" in printed
    assert "returns 0.5 to 3, mean 2.38;" in printed
    full = "█" * 20
    assert bins_of(printed, "episodes by return:") == {"0.5": ("1", "██████▋"), "3": ("3", full)}
    # 0 and 3 once in each of four episodes, 1 twice, and at the end 0 in the first and 1 in the others
    actions = {"0": ("5", "█████████"), "1": ("11", full), "2": ("0",), "3": ("4", "███████▎")}
    assert bins_of(printed, "steps by action:") == actions
    cells = {line.split()[1]: line.split() for line in printed.splitlines() if line.startswith("│")}
    assert cells["x"][-2] == "25%"
    assert cells["kind"][-2] == "67%"
    assert {"0:50%", "2:50%"} < set(cells["kind"])


def test_the_summary_of_continuous_actions_made_by_hand(tmp_path, capsys, monkeypatch):
    """Returns 0, 1, 4, ..., 121; one number of the action always at its bound, the other in each bin equally often."""
    episodes = worlds.simulate(12, 10, size=8, continuous=True)
    for index, episode in enumerate(episodes):
        episode["actions"][:10] = np.stack([np.full(10, 1.0005), np.linspace(-0.9, 0.9, 10)], axis=1)
        episode["rewards"][:] = [index**2, *[0] * 10]
    rollouts = worlds.write(tmp_path / "data", episodes)
    print_summary(rollouts)
    printed = capsys.readouterr().out
    assert "rewards 0: 109, 1: 1, 4: 1," in printed
    assert "returns 0 to 121, mean 42.2;" in printed
    found = bins_of(printed, "episodes by return:")
    assert list(found)[::9] == ["0 to 12.1", "108.9 to 121"]
    assert [int(count) for count, *_ in found.values()] == [4, 1, 2, 0, 1, 1, 1, 0, 1, 1]
    assert [len(*bar) if bar else 0 for _, *bar in found.values()] == [20, 5, 10, 0, 5, 5, 5, 0, 5, 5]
    found = bins_of(printed, "steps by each number of the action, scaled to -1 to 1:")
    assert list(found)[::3] == ["-1 to -0.8", "-0.4 to -0.2", "0.2 to 0.4", "0.8 to 1"]
    half = "█" * 10
    assert list(found.values()) == [("0", "12", half)] * 9 + [("120", half, "12", half)]

    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", written)
        print_summary(rollouts)
        written.flush()
    counts = bins_of(written.buffer.getvalue().decode(), "scaled to -1 to 1:")
    assert list(counts.values()) == [("0", "12")] * 9 + [("120", "12")]


def test_the_summary_of_returns_that_are_no_numbers(tmp_path, capsys):
    episodes = worlds.simulate(4, 5, size=8)
    for episode, reward in zip(episodes, (np.nan, np.inf, 1, 1), strict=True):
        episode["rewards"][:] = [reward, *[0] * 5]
    print_summary(worlds.write(tmp_path / "data", episodes))
    assert bins_of(capsys.readouterr().out, "episodes by return:") == {"1": ("2", "█" * 20)}
