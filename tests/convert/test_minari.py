"""Minari: exact in both directions, as `minari.load_dataset` reads it, and safe with what others wrote."""

import itertools
import json
import shutil
import subprocess
import sys

import gymnasium
import h5py
import minari
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from minari.data_collector import EpisodeBuffer
from sets import assert_same, damage, recorded, replace_entry

import srl_bench as srl
from srl_bench import cli, convert
from srl_bench.convert.minari import from_minari, to_minari
from srl_bench.errors import ConfigError, DataError
from srl_bench.rollouts import seal_of
from srl_bench.seeding import derive_seed

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")


@pytest.fixture
def minari_home(tmp_path, monkeypatch):
    """An empty folder for Minari's data sets."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize(("views", "domains"), [(1, ()), (3, ("plain", "dark"))])
def test_there_and_back_is_the_same_bit_for_bit(tmp_path, minari_home, continuous, views, domains):
    """Images of 40 pixels, which Minari would store as JPEG by itself."""
    rollouts = recorded(tmp_path / "data", continuous=continuous, views=views, domains=domains, size=40)
    to_minari(rollouts, "tests/blobs-v1", author="me", author_email="me@x.org", code_permalink="x.org")
    assert_same(from_minari("tests/blobs-v1", tmp_path / "back"), rollouts)
    assert_same(from_minari(minari_home / "tests/blobs-v1", tmp_path / "again"), rollouts)


@pytest.mark.parametrize("views", [1, 2])
def test_minari_reads_what_was_written(tmp_path, minari_home, views):
    """Oracle: the rows of the rollouts."""
    rollouts = recorded(tmp_path / "data", continuous=True, views=views, domains=("a", "b"), size=40)
    to_minari(rollouts, "blobs-v0", author="me")
    dataset = minari.load_dataset("blobs-v0")
    assert (dataset.total_episodes, dataset.total_steps) == (7, 39)
    assert dataset.action_space == gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    metadata = dataset.storage.metadata
    assert (metadata["jpeg_encoding"], metadata["algorithm_name"], metadata["author"]) == (False, "random", {"me"})
    assert metadata["srl_bench"] == rollouts.info
    for index, episode in enumerate(dataset):
        rows = slice(rollouts.episodes[index], rollouts.episodes[index + 1])
        steps = slice(rows.start, rows.stop - 1)
        images = episode.observations if views == 1 else episode.observations["pixels"]
        np.testing.assert_array_equal(images, rollouts.observations[rows])
        if views == 2:
            np.testing.assert_array_equal(episode.observations["camera_1"], rollouts.views[rows, 0])
        np.testing.assert_array_equal(episode.actions, rollouts.actions[steps])
        np.testing.assert_array_equal(episode.rewards, rollouts.rewards[steps])
        np.testing.assert_array_equal(episode.terminations, rollouts.terminated[steps])
        np.testing.assert_array_equal(episode.truncations, rollouts.truncated[steps])
        np.testing.assert_array_equal(episode.infos["state"], rollouts.factors[rows])
        np.testing.assert_array_equal(episode.infos["domain"], rollouts.domain[rows])
    (about,) = dataset.storage.get_episode_metadata([3])
    assert about["seed"] == derive_seed(5, "episode", 3) % 2**31
    assert "tests/blobs-v0" not in minari.list_local_datasets()


def test_the_recovered_environment_repeats_the_episodes(tmp_path, minari_home):
    """Its actions are ours, in [-1, 1]; its seeds are those of the data."""
    settings = {"environment_kwargs": {"image_size": 48, "action_type": "continuous"}, "max_steps": 8}
    rollouts = srl.record("srl_bench/MobileRobot-v0", 24, 3, out=tmp_path / "data", **settings)
    dataset = to_minari(rollouts, "robot-v0")
    env = dataset.recover_environment()
    assert env.action_space == dataset.action_space
    (about,) = dataset.storage.get_episode_metadata([1])
    observation, info = env.reset(seed=about["seed"])
    episode = dataset[1]
    for step, action in enumerate(episode.actions):
        np.testing.assert_array_equal(observation, episode.observations[step])
        np.testing.assert_array_equal(info["state"], episode.infos["state"][step])
        observation, reward, _, _, info = env.step(action)
        assert np.float32(reward) == episode.rewards[step]
    np.testing.assert_array_equal(observation, episode.observations[-1])


def foreign(name, *, action=None, observation=None, infos=True, episodes=5, steps=6, jpeg_encoding=False):
    """A data set as another program records it: rewards in double precision, a first action that is not 0."""
    random = np.random.default_rng(0)
    action = action or gymnasium.spaces.Discrete(3, start=1)
    observation = observation or gymnasium.spaces.Box(0, 255, (40, 48), np.uint8)
    action.seed(0)
    observation.seed(0)

    def sampled(space, n):
        if isinstance(space, gymnasium.spaces.Dict):
            return {key: sampled(part, n) for key, part in space.spaces.items()}
        return np.stack([space.sample() for _ in range(n)])

    buffers = [
        EpisodeBuffer(
            id=index,
            seed=index + 100,
            observations=sampled(observation, steps + 1),
            actions=sampled(action, steps),
            rewards=random.normal(size=steps),
            terminations=np.arange(steps) == (steps - 1 if index == 1 else -1),
            truncations=np.zeros(steps, bool),
            infos={"state": random.normal(size=(steps + 1, 2))} if infos else {"other": np.zeros(steps + 1)},
        )
        for index in range(episodes)
    ]
    minari.create_dataset_from_buffers(
        name, buffers, action_space=action, observation_space=observation, jpeg_encoding=jpeg_encoding
    )
    return buffers


def test_a_set_of_others_with_grey_images(tmp_path, minari_home):
    """Oracle: the buffers."""
    buffers = foreign("other-v0")
    rollouts = from_minari("other-v0", tmp_path / "data", seed=7)
    assert rollouts.observations.shape == (35, 40, 48, 3)
    for index, buffer in enumerate(buffers):
        rows = slice(7 * index, 7 * index + 7)
        np.testing.assert_array_equal(rollouts.observations[rows, ..., 1], buffer.observations)
        np.testing.assert_array_equal(rollouts.actions[rows], [*(buffer.actions - 1), 0])
        np.testing.assert_array_equal(rollouts.rewards[rows], np.float32([*buffer.rewards, 0]))
        np.testing.assert_array_equal(rollouts.factors[rows], buffer.infos["state"])
        assert rollouts.terminated[rows].tolist() == [False] * 5 + [index == 1, False]
        assert rollouts.truncated[rows].tolist() == [False] * 5 + [index != 1, False]
    assert (rollouts.n_actions, rollouts.info["action_bounds"]) == (3, None)
    assert rollouts.environment == "minari/other-v0"
    assert rollouts.info["recording"] == {"format": "minari", "source": "other-v0", "seeds": [*range(100, 105)]}
    assert [factor.name for factor in rollouts.factor_table] == ["state_0", "state_1"]
    assert rollouts.factor_table[1].low == rollouts.factors[:, 1].min()
    assert sorted(itertools.chain(*rollouts.info["split"].values())) == [*range(5)]


def test_a_set_of_others_in_jpeg_with_several_views(tmp_path, minari_home):
    """Smooth images, so that JPEG changes little; the views in the order asked for, and resized."""
    box = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    arm = gymnasium.spaces.Box(-1, 1, (3,), np.float64)
    space = gymnasium.spaces.Dict({"arm": arm, "far": box, "near": box})
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    image = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], 128), axis=-1).astype(np.uint8)
    far = np.stack([image] * 4)
    buffers = [
        EpisodeBuffer(
            observations={"arm": np.full((4, 3), index), "far": far, "near": 255 - far},
            actions=np.array([[-2.0, 0.0], [4.0, 10.0], [1.0, 5.0]]),
            rewards=np.ones(3), terminations=np.zeros(3, bool), truncations=np.arange(3) == 2, infos={},
        )
        for index in range(4)
    ]  # fmt: skip
    action = gymnasium.spaces.Box(np.array([-2.0, 0.0]), np.array([4.0, 10.0]), dtype=np.float64)
    minari.create_dataset_from_buffers("jpeg-v0", buffers, action_space=action, observation_space=space)
    rollouts = from_minari("jpeg-v0", tmp_path / "data", observations=["near", "far"], state="arm", image_size=(16, 32))
    assert rollouts.info["views"] == ["near", "far"]
    assert rollouts.views.shape == (16, 1, 16, 32, 3)
    expected = image.reshape(16, 4, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(rollouts.views[:, 0] - expected).max() < 6
    assert np.abs(rollouts.observations - (255 - expected)).max() < 6
    np.testing.assert_allclose(rollouts.actions[:4], [[-1, -1], [1, 1], [0, 0], [0, 0]], atol=1e-6)
    assert rollouts.info["action_bounds"] == [[-2.0, 0.0], [4.0, 10.0]]
    assert rollouts.factors[:, 0].tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    assert [factor.scope for factor in rollouts.factor_table] == ["episode"] * 3


def test_without_ground_truth_it_must_be_asked_for(tmp_path, minari_home):
    """Such data pretrain; scoring says what is missing."""
    foreign("bare-v0", infos=False, episodes=20, steps=14)
    with pytest.raises(DataError, match=r"no 'state'.*other.*state=None"):
        from_minari("bare-v0", tmp_path / "data")
    rollouts = from_minari("bare-v0", tmp_path / "data", state=None, image_size=32)
    assert rollouts.factors.shape == (300, 0)
    assert rollouts.info["factors"] == []
    encoder = srl.pretrain("pca", rollouts, latent_dim=2, body="flatten")
    with pytest.raises(DataError, match="factors must be a filled table"):
        srl.score(encoder, rollouts)
    to_minari(rollouts, "bare-v1")
    assert_same(from_minari("bare-v1", tmp_path / "back"), rollouts)


def test_a_selection_of_episodes_is_what_is_imported(tmp_path, minari_home):
    rollouts = recorded(tmp_path / "data")
    dataset = to_minari(rollouts, "blobs-v0").filter_episodes(lambda episode: len(episode) > 3)
    found = from_minari(dataset, tmp_path / "some")
    kept = [1, 3, 4, 5]
    rows = np.concatenate([np.arange(rollouts.episodes[i], rollouts.episodes[i + 1]) for i in kept])
    np.testing.assert_array_equal(found.observations, rollouts.observations[rows])
    np.testing.assert_array_equal(found.actions, rollouts.actions[rows])
    assert found.info["episode_hashes"] == [rollouts.info["episode_hashes"][i] for i in kept]


def test_some_views_of_a_set_of_ours(tmp_path, minari_home):
    rollouts = recorded(tmp_path / "data", views=3)
    to_minari(rollouts, "blobs-v0")
    found = from_minari("blobs-v0", tmp_path / "some", observations="camera_2")
    np.testing.assert_array_equal(found.observations, rollouts.views[:, 1])
    assert (found.views, found.info["views"]) == (None, ["camera_2"])
    assert found.info["split"] == rollouts.info["split"]


def test_another_seed_splits_otherwise(tmp_path, minari_home):
    rollouts = recorded(tmp_path / "data")
    to_minari(rollouts, "blobs-v0")
    found = from_minari("blobs-v0", tmp_path / "back", seed=123)
    assert found.data_hash == rollouts.data_hash
    assert found.info["split"] != rollouts.info["split"]


# On the command line


@pytest.fixture
def imported(monkeypatch, tmp_path):
    """Import a data set as `srl-bench import` does; raise what it says if it fails."""

    def call(format, source, *options):
        out = tmp_path / f"imported{len(list(tmp_path.glob('imported*')))}"
        monkeypatch.setattr(sys, "argv", ["srl-bench", "import", format, str(source), str(out), *options])
        cli.main()
        return srl.open_rollouts(out)

    return call


def test_the_command_takes_what_the_function_takes(tmp_path, minari_home, imported):
    """Oracle: the function."""
    box = gymnasium.spaces.Box(0, 255, (40, 48, 3), np.uint8)
    joints = gymnasium.spaces.Box(-1, 1, (3,), np.float64)
    space = gymnasium.spaces.Dict({"far": box, "joints": joints, "near": box})
    buffers = foreign("arm/push-v0", observation=space, infos=False, action=unbounded(2))
    with pytest.raises(SystemExit, match=r"no 'state'.*joints.*--state NAME.*--state None"):
        imported("minari", "arm/push-v0", "--image-size", "32")
    options = ["--state", "joints", "--views", "near", "far", "--image-size", "32", "--seed", "3"]
    with pytest.raises(SystemExit, match="--action-low and --action-high"):
        imported("minari", "arm/push-v0", *options)
    limits = ["--action-low", "-6", "-8.5", "--action-high", "6", "8.5"]
    found = imported("minari", "arm/push-v0", *options, *limits)
    wanted = {"state": "joints", "observations": ["near", "far"], "image_size": 32, "seed": 3}
    assert_same(found, from_minari("arm/push-v0", tmp_path / "data", action_bounds=([-6, -8.5], [6, 8.5]), **wanted))
    np.testing.assert_array_equal(found.factors, np.concatenate([b.observations["joints"] for b in buffers]))
    np.testing.assert_allclose(found.actions[:6], buffers[0].actions / [6, 8.5], atol=1e-6)
    assert found.info["views"] == ["near", "far"]
    assert (found.environment, found.info["recording"]["source"]) == ("minari/arm-push-v0", "arm/push-v0")
    assert_same(imported("minari", minari_home / "arm/push-v0", *options, *limits), found)
    bare = imported("minari", "arm/push-v0", "--state", "None", "--views", "far", *limits)
    assert (bare.factors.shape, bare.observations.shape) == ((35, 0), (35, 40, 48, 3))


def unbounded(count):
    return gymnasium.spaces.Box(-np.inf, np.inf, (count,), np.float64)


@pytest.mark.parametrize(
    ("format", "options", "message"),
    [
        ("minari", ["--n-actions", "3"], "--n-actions is for lerobot and srl_zoo"),
        ("srl_zoo", ["--views", "top"], "--views is for minari and lerobot"),
        ("lerobot", ["--action-low", "-1", "-1", "--action-high", "1"], "--action-low has 2 numbers, but"),
    ],
)
def test_options_of_other_formats_are_refused(imported, tmp_path, format, options, message):
    with pytest.raises(SystemExit, match=message):
        imported(format, tmp_path, *options)


# Refusals


@pytest.mark.parametrize("name", ["", "blobs", "../blobs-v0", "a b-v0", "x/../y-v0", "blobs-v"])
def test_a_malformed_id_is_refused(tmp_path, minari_home, name):
    rollouts = recorded(tmp_path / "data")
    with pytest.raises(ConfigError, match="no Minari id"):
        to_minari(rollouts, name)
    with pytest.raises(ConfigError, match="no Minari id"):
        from_minari(name, tmp_path / "back")


def test_nothing_is_overwritten(tmp_path, minari_home):
    rollouts = recorded(tmp_path / "data")
    to_minari(rollouts, "blobs-v0")
    with pytest.raises(DataError, match="not empty"):
        to_minari(rollouts, "blobs-v0")
    with pytest.raises(DataError, match="not empty"):
        from_minari("blobs-v0", tmp_path / "data")
    assert [path.name for path in minari_home.iterdir()] == ["blobs-v0"]


def test_a_failure_leaves_nothing_behind(tmp_path, minari_home, monkeypatch):
    rollouts = recorded(tmp_path / "data")
    monkeypatch.setattr("srl_bench.convert.minari._buffers", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        to_minari(rollouts, "blobs-v0")
    assert list(minari_home.iterdir()) == []


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(ConfigError, match=r"pip install 'srl-bench\[formats\]'"):
        to_minari(recorded(tmp_path / "data"), "blobs-v0")


def test_the_formats_are_imported_when_they_are_used():
    names = "srl_bench.convert.minari, srl_bench.convert.lerobot, srl_bench.convert.srl_zoo"
    code = f"import sys, srl_bench, {names}; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "srl_bench.convert.video" in out
    assert {"minari", "pyarrow", "av", "h5py", "PIL", "pandas", "torch"} & set(out) == set()


def test_the_functions_are_in_the_package_and_imported_when_they_are_used():
    code = (
        "import sys\n"
        "import srl_bench.convert\n"
        "before = set(sys.modules)\n"
        "from srl_bench.convert import from_lerobot, from_minari, from_srl_zoo, to_lerobot, to_minari, to_srl_zoo\n"
        "print(*before, '|', *sys.modules, '|', from_lerobot.__module__, to_srl_zoo.__module__)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    before, after, homes = (part.split() for part in out.split("|"))
    assert [name for name in before if name.startswith("srl_bench.convert.")] == []
    assert {"minari", "pyarrow", "av", "h5py", "PIL", "pandas", "torch"} & set(after) == set()
    assert homes == ["srl_bench.convert.lerobot", "srl_bench.convert.srl_zoo"]
    assert convert.to_minari is to_minari
    assert set(dir(convert)) == {f"{way}_{name}" for way in ("from", "to") for name in ("lerobot", "minari", "srl_zoo")}
    with pytest.raises(AttributeError, match="to_rlds"):
        convert.to_rlds  # noqa: B018


# Damage


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A data set of Minari's, as a folder, and a function that copies it."""
    base = tmp_path_factory.mktemp("minari")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(base / "sets"))
        to_minari(recorded(base / "data", continuous=True, views=2, domains=("a",), size=8), "blobs-v0")
    return base / "sets/blobs-v0/data"


