"""LeRobot v3.0: exact in both directions, by the published schema, and safe with what others wrote."""

import json
import shutil
import sys
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from sets import LENGTHS, assert_same, damage, recorded, replace_entry

from srl_bench.convert import lerobot_source, lerobot_target, lerobot_tasks
from srl_bench.convert.lerobot import from_lerobot, to_lerobot
from srl_bench.errors import ConfigError, DataError
from srl_bench.factors import Factor

CAMERA = "observation.images.pixels"
DATA, EPISODES = Path("data/chunk-000/file-000.parquet"), Path("meta/episodes/chunk-000/file-000.parquet")


@pytest.mark.parametrize("encoding", ["lossless", "png"])
@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize(("views", "domains", "size"), [(1, (), 13), (3, ("plain", "dark"), 16)])
def test_there_and_back_is_the_same_bit_for_bit(tmp_path, encoding, continuous, views, domains, size):
    """Noise, and sides that are odd, which videos with shared colours cannot have."""
    rollouts = recorded(tmp_path / "data", continuous=continuous, views=views, domains=domains, size=size)
    folder = to_lerobot(rollouts, tmp_path / "lerobot", encoding=encoding)
    assert_same(from_lerobot(folder, tmp_path / "back"), rollouts)


@pytest.mark.parametrize("factors", [0, 1])
def test_one_column_and_no_factors(tmp_path, factors):
    """Arrays of shape (N, 1) are scalars in the files; (N, 0) has no column."""
    rollouts = recorded(tmp_path / "data", continuous=True, factors=factors, actions=1)
    assert (rollouts.factors.shape[1], rollouts.actions.shape[1]) == (factors, 1)
    assert_same(from_lerobot(to_lerobot(rollouts, tmp_path / "set"), tmp_path / "back"), rollouts)


