"""Data sets on disk: round trip, splits, transitions, and damage of every kind."""

import contextlib
import json
import shutil

import numpy as np
import pytest
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from srl_bench.errors import DataError
from srl_bench.rollouts import ARRAYS, atomic_folder, open_rollouts, seal_of
from srl_bench.writer import RolloutWriter, split_episodes


@pytest.fixture
def copy(tiny, tmp_path):
    """A copy of the tiny data set that a test may damage."""
    return shutil.copytree(tiny.path, tmp_path / "copy")


@pytest.mark.parametrize("continuous", [False, True])
def test_what_was_written_is_read(tmp_path, continuous):
    """Oracle: the episodes handed to the writer, of unequal lengths."""
    episodes = [worlds.simulate(1, n, continuous=continuous, seed=n, size=8)[0] for n in (3, 7, 1, 12)]
    rollouts = worlds.write(tmp_path / "data", episodes)
    for name in ARRAYS[:-1]:
        expected = np.concatenate([episode[name] for episode in episodes])
        found = getattr(rollouts, name)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    assert rollouts.episodes.tolist() == [0, 4, 12, 14, 27]
    assert (len(rollouts), rollouts.n_episodes, rollouts.n_actions) == (27, 4, 0 if continuous else 4)
    assert rollouts.episode_ids.tolist() == [0] * 4 + [1] * 8 + [2] * 2 + [3] * 13
    assert rollouts.steps.tolist() == [*range(4), *range(8), *range(2), *range(13)]
    assert rollouts.factor_table == tuple(worlds.FACTORS)
    assert (rollouts.environment, rollouts.environment_kwargs) == ("tests/Blobs-v0", {})


def test_frames_are_mapped_and_the_file_cannot_be_written_through(tiny, copy):
    rollouts = open_rollouts(copy)
    assert isinstance(rollouts.observations, np.memmap)
    rollouts.observations[0] = 0
    del rollouts
    np.testing.assert_array_equal(open_rollouts(copy).observations, tiny.observations)


def test_transitions_stay_inside_an_episode_and_its_split(tiny):
    """Oracle: a loop over rows."""
    for code, split in enumerate(("train", "val", "test")):
        expected = [
            t for t in range(len(tiny) - 1) if tiny.episode_ids[t] == tiny.episode_ids[t + 1] and tiny.split[t] == code
        ]
        assert tiny.transitions(split).tolist() == expected
        assert {int(tiny.episode_ids[t]) for t in expected} == set(tiny.info["split"][split])