def edit(folder, **changes):
    metadata = json.loads((folder / "metadata.json").read_text())
    metadata |= changes
    (folder / "metadata.json").write_text(json.dumps({k: v for k, v in metadata.items() if v is not ...}))


@pytest.fixture
def copy(written, tmp_path):
    return shutil.copytree(written, tmp_path / "copy")


SEALED = {
    "environment": "tests/Blobs-v0", "environment_kwargs": {}, "recording": {}, "n_actions": 0, "factors": [],
    "sha256": {}, "episode_hashes": [],
}  # fmt: skip
SEALED["seal"] = seal_of(SEALED)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observation_space": ...}, "'observation_space' is missing"),
        ({"action_space": ...}, "'action_space' is missing"),
        ({"total_episodes": 10**12}, "total_episodes"),
        ({"total_episodes": 8}, "episode_7 is missing"),
        ({"total_episodes": ...}, "total_episodes"),
        ({"data_format": "arrow"}, "only 'hdf5'"),
        ({"srl_bench": {"environment": 3}}, "'environment' is missing or not a str"),
        ({"srl_bench": {**SEALED, "environment": "tests/Other-v0"}}, "description of the rollouts was altered"),
        ({"observation_space": '{"type": "Box", "dtype": "uint8", "shape": [99999999, 64, 3]}'}, "height"),
        ({"observation_space": '{"type": "Box", "dtype": "float32", "shape": [64, 64, 3]}'}, "no images"),
    ],
)
def test_a_wrong_description_is_named(copy, tmp_path, changes, message):
    """Without its spaces Minari would make the environment that the file names."""
    edit(copy, **changes)
    with pytest.raises(DataError, match=message):
        from_minari(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_other_description_is_read_or_refused(written, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    metadata = json.loads((written / "metadata.json").read_text())
    replace_entry(data, metadata, metadata["srl_bench"], metadata["srl_bench"]["factors"][0])
    (folder / "metadata.json").write_text(json.dumps(metadata))
    (folder / "main_data.hdf5").symlink_to(written / "main_data.hdf5")
    try:
        from_minari(folder, folder / "out")
    except DataError:
        assert not (folder / "out").exists()


def damaged(change):
    def apply(file):
        with h5py.File(file, "a") as store:
            change(store, store["episode_1"])

    return apply


def replace(group, name, **dataset):
    del group[name]
    group.create_dataset(name, **dataset)


def linked(store, group):
    del group["rewards"]
    group["rewards"] = h5py.ExternalLink("/etc/passwd", "/rewards")


def soft(store, group):
    del group["rewards"]
    group["rewards"] = h5py.SoftLink("/episode_0/rewards")


def virtual(store, group):
    layout = h5py.VirtualLayout(shape=(7,), dtype=np.float32)
    layout[:] = h5py.VirtualSource("elsewhere.hdf5", "rewards", shape=(7,))
    del group["rewards"]
    group.create_virtual_dataset("rewards", layout)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (linked, "link to another place"),
        (virtual, "in another file"),
        (soft, "link to another place"),
        (lambda s, g: replace(g, "rewards", shape=(7,), dtype="f4", external=[("/etc/passwd", 0, 28)]), "another file"),
        (lambda s, g: replace(g, "rewards", shape=(10**12,), dtype="f4", chunks=(100,)), "number of steps"),
        (lambda s, g: replace(g, "rewards", data=["a"] * 7), "rewards is object"),
        (lambda s, g: replace(g, "actions", data=np.zeros((7, 3))), r"not \(n, 2\)"),
        (lambda s, g: replace(g, "terminations", data=np.zeros(6, bool)), "6 rows, not 7"),
        (lambda s, g: replace(g["infos"], "state", data=np.zeros((7, 4))), "7 rows, not 8"),
        (lambda s, g: replace(g["infos"], "state", data=np.full((8, 4), np.nan)), "NaN"),
        (lambda s, g: replace(g["infos"], "state", data=np.zeros((8, 5))), "factors"),
        (lambda s, g: replace(g["infos"], "domain", data=np.full(8, 1)), "domain"),
        (lambda s, g: replace(g["observations"], "pixels", data=np.zeros((8, 9, 8, 3), np.uint8)), "pixels"),
        (lambda s, g: replace(g["observations"], "pixels", data=np.zeros((8, 8, 8, 3))), "neither pixels nor JPEG"),
        (lambda s, g: replace(g["observations"], "pixels", data=np.zeros((8, 100), np.uint8)), "pixels is damaged"),
        (lambda s, g: g.__delitem__("actions"), "actions is missing"),
        (lambda s, g: s.__delitem__("episode_1"), "episode_1 is missing"),
    ],
)  # fmt: skip
def test_a_damaged_array_is_named(copy, tmp_path, change, message):
    damaged(change)(copy / "main_data.hdf5")
    with pytest.raises(DataError, match=message):
        from_minari(copy, tmp_path / "out")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_file_with_flipped_or_missing_bytes_is_read_or_refused(written, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flip")
    shutil.copy(written / "main_data.hdf5", folder)
    damage(data, folder / "main_data.hdf5")
    shutil.copy(written / "metadata.json", folder)
    described = json.loads((folder / "metadata.json").read_text())["srl_bench"]
    try:
        assert from_minari(folder, folder / "out").info == described
    except DataError:
        assert not (folder / "out").exists()


@pytest.mark.parametrize("name", ["rewards", "truncations", "actions", "infos/state", "observations/pixels"])
def test_what_was_altered_after_the_export_is_refused(copy, tmp_path, name):
    """Unless the description goes too; without alterations it comes back whole."""
    options = {"observations": "pixels", "image_size": 4}
    assert from_minari(copy, tmp_path / "before", **options).environment == "tests/Blobs-v0"
    with h5py.File(copy / "main_data.hdf5", "a") as store:
        array = store["episode_3"][name]
        last = (-1,) * array.ndim
        array[last] = not array[last] if array.dtype == bool else array[last] / 2 + 0.25
    ours = {"observations/pixels": "observations", "infos/state": "factors", "truncations": "truncated"}.get(name, name)
    with pytest.raises(DataError, match=f"{ours} were altered after the export"):
        from_minari(copy, tmp_path / "out")
    if ours == "observations":
        assert len(from_minari(copy, tmp_path / "small", **options)) == 46
    else:
        with pytest.raises(DataError, match=f"{ours} were altered after the export"):
            from_minari(copy, tmp_path / "out", **options)
    edit(copy, srl_bench=...)
    assert from_minari(copy, tmp_path / "foreign").info["recording"]["format"] == "minari"


def test_a_selection_with_an_altered_episode_is_refused(tmp_path, minari_home):
    rollouts = recorded(tmp_path / "data")
    dataset = to_minari(rollouts, "blobs-v0").filter_episodes(lambda episode: len(episode) > 3)
    with h5py.File(minari_home / "blobs-v0/data/main_data.hdf5", "a") as store:
        store["episode_3/rewards"][2] += 1
    with pytest.raises(DataError, match="episode 1 were altered"):
        from_minari(dataset, tmp_path / "some")


def test_a_set_of_ours_says_itself_where_its_ground_truth_is(copy, tmp_path):
    for options in ({"state": "joints"}, {"state": None}, {"action_bounds": ([-1, -1], [1, 1])}):
        with pytest.raises(ConfigError, match=f"says its {next(iter(options))} itself"):
            from_minari(copy, tmp_path / "out", **options)


@pytest.mark.parametrize("what", ["nothing", "folder", "empty json"])
def test_a_place_without_a_data_set(tmp_path, what):
    place = tmp_path / "place"
    if what != "nothing":
        place.mkdir()
    if what == "empty json":
        (place / "metadata.json").write_text("")
    with pytest.raises(DataError, match=r"metadata\.json"):
        from_minari(place, tmp_path / "out")