# Schema


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Rollouts of two views and continuous actions, and what they are as a LeRobot data set of small files."""
    base = tmp_path_factory.mktemp("lerobot")
    rollouts = recorded(base / "data", continuous=True, views=2, domains=("a",), size=16)
    return rollouts, to_lerobot(rollouts, base / "set", fps=20, task="drive there", robot_type="blob")


def test_the_description_is_as_published(exported):
    rollouts, folder = exported
    info = json.loads((folder / "meta/info.json").read_text())
    features = info.pop("features")
    assert info == {
        "codebase_version": "v3.0",
        "robot_type": "blob",
        "total_episodes": 7,
        "total_frames": len(rollouts),
        "total_tasks": 1,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": 20,
        "splits": {"train": "0:7"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    shapes = {name: (feature["dtype"], feature["shape"]) for name, feature in features.items()}
    assert shapes == {
        CAMERA: ("video", [16, 16, 3]),
        "observation.images.camera_1": ("video", [16, 16, 3]),
        "observation.state": ("float64", [4]),
        "action": ("float32", [2]),
        "next.reward": ("float32", [1]),
        "next.done": ("bool", [1]),
        "next.terminated": ("bool", [1]),
        "next.truncated": ("bool", [1]),
        "timestamp": ("float32", [1]),
        "frame_index": ("int64", [1]),
        "episode_index": ("int64", [1]),
        "index": ("int64", [1]),
        "task_index": ("int64", [1]),
        "is_final": ("bool", [1]),
        "domain": ("int64", [1]),
    }
    assert features[CAMERA]["names"] == ["height", "width", "channels"]
    assert features["observation.state"]["names"] == ["agent_x", "agent_y", "target_x", "target_y"]
    assert not any("/" in name for name in features)


def test_the_files_are_where_the_description_says(exported):
    _, folder = exported
    found = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    assert found == [
        "data/chunk-000/file-000.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/srl_bench.json",
        "meta/stats.json",
        "meta/tasks.parquet",
        "videos/observation.images.camera_1/chunk-000/file-000.mp4",
        "videos/observation.images.pixels/chunk-000/file-000.mp4",
    ]
    tasks = pd.read_parquet(folder / "meta/tasks.parquet")
    assert tasks.loc["drive there"].task_index == 0
    assert len(tasks) == 1


def test_the_data_are_the_rollouts(exported):
    """Oracle: the arrays."""
    rollouts, folder = exported
    file = parquet.ParquetFile(folder / "data/chunk-000/file-000.parquet")
    table = file.read()
    assert file.num_row_groups == 7
    assert table.schema.field("observation.state").type == pa.list_(pa.float64(), 4)
    assert table.schema.field("action").type == pa.list_(pa.float32(), 2)
    features = json.loads((folder / "meta/info.json").read_text())["features"]
    for name, feature in features.items():
        if feature["shape"] == [1]:
            assert str(table.schema.field(name).type) in (feature["dtype"], {"float32": "float"}.get(feature["dtype"]))
    frame = table.to_pandas()
    steps = rollouts.steps
    np.testing.assert_array_equal(np.stack(frame["observation.state"]), rollouts.factors)
    np.testing.assert_array_equal(np.stack(frame["action"]), rollouts.actions)
    np.testing.assert_array_equal(frame["next.reward"], rollouts.rewards)
    np.testing.assert_array_equal(frame["next.done"], rollouts.terminated | rollouts.truncated)
    np.testing.assert_array_equal(frame["frame_index"], steps)
    np.testing.assert_array_equal(frame["timestamp"], np.float32(steps / 20))
    np.testing.assert_array_equal(frame["episode_index"], rollouts.episode_ids)
    np.testing.assert_array_equal(frame["index"], np.arange(len(rollouts)))
    assert np.flatnonzero(frame["is_final"]).tolist() == (rollouts.episodes[1:] - 1).tolist()


def test_the_episodes_say_where_they_are(exported):
    """Every frame of a video is found by from_timestamp and the frame rate, as LeRobot finds it."""
    rollouts, folder = exported
    table = pd.read_parquet(folder / "meta/episodes/chunk-000/file-000.parquet")
    assert table["length"].tolist() == [steps + 1 for steps in LENGTHS]
    assert table["dataset_from_index"].tolist() == rollouts.episodes[:-1].tolist()
    assert table["dataset_to_index"].tolist() == rollouts.episodes[1:].tolist()
    assert [list(tasks) for tasks in table["tasks"]] == [["drive there"]] * 7
    places = [name for name in table if name.endswith(("chunk_index", "file_index"))]
    assert len(places) == 8
    assert not table[places].to_numpy().any()
    for number, key in enumerate((CAMERA, "observation.images.camera_1")):
        np.testing.assert_allclose(table[f"videos/{key}/from_timestamp"], rollouts.episodes[:-1] / 20)
        np.testing.assert_allclose(table[f"videos/{key}/to_timestamp"], rollouts.episodes[1:] / 20)
        with av.open(str(folder / f"videos/{key}/chunk-000/file-000.mp4")) as video:
            stream = video.streams.video[0]
            assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "gbrp", 20)
            frames = {round(frame.time * 20, 6): frame.to_ndarray(format="rgb24") for frame in video.decode(stream)}
        assert sorted(frames) == list(range(len(rollouts)))
        images = rollouts.views[:, 0] if number else rollouts.observations
        np.testing.assert_array_equal(np.stack([frames[row] for row in range(len(rollouts))]), images)


def test_the_statistics_are_those_of_the_arrays(exported):
    """Oracle: numpy on all pixels, in [0, 1]."""
    rollouts, folder = exported
    stats = json.loads((folder / "meta/stats.json").read_text())
    info = json.loads((folder / "meta/info.json").read_text())
    assert set(stats) == set(info["features"])
    for name, values in (("observation.state", rollouts.factors), ("action", rollouts.actions)):
        check_stats(stats[name], np.float64(values), (values.shape[1],))
    check_stats(stats["next.reward"], np.float64(rollouts.rewards[:, None]), (1,))
    assert stats["next.truncated"]["max"] == [True]
    pixels = (rollouts.observations / 255).reshape(-1, 3)
    check_stats(stats[CAMERA], pixels, (3, 1, 1), rows=len(rollouts))
    table = pd.read_parquet(folder / "meta/episodes/chunk-000/file-000.parquet")
    rows = slice(rollouts.episodes[3], rollouts.episodes[4])
    episode = {name.split("/")[2]: table[name][3].tolist() for name in table if name.startswith("stats/action/")}
    check_stats(episode, np.float64(rollouts.actions[rows]), (2,))
    key = f"stats/{CAMERA}/mean"
    found = np.array([[float(value[0][0])] for value in table[key][3]])
    np.testing.assert_allclose(found[:, 0], rollouts.observations[rows].mean(axis=(0, 1, 2)) / 255)


def check_stats(stats, values, shape, rows=None):
    oracle = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    for name, expected in oracle.items():
        assert np.shape(stats[name]) == shape
        np.testing.assert_allclose(np.ravel(stats[name]), expected, rtol=1e-6, atol=1e-9)
    for name, q in (("q01", 0.01), ("q10", 0.1), ("q50", 0.5), ("q90", 0.9), ("q99", 0.99)):
        np.testing.assert_allclose(np.ravel(stats[name]), np.quantile(values, q, axis=0), atol=1 / 254)
    assert stats["count"] == [rows or len(values)]


def test_large_sets_go_into_several_files_and_folders(tmp_path, monkeypatch):
    """With a limit of next to nothing, a file per episode."""
    monkeypatch.setattr(lerobot_target, "CHUNK_FILES", 3)
    rollouts = recorded(tmp_path / "data", views=2)
    folder = to_lerobot(rollouts, tmp_path / "set", max_file_mb=1e-9)
    expected = [f"chunk-{n // 3:03d}/file-{n % 3:03d}" for n in range(7)]
    for place in ("data", f"videos/{CAMERA}"):
        found = sorted(str(f.relative_to(folder / place).with_suffix("")) for f in (folder / place).rglob("file*"))
        assert found == expected
    table = pd.read_parquet(folder / "meta/episodes/chunk-000/file-000.parquet")
    assert table[f"videos/{CAMERA}/chunk_index"].tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert table[f"videos/{CAMERA}/from_timestamp"].tolist() == [0] * 7
    assert_same(from_lerobot(folder, tmp_path / "back"), rollouts)


@pytest.mark.parametrize(("encoding", "error"), [("h264", 3.0), ("av1", 3.0)])
def test_codes_with_loss_lose_in_the_images_only(tmp_path, encoding, error):
    rollouts = recorded(tmp_path / "data", noise=False, size=64)
    found = from_lerobot(to_lerobot(rollouts, tmp_path / "set", encoding=encoding), tmp_path / "back")
    assert_same(found, rollouts, images=False)
    difference = np.abs(found.observations.astype(int) - rollouts.observations)
    assert 0 < difference.mean() < error
    assert found.info["factors"] == rollouts.info["factors"]


def test_the_final_frames_can_be_left_out(tmp_path):
    """For agents that imitate; coming back, each episode has a step less."""
    rollouts = recorded(tmp_path / "data", lengths=(3, 7, 12, 5))
    folder = to_lerobot(rollouts, tmp_path / "set", final_frames=False)
    info = json.loads((folder / "meta/info.json").read_text())
    assert (info["total_frames"], "is_final" in info["features"]) == (27, False)
    found = from_lerobot(folder, tmp_path / "back")
    assert np.diff(found.episodes).tolist() == [3, 7, 12, 5]
    for index in range(4):
        old = slice(rollouts.episodes[index], rollouts.episodes[index + 1] - 2)
        new = slice(found.episodes[index], found.episodes[index + 1] - 1)
        np.testing.assert_array_equal(found.observations[new], rollouts.observations[old])
        np.testing.assert_array_equal(found.actions[new], rollouts.actions[old])
    last = found.episodes[1:] - 1
    assert not found.actions[last].any()
    assert found.truncated[last - 1].all()
    assert found.info["split"] == rollouts.info["split"]


def test_some_views_of_a_set_of_ours(tmp_path):
    """Its description says in which order they are, whatever the order in the file."""
    rollouts = recorded(tmp_path / "data", views=3)
    folder = to_lerobot(rollouts, tmp_path / "set")
    info = json.loads((folder / "meta/info.json").read_text())
    (folder / "meta/info.json").write_text(json.dumps(info, sort_keys=True))
    assert_same(from_lerobot(folder, tmp_path / "back"), rollouts)
    found = from_lerobot(folder, tmp_path / "some", cameras=["camera_2", "pixels"])
    np.testing.assert_array_equal(found.observations, rollouts.views[:, 1])
    np.testing.assert_array_equal(found.views[:, 0], rollouts.observations)
    assert found.info["views"] == ["camera_2", "pixels"]
    assert found.info["split"] == rollouts.info["split"]


# Tasks


def label(name, low, high, **facts):
    return Factor(name, "", low, high, kind="categorical", scope="episode", **facts)


def test_labels_of_tasks_become_tasks(tmp_path):
    """Oracle: the labels, by hand. Those of nuisances, and those that change within an episode, are no tasks."""
    labels = [
        (label("target", 0, 3), (2, 0, 2, 2, 0, 2, 0)),
        (label("light", 0, 1, role="nuisance"), (0, 1, 1, 0, 1, 0, 1)),
        (Factor("mass", "kg", 0, 1, scope="episode"), (0.5, 0.25, 0.5, 0.5, 0.5, 0.5, 0.5)),
        (label("task", 1, 2), (1, 1, 2, 1, 2, 2, 1)),
    ]
    rollouts = recorded(tmp_path / "data", labels=labels)
    folder = to_lerobot(rollouts, tmp_path / "set")
    sentences = [
        f"tests/Blobs-v0, where target is {target} and task is {n}" for target, n in [(0, 1), (0, 2), (2, 1), (2, 2)]
    ]
    numbers = [2, 0, 3, 2, 1, 3, 0]
    tasks = pd.read_parquet(folder / "meta/tasks.parquet")
    assert tasks.index.name == "task"
    assert dict(tasks["task_index"]) == dict(zip(sentences, range(4), strict=True))
    assert json.loads((folder / "meta/info.json").read_text())["total_tasks"] == 4
    frames = pd.read_parquet(folder / DATA)
    np.testing.assert_array_equal(frames["task_index"], np.repeat(numbers, np.diff(rollouts.episodes)))
    assert [list(names) for names in pd.read_parquet(folder / EPISODES)["tasks"]] == [[sentences[n]] for n in numbers]
    stats = json.loads((folder / "meta/stats.json").read_text())["task_index"]
    assert (stats["min"], stats["max"]) == ([0], [3])
    assert_same(from_lerobot(folder, tmp_path / "back"), rollouts)


@pytest.mark.parametrize("values", [(1, 2, 2, 1, 1, 1, 2), (2,) * 7])
def test_one_label_and_words_for_what_is_done(tmp_path, values):
    rollouts = recorded(tmp_path / "data", factors=0, labels=[(label("task", 1, 2), values)])
    folder = to_lerobot(rollouts, tmp_path / "set", task="push the puck")
    expected = {f"push the puck, where task is {value}": index for index, value in enumerate(sorted(set(values)))}
    assert dict(pd.read_parquet(folder / "meta/tasks.parquet")["task_index"]) == expected
    assert_same(from_lerobot(folder, tmp_path / "back"), rollouts)


def with_tasks(root, numbers, index="task"):
    """Give a set of others tasks: their numbers per frame, and a table of them whose index has a name or none."""
    sentences = pd.Index(["pick", "place", "pour"], name=index)
    pd.DataFrame({"task_index": [0, 1, 2]}, index=sentences).to_parquet(root / "meta/tasks.parquet")
    edit_feature(root, "task_index", dtype="int64", shape=[1], names=None)
    start = 0
    for file in sorted((root / "data").rglob("*.parquet")):
        table = parquet.read_table(file)
        part = pa.array(np.asarray(numbers)[start : start + len(table)], pa.int64())
        parquet.write_table(table.append_column("task_index", part), file)
        start += len(table)


@pytest.mark.parametrize("index", ["task", None])
def test_the_tasks_of_others_become_a_label(tmp_path, index):
    """Exported again they have the same sentences."""
    state, _, _, starts = foreign(tmp_path / "robot", image=True)
    numbers = np.repeat([2, 0, 0, 2, 0], np.diff(starts))
    with_tasks(tmp_path / "robot", numbers, index)
    rollouts = from_lerobot(tmp_path / "robot", tmp_path / "data", cameras=["top"])
    np.testing.assert_array_equal(rollouts.factors, np.column_stack([np.float32(state), numbers]))
    assert rollouts.factor_table[3] == label("task", 0, 2)
    assert [factor.name for factor in rollouts.factor_table] == ["hip", "knee", "toe", "task"]
    assert {value: found.tolist() for value, found in rollouts.episodes_by("task").items()} == {0: [1, 2, 4], 2: [0, 3]}
    assert rollouts.info["recording"]["tasks"] == {"0": "pick", "2": "pour"}
    again = to_lerobot(rollouts, tmp_path / "again")
    assert dict(pd.read_parquet(again / "meta/tasks.parquet")["task_index"]) == {"pick": 0, "pour": 1}
    np.testing.assert_array_equal(pd.read_parquet(again / DATA)["task_index"], numbers // 2)
    assert_same(from_lerobot(again, tmp_path / "back"), rollouts)


def test_a_task_that_changes_within_an_episode(tmp_path):
    """A state called task keeps its name; without a state the task is the only factor."""
    _, _, _, starts = foreign(tmp_path / "robot", image=True)
    numbers = np.arange(starts[-1]) % 3
    with_tasks(tmp_path / "robot", numbers)
    edit_feature(tmp_path / "robot", "observation.state", names=["task", "knee", "toe"])
    rollouts = from_lerobot(tmp_path / "robot", tmp_path / "data", cameras=["top"])
    expected = Factor("task_index", "", 0, 2, kind="categorical")
    assert rollouts.factor_table[3] == expected
    assert [factor.kind for factor in rollouts.factor_table[:3]] == ["continuous"] * 3
    np.testing.assert_array_equal(rollouts.factors[:, 3], numbers)
    assert rollouts.info["recording"]["tasks"] == {"0": "pick", "1": "place", "2": "pour"}
    bare = from_lerobot(tmp_path / "robot", tmp_path / "bare", cameras=["top"], state=None)
    assert bare.factors.tolist() == [[number] for number in numbers]
    assert bare.factor_table[0].name == "task"


def test_a_single_task_of_others_is_no_factor(tmp_path, monkeypatch):
    """Its folder may have any name."""
    foreign(tmp_path / "my robot", image=True)
    with_tasks(tmp_path / "my robot", [1] * 26)
    monkeypatch.chdir(tmp_path / "my robot")
    rollouts = from_lerobot(".", tmp_path / "data", cameras=["top"])
    assert (rollouts.environment, rollouts.info["recording"]["source"]) == ("lerobot/my-robot", "my robot")
    assert [factor.name for factor in rollouts.factor_table] == ["hip", "knee", "toe"]
    assert rollouts.info["recording"]["tasks"] == {"1": "place"}
    again = to_lerobot(rollouts, tmp_path / "again")
    assert dict(pd.read_parquet(again / "meta/tasks.parquet")["task_index"]) == {"place": 0}


def test_tasks_that_are_not_told(tmp_path, monkeypatch):
    foreign(tmp_path / "robot", image=True)
    with_tasks(tmp_path / "robot", [0, 3] * 13)
    with pytest.raises(DataError, match=r"tasks\.parquet has no sentence for task 3"):
        from_lerobot(tmp_path / "robot", tmp_path / "data", cameras=["top"])
    monkeypatch.setattr(lerobot_tasks, "MAX_TASKS", 2)
    with pytest.raises(DataError, match="claims 3 tasks"):
        from_lerobot(tmp_path / "robot", tmp_path / "data", cameras=["top"])
    (tmp_path / "robot/meta/tasks.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="damaged"):
        from_lerobot(tmp_path / "robot", tmp_path / "data", cameras=["top"])
    (tmp_path / "robot/meta/tasks.parquet").unlink()
    with pytest.raises(DataError, match=r"tasks\.parquet is missing"):
        from_lerobot(tmp_path / "robot", tmp_path / "data", cameras=["top"])


# Sets of others


def foreign(root, *, image=False, final_action=9.0):
    """A set as LeRobot records it: two cameras, data in three files, videos in two, lists of any length for vectors."""
    lengths, fps = [4, 6, 3, 5, 8], 30
    starts = np.cumsum([0, *lengths])
    total = int(starts[-1])
    kind = "image" if image else "video"
    random = np.random.default_rng(0)
    state, action = random.normal(size=(total, 3)), random.uniform(-4, 2, (total, 2))
    action[starts[1:] - 1] = final_action
    features = {
        "observation.images.top": {"dtype": kind, "shape": [48, 64, 3], "names": ["height", "width", "channels"]},
        "observation.wrist": {"dtype": kind, "shape": [3, 32, 32], "names": ["channels", "height", "width"]},
        "observation.depth": {"dtype": "video", "shape": [32, 32, 1], "names": None, "info": {"is_depth_map": True}},
        "observation.state": {"dtype": "float32", "shape": [3], "names": {"motors": ["hip", "knee", "toe"]}},
        "action": {"dtype": "float32", "shape": [2], "names": None},
        "next.reward": {"dtype": "float32", "shape": [1], "names": None},
        "next.done": {"dtype": "bool", "shape": [1], "names": None},
    }
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    info = {
        "codebase_version": "v3.0", "robot_type": "x", "total_episodes": 5, "total_frames": total, "total_tasks": 1,
        "chunks_size": 2, "fps": fps, "splits": {"train": "0:5"}, "features": features,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }  # fmt: skip
    (root / "meta/info.json").write_text(json.dumps(info))
    code = np.arange(total) * 7 % 200 + 20
    images = {
        "observation.images.top": np.tile(code[:, None, None, None], (1, 48, 64, 3)).astype(np.uint8),
        "observation.wrist": np.tile(255 - code[:, None, None, None], (1, 32, 32, 3)).astype(np.uint8),
    }
    rows = []
    for chunk, file, first, end in ((0, 0, 0, 2), (0, 1, 2, 4), (1, 0, 4, 5)):
        part = slice(starts[first], starts[end])
        columns = {
            "observation.state": pa.array(state[part].tolist(), pa.list_(pa.float32())),
            "action": pa.array(action[part].tolist(), pa.list_(pa.float32())),
            "next.reward": pa.array(np.arange(total)[part], pa.float32()),
            "next.done": pa.array(np.isin(np.arange(total)[part], starts[1:] - 1)),
            "index": pa.array(np.arange(total)[part]),
            "episode_index": pa.array(np.repeat(np.arange(5), lengths)[part]),
        }
        if image:
            for key, pixels in images.items():
                files = lerobot_target.png_files(pixels[part])
                columns[key] = pa.array([{"bytes": f, "path": "/etc/passwd"} for f in files])
        path = root / f"data/chunk-{chunk:03d}/file-{file:03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table(columns), path, row_group_size=5)
        for episode in range(first, end):
            rows.append({"episode_index": episode, "length": lengths[episode], "data/chunk_index": chunk,
                         "data/file_index": file, "dataset_from_index": int(starts[episode]),
                         "dataset_to_index": int(starts[episode + 1])})  # fmt: skip
            for key in () if image else images:
                since = starts[episode] - (starts[3] if episode >= 3 else 0)
                video = {"chunk_index": 0, "file_index": int(episode >= 3), "from_timestamp": since / fps}
                rows[-1] |= {f"videos/{key}/{name}": value for name, value in video.items()}
    parquet.write_table(pa.Table.from_pylist(rows[3:]), root / "meta/episodes/chunk-000/file-001.parquet")
    parquet.write_table(pa.Table.from_pylist(rows[:3]), root / "meta/episodes/chunk-000/file-000.parquet")
    for key, pixels in () if image else images.items():
        for file, part in enumerate((slice(0, starts[3]), slice(starts[3], total))):
            write_video(root / f"videos/{key}/chunk-000/file-{file:03d}.mp4", pixels[part], fps)
    return state, action, code, starts


def write_video(file, images, fps):
    """With frames that refer to later ones, as encoders do by default."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", fps, options={"crf": "10"})
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("image", [False, True])
def test_a_set_of_others(tmp_path, image):
    """Oracle: the numbers that were written; the grey level of an image tells its frame."""
    state, action, code, starts = foreign(tmp_path / "robot", image=image)
    rollouts = from_lerobot(tmp_path / "robot", tmp_path / "data", image_size=32, action_bounds=([-9, -9], [9, 9]))
    last = starts[1:] - 1
    steps = np.setdiff1d(np.arange(len(state)), last)
    assert rollouts.episodes.tolist() == starts.tolist()
    np.testing.assert_array_equal(rollouts.factors, np.float32(state))
    np.testing.assert_allclose(rollouts.actions[steps], action[steps] / 9, atol=1e-6)
    np.testing.assert_array_equal(rollouts.rewards[steps], np.float32(steps))
    for name in ("actions", "rewards", "terminated", "truncated"):
        assert not getattr(rollouts, name)[last].any(), name
    assert np.flatnonzero(rollouts.truncated).tolist() == (last - 1).tolist()
    assert not rollouts.terminated.any()
    tolerance = 0 if image else 3
    assert np.abs(rollouts.observations - code[:, None, None, None]).max() <= tolerance
    assert np.abs(rollouts.views[:, 0] - (255 - code[:, None, None, None])).max() <= tolerance
    assert rollouts.info["views"] == ["top", "wrist"]
    assert [factor.name for factor in rollouts.factor_table] == ["hip", "knee", "toe"]
    assert rollouts.environment == "lerobot/robot"
    assert rollouts.info["recording"] == {"format": "lerobot", "source": "robot", "fps": 30.0}
    assert rollouts.info["action_bounds"] == [[-9, -9], [9, 9]]


