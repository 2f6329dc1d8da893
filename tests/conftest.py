"""Data that several test files share, made once per session."""

import os

os.environ.setdefault("SRL_BENCH_QUIET", "1")

import pytest
import torch
import worlds

from srl_bench.record import record

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def mobile(tmp_path_factory):
    """MobileRobot, 2,000 frames of 48 pixels in 20 episodes of random actions."""
    folder = tmp_path_factory.mktemp("recorded") / "mobile"
    return record("srl_bench/MobileRobot-v0", 2_000, 0, out=folder, environment_kwargs={"image_size": 48})


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Blobs of 8 pixels, 12 episodes of 15 steps: for tests of machinery, with the body "flatten"."""
    return worlds.write(tmp_path_factory.mktemp("worlds") / "tiny", worlds.simulate(12, 15, size=8))


@pytest.fixture(scope="session")
def tiny_continuous(tmp_path_factory):
    """`tiny` with two continuous actions."""
    episodes = worlds.simulate(12, 15, size=8, continuous=True)
    return worlds.write(tmp_path_factory.mktemp("worlds") / "tiny_continuous", episodes)


@pytest.fixture(scope="session")
def blobs(tmp_path_factory):
    """Blobs of 48 pixels, 60 episodes of 25 steps."""
    return worlds.write(tmp_path_factory.mktemp("worlds") / "blobs", worlds.simulate(60, 25))


@pytest.fixture(scope="session")
def blobs_continuous(tmp_path_factory):
    """`blobs` with two continuous actions."""
    return worlds.write(
        tmp_path_factory.mktemp("worlds") / "blobs_continuous", worlds.simulate(60, 25, continuous=True)
    )