def test_every_step_but_the_last_row_of_an_episode_is_a_transition(tiny):
    rows = np.concatenate([tiny.transitions(split) for split in ("train", "val", "test")])
    last = tiny.episodes[1:] - 1
    assert sorted([*rows, *last]) == list(range(len(tiny)))


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 400), st.integers(0, 2**31))
def test_split_is_a_partition_with_the_stated_shares(n, seed):
    """A quarter test and 15 % validation, both rounded up, the rest train."""
    split = split_episodes(n, seed)
    assert sorted(split["train"] + split["val"] + split["test"]) == list(range(n))
    assert (len(split["test"]), len(split["val"])) == (-(-n // 4), -(-15 * n // 100))
    assert split["train"]
    assert split == split_episodes(n, seed)


def test_another_seed_splits_otherwise():
    assert split_episodes(50, 0) != split_episodes(50, 1)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_episodes_cannot_be_split(tmp_path, n):
    with pytest.raises(DataError, match="at least"):
        worlds.write(tmp_path / "data", worlds.simulate(n, 5, size=8)) if n else split_episodes(n, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_without_episodes_says_so(tmp_path):
    with pytest.raises(DataError, match="at least one episode"):
        RolloutWriter(tmp_path).seal({}, seed=0)


def test_the_data_hash_is_of_the_data_alone(tmp_path):
    episodes = worlds.simulate(4, 5, size=8)
    first, again = (worlds.write(tmp_path / name, episodes) for name in "ab")
    assert first.data_hash == again.data_hash
    episodes[2]["rewards"][1] += 1
    assert worlds.write(tmp_path / "c", episodes).data_hash != first.data_hash


# Damage


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("damage", ["flip", "truncate", "append", "remove"])
def test_a_damaged_array_is_named(copy, name, damage):
    file = copy / f"{name}.npy"
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[-3] ^= 1
    elif damage == "truncate":
        content = content[:-8]
    elif damage == "append":
        content += b"\0" * 8
    file.unlink()
    if damage != "remove":
        file.write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}\.npy is (missing|truncated or was altered)"):
        open_rollouts(copy)


@pytest.mark.parametrize(
    "edit",
    [
        lambda info: info.update(environment="other"),
        lambda info: info["split"]["train"].append(info["split"]["test"].pop()),
        lambda info: info["sha256"].update(rewards=info["sha256"]["actions"]),
        lambda info: info.update(seal="0" * 64),
        lambda info: info.pop("seal"),
        lambda info: info.pop("sha256"),
        lambda info: info.update(schema=99),
        lambda info: info.pop("schema"),
        lambda info: info.update(episode_hashes=[]),
    ],
)
def test_an_edited_description_is_named(copy, edit):
    info = json.loads((copy / "rollouts.json").read_text())
    edit(info)
    (copy / "rollouts.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match=r"rollouts\.json"):
        open_rollouts(copy)


@pytest.mark.parametrize("hashes", [None, {}, [], ["x"], [1] * 12, [["x"]] * 12])
def test_hashes_that_are_not_those_of_the_episodes_are_refused(copy, hashes):
    """Sealed again, as a foreign writer would."""
    info = json.loads((copy / "rollouts.json").read_text()) | {"episode_hashes": hashes}
    info["seal"] = seal_of({key: value for key, value in info.items() if key != "seal"})
    (copy / "rollouts.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match=r"episode_hashes|hash of every episode"):
        open_rollouts(copy)


def test_an_episode_that_was_cut_short_keeps_its_hash(tmp_path):
    """Cut after 8 steps or more; a step less hides in the empty last row."""
    whole = worlds.simulate(4, 20, size=8)
    hashes = worlds.write(tmp_path / "whole", whole).info["episode_hashes"]
    assert len(set(hashes)) == 4
    for steps, same in ((8, True), (7, False)):
        cut = [{name: rows[: steps + 1].copy() for name, rows in episode.items()} for episode in whole]
        for episode in cut:
            episode["actions"][steps] = episode["rewards"][steps] = 0
        found = worlds.write(tmp_path / str(steps), cut).info["episode_hashes"]
        assert (found == hashes) == same


@pytest.mark.parametrize("name", ["observations", "actions", "rewards", "factors"])
def test_the_hash_of_an_episode_is_of_all_that_happened_in_it(tmp_path, name):
    episodes = worlds.simulate(4, 20, size=8)
    before = worlds.write(tmp_path / "before", episodes)
    episodes[2][name][7] += 1
    after = worlds.write(tmp_path / "after", episodes)
    pairs = zip(before.info["episode_hashes"], after.info["episode_hashes"], strict=True)
    assert [a == b for a, b in pairs] == [True, True, False, True]
    split = before.info["split"]
    assert before.episode_hashes("val", "test") == [
        before.info["episode_hashes"][index] for index in [*split["val"], *split["test"]]
    ]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"3", b"\xff\xfe", b"[" * 100_000, b"{} {}"])
def test_a_description_that_is_no_description(copy, content):
    (copy / "rollouts.json").write_bytes(content)
    with pytest.raises(DataError, match=r"rollouts\.json"):
        open_rollouts(copy)


@pytest.mark.parametrize("make", ["nothing", "folder", "file"])
def test_a_place_without_a_data_set(tmp_path, make):
    path = tmp_path / "data"
    if make == "folder":
        path.mkdir()
    elif make == "file":
        path.write_text("x")
    with pytest.raises(DataError, match=r"no rollouts\.json"):
        open_rollouts(path)


def test_a_writer_that_was_killed_leaves_nothing_that_opens(tmp_path):
    """The description is written last."""
    writer = RolloutWriter(tmp_path)
    for episode in worlds.simulate(4, 5, size=8):
        writer.append(episode)
    with pytest.raises(DataError, match=r"no rollouts\.json"):
        open_rollouts(tmp_path)


# Atomic folders


def test_an_atomic_folder_appears_when_it_is_complete(tmp_path):
    with atomic_folder(tmp_path / "deep" / "data") as path:
        (path / "file").write_text("x")
        assert not (tmp_path / "deep" / "data").exists()
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["data"]
    assert (tmp_path / "deep" / "data" / "file").read_text() == "x"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_atomic_folder_vanishes_when_the_block_fails(tmp_path, error):
    old = tmp_path / "data"
    old.mkdir()
    (old / "file").write_text("old")
    with contextlib.suppress(error), atomic_folder(old, replace=True) as path:
        (path / "file").write_text("new")
        raise error
    assert [p.name for p in tmp_path.iterdir()] == ["data"]
    assert (old / "file").read_text() == "old"


def test_an_atomic_folder_replaces_only_when_told(tmp_path):
    old = tmp_path / "data"
    old.mkdir()
    (old / "file").write_text("old")
    with atomic_folder(old, replace=True) as path:
        (path / "other").write_text("new")
    assert [p.name for p in old.iterdir()] == ["other"]
    with pytest.raises(OSError, match="data"), atomic_folder(old):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["data"]
