"""The S-RL Toolbox: exact but for JPEG, real sets of theirs, and safe with what others wrote."""

import io
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sets import LENGTHS, assert_same, damage, recorded, replace_entry

from srl_bench.convert import npz
from srl_bench.convert.srl_zoo import from_srl_zoo, to_srl_zoo
from srl_bench.errors import ConfigError, DataError
from srl_bench.integrity import checksum
from srl_bench.rollouts import open_rollouts, seal_of


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize(("views", "domains"), [(1, ()), (2, ("plain", "dark")), (3, ())])
def test_all_but_the_images_comes_back_exactly(tmp_path, continuous, views, domains):
    """Smooth images of 64 pixels lose less than half a grey level in the mean, and eight at most."""
    rollouts = recorded(tmp_path / "data", continuous=continuous, views=views, domains=domains, size=64, noise=False)
    found = from_srl_zoo(to_srl_zoo(rollouts, tmp_path / "zoo"), tmp_path / "back")
    assert_same(found, rollouts, images=False)
    for name in ("environment", "environment_kwargs", "recording", "n_actions", "action_bounds", "factors", "views"):
        assert found.info[name] == rollouts.info[name]
    difference = np.abs(found.observations.astype(int) - rollouts.observations)
    assert 0 < difference.mean() < 0.5
    assert difference.max() <= 8


def test_better_quality_loses_less(tmp_path):
    rollouts = recorded(tmp_path / "data", size=64, noise=False)
    errors = []
    for quality in (30, 95, 100):
        found = from_srl_zoo(to_srl_zoo(rollouts, tmp_path / f"zoo{quality}", quality=quality), tmp_path / str(quality))
        errors.append(np.abs(found.observations.astype(int) - rollouts.observations).mean())
    assert errors[0] > 2 * errors[1] > 0
    assert errors[1] > errors[2]


@pytest.mark.parametrize("views", [1, 2])
def test_the_toolbox_finds_what_it_looks_for(tmp_path, views):
    """As its loader reads: paths without endings, one target per episode, states of all frames."""
    rollouts = recorded(tmp_path / "data", views=views, size=16)
    folder = to_srl_zoo(rollouts, tmp_path / "zoo", max_distance=0.28)
    steps, truth = np.load(folder / "preprocessed_data.npz"), np.load(folder / "ground_truth.npz")
    np.testing.assert_array_equal(steps["rewards"], rollouts.rewards)
    np.testing.assert_array_equal(steps["actions"], rollouts.actions)
    assert np.flatnonzero(steps["episode_starts"]).tolist() == rollouts.episodes[:-1].tolist()
    np.testing.assert_array_equal(truth["ground_truth_states"], rollouts.factors[:, :2])
    np.testing.assert_array_equal(truth["target_positions"], rollouts.factors[rollouts.episodes[:-1], 2:])
    expected = [f"zoo/record_{e:03d}/frame{t:06d}" for e, steps in enumerate(LENGTHS) for t in range(steps + 1)]
    assert truth["images_path"].tolist() == expected
    for path in truth["images_path"]:
        for ending in [".jpg"] if views == 1 else ["_1.jpg", "_2.jpg"]:
            with Image.open(tmp_path / f"{path}{ending}") as image:
                assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (16, 16))
    assert json.loads((folder / "dataset_config.json").read_text()) == {"relative_pos": False, "max_dist": "0.28"}
    assert json.loads((folder / "env_globals.json").read_text())["RENDER_WIDTH"] == 16


def test_without_factors(tmp_path):
    rollouts = recorded(tmp_path / "data", factors=0)
    assert_same(from_srl_zoo(to_srl_zoo(rollouts, tmp_path / "zoo"), tmp_path / "back"), rollouts, images=False)


def test_a_target_that_moves_is_a_state(tmp_path):
    """Whatever the description says of it."""
    rollouts = recorded(tmp_path / "data")
    rollouts.factors[2, 3] += 1
    rollouts = resealed(rollouts)
    folder = to_srl_zoo(rollouts, tmp_path / "zoo")
    truth = np.load(folder / "ground_truth.npz")
    assert (truth["ground_truth_states"].shape[1], truth["target_positions"].shape[1]) == (3, 1)
    np.testing.assert_array_equal(from_srl_zoo(folder, tmp_path / "back").factors, rollouts.factors)


def resealed(rollouts):
    """Rollouts as if they had been recorded with these factors."""
    np.save(rollouts.path / "factors.npy", rollouts.factors)
    info = json.loads((rollouts.path / "rollouts.json").read_text())
    info["sha256"]["factors"] = checksum(rollouts.path / "factors.npy")
    info["seal"] = seal_of({name: value for name, value in info.items() if name != "seal"})
    (rollouts.path / "rollouts.json").write_text(json.dumps(info))
    return open_rollouts(rollouts.path)


