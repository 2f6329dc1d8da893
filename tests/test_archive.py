import zipfile

import numpy as np
import pytest

import srl_bench as srl
from srl_bench.errors import DataError
from srl_bench.rollouts import ARRAYS


@pytest.fixture(scope="module")
def packed(mobile, tmp_path_factory):
    return srl.pack(mobile, tmp_path_factory.mktemp("packed") / "mobile.zip")


def test_it_is_small_and_comes_back_bit_for_bit(mobile, packed, tmp_path):
    again = srl.unpack(packed, tmp_path / "data")
    assert packed.stat().st_size < 0.1 * mobile.observations.nbytes
    assert again.info == mobile.info
    for name in ARRAYS:
        assert (again.path / f"{name}.npy").read_bytes() == (mobile.path / f"{name}.npy").read_bytes()


def test_nothing_is_overwritten(mobile, packed, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="exists"):
        srl.pack(mobile, packed)
    with pytest.raises(DataError, match="not empty"):
        srl.unpack(packed, tmp_path)


@pytest.mark.parametrize("at", np.linspace(0.01, 0.99, 12))
def test_a_damaged_file_is_an_error_and_leaves_nothing(packed, tmp_path, at):
    content = bytearray(packed.read_bytes())
    content[int(at * len(content))] ^= 0xFF
    for name, damaged in (("flipped", content), ("cut", content[: int(at * len(content))])):
        file = tmp_path / f"{name}.zip"
        file.write_bytes(damaged)
        with pytest.raises(DataError):
            srl.unpack(file, tmp_path / "data")
        assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["../evil.npy", "/tmp/evil.npy", "other.txt"])
def test_members_that_do_not_belong_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(DataError, match="no packed data set"):
        srl.unpack(tmp_path / "a.zip", tmp_path / "data")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip"]


def test_no_file(tmp_path):
    with pytest.raises(DataError, match=r"absent\.zip"):
        srl.unpack(tmp_path / "absent.zip", tmp_path / "data")