def test_choices_about_a_set_of_others(tmp_path):
    _, action, code, _ = foreign(tmp_path / "robot", final_action=0.0)
    with pytest.raises(DataError, match="different sizes"):
        from_lerobot(tmp_path / "robot", tmp_path / "data")
    with pytest.raises(ConfigError, match="unknown camera"):
        from_lerobot(tmp_path / "robot", tmp_path / "data", cameras=["left"])
    with pytest.raises(DataError, match=r"no 'truth'.*observation\.state.*state=None"):
        from_lerobot(tmp_path / "robot", tmp_path / "data", cameras=["top"], state="truth")
    rollouts = from_lerobot(tmp_path / "robot", tmp_path / "data", cameras=["observation.wrist"], state=None, seed=3)
    assert rollouts.views is None
    assert rollouts.factors.shape == (26, 0)
    assert np.abs(rollouts.observations[:, 0, 0, 0] - (255 - code)).max() <= 3
    assert rollouts.info["action_bounds"] == [action.astype("f4").min(0).tolist(), action.astype("f4").max(0).tolist()]
    assert (np.abs(rollouts.actions).max(), rollouts.n_actions) == (1, 0)


# Refusals


def test_arguments_that_are_wrong(tmp_path, monkeypatch):
    rollouts = recorded(tmp_path / "data", size=13)
    for options, message in (
        ({"fps": 0}, "fps"), ({"fps": 2.5}, "fps"), ({"encoding": "gif"}, "one of"), ({"encoding": "h264"}, "13 x 13"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            to_lerobot(rollouts, tmp_path / "set", **options)
        assert not (tmp_path / "set").exists()
    with pytest.raises(ConfigError, match="image_size"):
        from_lerobot(tmp_path, tmp_path / "out", image_size=(3, -1))
    with pytest.raises(DataError, match="not empty"):
        to_lerobot(rollouts, rollouts.path)
    folder = to_lerobot(rollouts, tmp_path / "set")
    with pytest.raises(DataError, match="not empty"):
        from_lerobot(folder, rollouts.path)
    for package in ("pyarrow", "av"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(ConfigError, match=r"pip install 'srl-bench\[formats\]'"):
                to_lerobot(rollouts, tmp_path / "other")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A small set of images in the data files, and one of videos, both with a description of ours."""
    base = tmp_path_factory.mktemp("written")
    rollouts = recorded(base / "data", continuous=True, size=8, lengths=(2, 3, 2))
    return {name: to_lerobot(rollouts, base / name, encoding=name) for name in ("png", "lossless")}


@pytest.fixture
def copy(written, tmp_path):
    return shutil.copytree(written["lossless"], tmp_path / "copy")


def edit_feature(folder, name, **changes):
    file = folder / "meta/info.json"
    info = json.loads(file.read_text())
    info["features"][name] = info["features"].get(name, {}) | changes
    file.write_text(json.dumps(info))


def edit_info(folder, **changes):
    file = folder / "meta/info.json"
    info = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in info.items() if value is not ...}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codebase_version": "v2.1"}, "'v2.1', but only v3.0"),
        ({"codebase_version": ...}, "codebase_version"),
        ({"fps": 0}, "fps"),
        ({"fps": True}, "fps"),
        ({"features": []}, "'features'"),
        ({"features": {}}, "no feature of RGB images"),
        ({"features": {CAMERA: {"dtype": "video", "shape": [8, 8, 3]}}}, "no feature 'action'"),
        ({"features": {CAMERA: {"dtype": "video", "shape": [99999, 8, 3]}}}, "height"),
        ({"total_frames": 10**15}, "total_frames"),
        ({"total_frames": 11}, "follow upon each other from 0 to 11"),
        ({"total_episodes": 4}, "3 rows, but the description says 4"),
        ({"data_path": "../data/file-{file_index:03d}.parquet"}, "not a file below it"),
        ({"data_path": "/etc/passwd"}, "not a file below it"),
        ({"data_path": "data/{chunk_index.__class__}"}, "not understood"),
        ({"data_path": "data/{file_index:099999999d}"}, "not understood"),
        ({"data_path": None}, "not understood"),
        ({"video_path": "videos/{video_key}/../../../{file_index}"}, "not a file below it"),
        ({"video_path": "videos/{secret}"}, "not understood"),
        ({"video_path": None}, "not understood"),
    ],
)
def test_a_wrong_description_is_named(copy, tmp_path, changes, message):
    edit_info(copy, **changes)
    with pytest.raises(DataError, match=message):
        from_lerobot(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_other_description_is_read_or_refused(written, tmp_path_factory, data):
    source = written[data.draw(st.sampled_from(sorted(written)))]
    folder = tmp_path_factory.mktemp("fuzz") / "set"
    shutil.copytree(source, folder)
    name = data.draw(st.sampled_from(["info", "srl_bench"]))
    content = json.loads((folder / f"meta/{name}.json").read_text())
    places = [content, *(value for value in content.values() if isinstance(value, dict))]
    places += list(content.get("features", {}).values()) if name == "info" else content["factors"]
    replace_entry(data, *places)
    (folder / f"meta/{name}.json").write_text(json.dumps(content))
    try:
        from_lerobot(folder, folder.parent / "out")
    except DataError:
        assert not (folder.parent / "out").exists()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_files_with_flipped_or_missing_bytes_are_read_or_refused(written, tmp_path_factory, data):
    source = written[data.draw(st.sampled_from(sorted(written)))]
    folder = tmp_path_factory.mktemp("flip") / "set"
    shutil.copytree(source, folder)
    files = sorted(f for f in folder.rglob("*") if f.suffix in (".parquet", ".mp4") and f.stem != "tasks")
    file = data.draw(st.sampled_from(files))
    damage(data, file)
    described = json.loads((folder / "meta/srl_bench.json").read_text())
    try:
        assert from_lerobot(folder, folder.parent / "out").info == described
    except DataError:
        assert not (folder.parent / "out").exists()


def rewrite(file, **columns):
    """Replace columns of a Parquet file; None leaves one out."""
    table = parquet.read_table(file)
    for name, values in columns.items():
        at = table.schema.get_field_index(name)
        table = table.remove_column(at) if values is None else table.set_column(at, name, values)
    parquet.write_table(table, file)


@pytest.mark.parametrize(
    ("file", "columns", "message"),
    [
        (DATA, {"action": None}, "lacks the columns action"),
        (DATA, {"index": pa.array([0, 1, 2, 3, 4, 5, 6, 7, 9, 8])}, "does not count the frames"),
        (DATA, {"episode_index": pa.array([0] * 10)}, "'episode_index' does not fit"),
        (DATA, {"is_final": pa.array([True] * 10)}, "'is_final' is not true on the last frame"),
        (DATA, {"next.reward": pa.array(["a"] * 10)}, "holds string"),
        (DATA, {"next.reward": pa.array([1.0] * 9 + [None])}, "empty"),
        (DATA, {"next.reward": pa.array([np.nan] * 10, pa.float32())}, "NaN"),
        (DATA, {"action": pa.array([[1.0, 2.0]] * 9 + [[1.0]])}, "does not hold 2 numbers in every row"),
        (DATA, {"action": pa.array([[1, 2]] * 10)}, "actions are int64 of shape"),
        (EPISODES, {"length": None}, "lacks the columns length"),
        (EPISODES, {"length": pa.array([3, 4, 4])}, "do not follow upon each other"),
        (EPISODES, {"dataset_from_index": pa.array([0, 4, 7])}, "do not follow upon each other"),
        (EPISODES, {"episode_index": pa.array([0, 1, 1])}, "do not follow upon each other"),
        (EPISODES, {"data/file_index": pa.array([0, 7, 0])}, "not side by side"),
        (EPISODES, {"data/file_index": pa.array([7, 7, 7])}, "file-007.parquet is missing"),
        (EPISODES, {f"videos/{CAMERA}/file_index": pa.array([0, 0, 3])}, "file-003.mp4 is missing"),
        (EPISODES, {f"videos/{CAMERA}/from_timestamp": pa.array([0.0, 0.3, 5.0])}, "no frame at 5.000 s"),
        (EPISODES, {f"videos/{CAMERA}/from_timestamp": pa.array([-9.0, 0.3, 0.7])}, "not 8 x 8 at -9.000 s"),
    ],
)
def test_a_damaged_table_is_named(copy, tmp_path, file, columns, message):
    rewrite(copy / file, **columns)
    with pytest.raises(DataError, match=message):
        from_lerobot(copy, tmp_path / "out")


def test_what_was_altered_after_the_export_is_refused(copy, tmp_path):
    """Numbers of any export with final frames; images of those without loss."""
    rewrite(copy / DATA, **{"next.reward": pa.array(np.arange(10, dtype=np.float32))})
    with pytest.raises(DataError, match=r"srl_bench\.json .*: rewards were altered after the export"):
        from_lerobot(copy, tmp_path / "out")
    (copy / "meta/srl_bench.json").unlink()
    assert from_lerobot(copy, tmp_path / "foreign").info["recording"]["format"] == "lerobot"


def test_altered_images_are_refused(written, tmp_path):
    other = to_lerobot(
        recorded(tmp_path / "data", continuous=True, size=8, lengths=(2, 3, 2), seed=6), tmp_path / "other"
    )
    copy = shutil.copytree(written["lossless"], tmp_path / "copy")
    for video in copy.rglob("*.mp4"):
        shutil.copy(other / video.relative_to(copy), video)
    with pytest.raises(DataError, match="observations were altered after the export"):
        from_lerobot(copy, tmp_path / "out")


def test_a_set_of_ours_says_itself_what_it_holds(copy, tmp_path):
    for options in ({"state": None}, {"n_actions": 7}, {"action_bounds": ([-1, -1], [1, 1])}):
        with pytest.raises(ConfigError, match=f"says its {next(iter(options))} itself"):
            from_lerobot(copy, tmp_path / "out", **options)


def test_images_are_those_inside_and_of_their_size(written, tmp_path):
    """A path beside the bytes is never opened."""
    for name, entry, message in (
        ("path", {"bytes": None, "path": "/etc/passwd"}, "images in other files"),
        ("large", {"bytes": lerobot_target.png_files(np.zeros((1, 9, 8, 3), np.uint8))[0], "path": None}, "9, 8"),
        ("text", {"bytes": b"GIF89a", "path": None}, "damaged"),
    ):
        folder = shutil.copytree(written["png"], tmp_path / name)
        column = parquet.read_table(folder / DATA)[CAMERA].to_pylist()
        column[4] = entry
        rewrite(folder / DATA, **{CAMERA: pa.array(column)})
        with pytest.raises(DataError, match=message):
            from_lerobot(folder, tmp_path / "out")


def test_a_playlist_that_is_called_a_video_is_not_followed(copy, tmp_path):
    file = copy / f"videos/{CAMERA}/chunk-000/file-000.mp4"
    shutil.copy(file, tmp_path / "other.mp4")
    file.write_text(f"ffconcat version 1.0\nfile '{tmp_path / 'other.mp4'}'\n")
    with pytest.raises(DataError, match="damaged or of another format"):
        from_lerobot(copy, tmp_path / "out")


def test_a_video_of_another_size_is_refused(copy, tmp_path):
    file = copy / f"videos/{CAMERA}/chunk-000/file-000.mp4"
    write_video(file, np.zeros((10, 16, 16, 3), np.uint8), 10)
    with pytest.raises(DataError, match=r"16 x 16 pixels at 0\.000 s, not 8 x 8"):
        from_lerobot(copy, tmp_path / "out")


def test_a_claim_of_more_than_fits_is_refused_before_it_is_read(copy, tmp_path, monkeypatch):
    monkeypatch.setattr("srl_bench.convert.checks.MAX_TABLE_BYTES", 100)
    monkeypatch.setattr(lerobot_source, "_numbers", lambda *_: 1 / 0)
    with pytest.raises(DataError, match="more than is read"):
        from_lerobot(copy, tmp_path / "out")