def test_numbers_that_were_altered_after_the_export_are_refused(tmp_path):
    folder = to_srl_zoo(recorded(tmp_path / "data"), tmp_path / "zoo")
    arrays = dict(np.load(folder / "preprocessed_data.npz"))
    arrays["rewards"][3] += 1
    np.savez(folder / "preprocessed_data.npz", **arrays)
    with pytest.raises(DataError, match=r"srl_bench\.json .*: rewards were altered after the export"):
        from_srl_zoo(folder, tmp_path / "back")
    with pytest.raises(ConfigError, match="says its state itself"):
        from_srl_zoo(folder, tmp_path / "back", state=None)


# Sets of others


def toolbox(root, *, cameras=1, actions=None, former=False, one_target=False, size=(224, 224), prefix="data/baxter/"):
    """What the toolbox writes: no final observation, a reward for every frame, paths from where it was run."""
    random = np.random.default_rng(0)
    lengths = [5, 3, 6, 4]
    total = sum(lengths)
    starts = np.zeros(total, bool)
    starts[np.cumsum([0, *lengths[:-1]])] = True
    code = np.arange(total) * 11 % 200 + 20
    paths, row = [], 0
    for record, length in enumerate(lengths):
        folder = root / f"record_{record:03d}"
        folder.mkdir(parents=True)
        for frame in range(length):
            for camera in range(cameras):
                level = np.full((*size, 3), code[row] if camera == 0 else 255 - code[row], np.uint8)
                level[: size[0] // 2, :, 0] = 0
                ending = ".jpg" if cameras == 1 else f"_{camera + 1}.jpg"
                Image.fromarray(level).save(folder / f"frame{frame:06d}{ending}", quality=95)
            paths.append(f"{prefix}record_{record:03d}/frame{frame:06d}" + (".jpg" if former else ""))
            row += 1
    rewards = random.integers(-1, 2, total)
    actions = random.integers(0, 6, total) if actions is None else actions
    states, targets = random.normal(size=(total, 3)), random.normal(size=(1 if one_target else 4, 3))
    np.savez(
        root / "preprocessed_data.npz",
        rewards=rewards,
        actions=actions[:, None] if former else actions,
        episode_starts=starts.astype(float) if former else starts,
    )
    names = ("arm_states", "button_positions") if former else ("ground_truth_states", "target_positions")
    np.savez(root / "ground_truth.npz", images_path=np.array(paths), **dict(zip(names, (states, targets), strict=True)))
    (root / "dataset_config.json").write_text(json.dumps({"relative_pos": True, "max_dist": "0.35"}))
    return lengths, code, rewards, actions, states, np.broadcast_to(targets, (4, 3))


@pytest.mark.parametrize("former", [False, True])
@pytest.mark.parametrize("cameras", [1, 2])
def test_a_set_of_the_toolbox(tmp_path, former, cameras):
    """Oracle: the numbers that were written; the grey level of an image tells its frame."""
    written = toolbox(tmp_path / "baxter", cameras=cameras, former=former, one_target=former)
    lengths, code, rewards, actions, states, targets = written
    rollouts = from_srl_zoo(tmp_path / "baxter", tmp_path / "data", image_size=64, n_actions=26, seed=1)
    ends = np.cumsum(lengths)
    steps = np.setdiff1d(np.arange(18), ends - 1)
    assert rollouts.episodes.tolist() == [0, *ends]
    np.testing.assert_array_equal(rollouts.factors, np.hstack([states, np.repeat(targets, lengths, axis=0)]))
    np.testing.assert_array_equal(rollouts.rewards[steps], rewards[steps])
    np.testing.assert_array_equal(rollouts.actions[steps], actions[steps])
    assert not rollouts.rewards[ends - 1].any()
    assert not rollouts.actions[ends - 1].any()
    assert np.flatnonzero(rollouts.truncated).tolist() == (ends - 2).tolist()
    assert not rollouts.terminated.any()
    assert rollouts.observations.shape == (18, 64, 64, 3)
    assert np.abs(rollouts.observations[:, 40:].astype(int) - code[:, None, None, None]).max() <= 3
    assert rollouts.observations[:, :24, :, 0].max() <= 3, "red is the first channel"
    if cameras == 2:
        assert np.abs(rollouts.views[:, 0, 40:].astype(int) - (255 - code)[:, None, None, None]).max() <= 3
    assert rollouts.info["views"] == (["pixels"] if cameras == 1 else ["camera_1", "camera_2"])
    assert (rollouts.n_actions, rollouts.environment) == (26, "srl_zoo/baxter")
    assert [factor.scope for factor in rollouts.factor_table] == ["step"] * 3 + ["episode"] * 3
    assert [factor.name for factor in rollouts.factor_table][2:4] == ["state_2", "target_0"]
    assert rollouts.info["recording"]["dataset_config"] == {"relative_pos": True, "max_dist": "0.35"}


@pytest.mark.parametrize(("scale", "bounds"), [(1.0, [[-1, -1], [1, 1]]), (3.0, None)])
def test_continuous_actions(tmp_path, scale, bounds):
    """In the toolbox they are in [-1, 1]; others are scaled by what occurs."""
    actions = np.random.default_rng(1).uniform(-1, 1, (18, 2)) * scale
    toolbox(tmp_path / "zoo", actions=actions, size=(16, 16))
    rollouts = from_srl_zoo(tmp_path / "zoo", tmp_path / "data")
    low, high = bounds or (actions.min(0).tolist(), actions.max(0).tolist())
    assert rollouts.info["action_bounds"] == [low, high]
    expected = (actions - np.add(low, high) / 2) / (np.subtract(high, low) / 2)
    steps = np.concatenate([rollouts.transitions(split) for split in ("train", "val", "test")])
    np.testing.assert_allclose(rollouts.actions[steps], expected[steps], atol=1e-6)
    with pytest.raises(DataError, match=r"outside of.*action_bounds"):
        from_srl_zoo(tmp_path / "zoo", tmp_path / "more", action_bounds=([-0.1, -0.1], [0.1, 0.1]))


def test_images_in_a_folder_of_the_record(tmp_path):
    """As the tool that unpacked ROS bags left them; only what follows the last record_* counts."""
    toolbox(tmp_path / "zoo", size=(16, 16), prefix="/home/me/record_7/old/")
    for record in (tmp_path / "zoo").glob("record_*"):
        (record / "camera_2_compressed").mkdir()
        for file in record.glob("*.jpg"):
            file.rename(record / "camera_2_compressed" / file.name)
    truth = dict(np.load(tmp_path / "zoo/ground_truth.npz"))
    paths = [path.replace("/frame", "/camera_2_compressed/frame") for path in truth["images_path"]]
    np.savez(tmp_path / "zoo/ground_truth.npz", **{**truth, "images_path": np.array(paths).astype("S")})
    assert len(from_srl_zoo(tmp_path / "zoo", tmp_path / "data")) == 18


def test_ground_truth_that_is_not_there(tmp_path):
    toolbox(tmp_path / "zoo", size=(16, 16))
    truth = dict(np.load(tmp_path / "zoo/ground_truth.npz"))
    del truth["ground_truth_states"]
    np.savez(tmp_path / "zoo/ground_truth.npz", **truth)
    with pytest.raises(DataError, match=r"no 'ground_truth_states'.*state=None"):
        from_srl_zoo(tmp_path / "zoo", tmp_path / "data")
    assert from_srl_zoo(tmp_path / "zoo", tmp_path / "data", state=None).factors.shape == (18, 0)


# Refusals


class Bomb:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toolbox(tmp_path / "zoo", size=(16, 16))
    truth = dict(np.load("zoo/ground_truth.npz"))
    paths = np.empty(18, dtype=object)
    paths[:] = [Bomb()] * 18
    np.savez("zoo/ground_truth.npz", **{**truth, "images_path": paths})
    with pytest.raises(DataError, match=r"'images_path' holds pickled Python objects.*allow_pickle"):
        from_srl_zoo("zoo", "data")
    assert not Path("exploded").exists()
    pickle.loads(pickle.dumps(Bomb()))
    assert Path("exploded").exists(), "the bomb works"


def change(file, **arrays):
    content = dict(np.load(file)) | arrays
    np.savez(file, **{name: array for name, array in content.items() if array is not None})


PATHS = np.array([f"x/record_000/frame{t:06d}" for t in range(18)])


@pytest.mark.parametrize(
    ("name", "arrays", "message"),
    [
        ("preprocessed_data", {"rewards": None}, "lacks rewards"),
        ("preprocessed_data", {"rewards": np.zeros(17)}, "not numbers for 17 rows"),
        ("preprocessed_data", {"rewards": np.zeros((18, 2))}, "'rewards' has several columns"),
        ("preprocessed_data", {"rewards": np.full(18, np.nan)}, "NaN"),
        ("preprocessed_data", {"rewards": np.array(["a"] * 18)}, "'rewards' is <U1"),
        ("preprocessed_data", {"actions": np.full(18, -1)}, "discrete actions from -1"),
        ("preprocessed_data", {"episode_starts": np.zeros(18, bool)}, "does not begin with an episode"),
        ("preprocessed_data", {"episode_starts": np.ones(18, bool)}, "target_positions"),
        ("ground_truth", {"images_path": None}, "lacks images_path"),
        ("ground_truth", {"images_path": PATHS[:5]}, "not 18 names"),
        ("ground_truth", {"images_path": np.char.replace(PATHS, "record_000", "record_000/../..")}, "not record_000"),
        ("ground_truth", {"images_path": np.char.replace(PATHS, "frame", "..\\frame")}, "not record_000"),
        ("ground_truth", {"images_path": np.char.add("/etc/", PATHS)}, r"frame000005\.jpg is missing"),
        ("ground_truth", {"images_path": np.array(["/etc/passwd"] * 18)}, "not record_000"),
        ("ground_truth", {"ground_truth_states": np.zeros((17, 3))}, "not numbers for 18 rows"),
        ("ground_truth", {"ground_truth_states": np.zeros((18, 3, 2))}, "not numbers for 18 rows"),
        ("ground_truth", {"target_positions": np.zeros((3, 2))}, "not numbers for 4 rows"),
    ],
)
def test_a_damaged_array_is_named(tmp_path, name, arrays, message):
    toolbox(tmp_path / "zoo", size=(16, 16))
    change(tmp_path / f"zoo/{name}.npz", **arrays)
    with pytest.raises(DataError, match=message):
        from_srl_zoo(tmp_path / "zoo", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_an_array_that_claims_to_be_large_is_not_allocated(tmp_path, monkeypatch):
    toolbox(tmp_path / "zoo", size=(16, 16))
    monkeypatch.setattr(npz.npy, "read_array", lambda *_, **__: 1 / 0)
    for shape, message in (((10**11,), "more or other than is read"), ((10**6,), "cut off")):
        buffer = io.BytesIO()
        npz.npy.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": shape})
        with zipfile.ZipFile(tmp_path / "zoo/preprocessed_data.npz", "w") as archive:
            archive.writestr("rewards.npy", buffer.getvalue())
        with pytest.raises(DataError, match=message):
            from_srl_zoo(tmp_path / "zoo", tmp_path / "data")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda file: file.unlink(), r"frame000002\.jpg is missing"),
        (lambda file: file.write_bytes(file.read_bytes()[:300]), "damaged"),
        (lambda file: file.write_bytes(b"#!/bin/sh"), "damaged"),
        (lambda file: Image.new("RGB", (16, 17)).save(file), r"\(17, 16\) pixels"),
        (lambda file: Image.new("RGB", (16, 16)).save(file, format="PNG"), "damaged or of another format"),
    ],
)
def test_a_damaged_image_is_named(tmp_path, harm, message):
    toolbox(tmp_path / "zoo", size=(16, 16))
    harm(tmp_path / "zoo/record_001/frame000002.jpg")
    with pytest.raises(DataError, match=message):
        from_srl_zoo(tmp_path / "zoo", tmp_path / "data")


