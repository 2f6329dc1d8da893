"""Rollouts with all that a format must keep."""

import numpy as np
import worlds
from hypothesis import strategies as st

from srl_bench.rollouts import ARRAYS, OPTIONAL, atomic_folder, open_rollouts
from srl_bench.writer import RolloutWriter

LENGTHS = (3, 7, 1, 12, 5, 9, 2)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


def recorded(
    folder, *, continuous=False, views=1, domains=(), size=16, noise=True, lengths=LENGTHS, seed=5, factors=4,
    actions=2, labels=(),
):  # fmt: skip
    """Rollouts of unequal episodes that end in every way, with pixels of noise, which no lossy code keeps.

    `labels` are pairs of a further factor and its value in each episode.
    """
    random = np.random.default_rng(seed)
    table = [*worlds.FACTORS[:factors], *(factor for factor, _ in labels)]
    with atomic_folder(folder) as path:
        writer = RolloutWriter(path)
        for index, steps in enumerate(lengths):
            (episode,) = worlds.simulate(1, steps, continuous=continuous, seed=index, size=size)
            last = np.arange(steps + 1) == steps - 1
            episode["terminated"], episode["truncated"] = (last & (index % 3 != 0), last & (index % 3 != 1))
            episode["rewards"][:-1] += random.normal(size=steps).astype(np.float32)
            marks = np.tile([float(values[index]) for _, values in labels], (steps + 1, 1))
            episode["factors"] = np.hstack([episode["factors"][:, :factors], marks])
            if continuous:
                episode["actions"] = episode["actions"][:, :actions]
            shape = (steps + 1, views - 1, size, size, 3)
            if noise:
                episode["observations"] = random.integers(0, 256, (steps + 1, size, size, 3), dtype=np.uint8)
            if views > 1:
                episode["views"] = random.integers(0, 256, shape, dtype=np.uint8)
            if domains:
                episode["domain"] = np.full(steps + 1, index % len(domains))
            writer.append(episode)
        info = {
            "environment": "tests/Blobs-v0",
            "environment_kwargs": {"colour": "red"},
            "recording": {"seed": seed, "policy": "random"},
            "n_actions": 0 if continuous else 4,
            "action_bounds": [[-2.0] * actions, [2.0] * actions] if continuous else None,
            "factors": [factor.to_dict() for factor in table],
            "views": ["pixels", *(f"camera_{number}" for number in range(1, views))],
            "domains": list(domains),
        }
        writer.seal(info, seed=seed)
    return open_rollouts(folder)


def assert_same(found, expected, *, images=True):
    """Every array is the same, bit for bit, and so is the description if images are."""
    for name in (*ARRAYS, *OPTIONAL):
        if images or name not in ("observations", "views"):
            one, other = getattr(found, name), getattr(expected, name)
            assert (one is None) == (other is None), name
            if one is not None:
                assert one.dtype == other.dtype, name
                np.testing.assert_array_equal(one, other, err_msg=name)
    assert found.info["split"] == expected.info["split"]
    if images:
        assert found.data_hash == expected.data_hash
        assert found.info == expected.info


def replace_entry(data, *places):
    """Put anything into an entry of one of some dictionaries."""
    place = data.draw(st.sampled_from([place for place in places if place]))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(JUNK)


def damage(data, file):
    """Cut a file off, or change some of its bytes."""
    content = bytearray(file.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 8))):
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    file.unlink()
    file.write_bytes(content)