@pytest.mark.parametrize("name", ["preprocessed_data.npz", "ground_truth.npz"])
def test_a_missing_file_is_named(tmp_path, name):
    toolbox(tmp_path / "zoo", size=(16, 16))
    (tmp_path / "zoo" / name).unlink()
    with pytest.raises(DataError, match=f"{name} is missing"):
        from_srl_zoo(tmp_path / "zoo", tmp_path / "data")


def test_arguments_that_are_wrong(tmp_path):
    rollouts = recorded(tmp_path / "data")
    for quality in (0, 101, 2.5, True):
        with pytest.raises(ConfigError, match="quality"):
            to_srl_zoo(rollouts, tmp_path / "zoo", quality=quality)
    with pytest.raises(DataError, match="not empty"):
        to_srl_zoo(rollouts, rollouts.path)
    with pytest.raises(DataError, match="not empty"):
        from_srl_zoo(to_srl_zoo(rollouts, tmp_path / "zoo"), rollouts.path)
    rollouts.rewards[rollouts.episodes[1] - 1] = 1
    with pytest.raises(DataError, match="not zero on the last row"):
        to_srl_zoo(rollouts, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    base = tmp_path_factory.mktemp("written")
    return to_srl_zoo(recorded(base / "data", size=8, lengths=(2, 3, 2), domains=("a", "b")), base / "zoo")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_other_description_is_read_or_refused(written, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz") / "zoo"
    shutil.copytree(written, folder)
    file = folder / data.draw(st.sampled_from(["srl_bench.json", "dataset_config.json"]))
    content = json.loads(file.read_text())
    rollouts = content.get("rollouts", {})
    replace_entry(data, content, rollouts, *rollouts.get("factors", [])[:1])
    file.write_text(json.dumps(content))
    try:
        from_srl_zoo(folder, folder.parent / "out")
    except DataError:
        assert not (folder.parent / "out").exists()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_files_with_flipped_or_missing_bytes_are_read_or_refused(written, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flip") / "zoo"
    shutil.copytree(written, folder)
    file = data.draw(st.sampled_from(sorted(file for file in folder.rglob("*") if file.is_file())))
    damage(data, file)
    try:
        from_srl_zoo(folder, folder.parent / "out")
    except DataError:
        assert not (folder.parent / "out").exists()
