"""JEMMIG and DCIMIG: values of the authors' later code (ubisoft-laforge), and cases that follow from the definition."""

import numpy as np
import pytest
from test_reference import FOLDER, REFERENCE

from srl_bench.metrics import common, dcimig, jemmig
from srl_bench.metrics.disentanglement import information_between
from srl_bench.metrics.joint_information import dcimig_from_information, jemmig_from_information

GRID = np.stack(np.meshgrid(np.arange(10.0), np.arange(10.0), indexing="ij"), axis=-1).reshape(-1, 2)
PEERS = [(name, bins) for name in REFERENCE for bins in (10, 20) if f"peer.ubisoft.b{bins}" in REFERENCE[name]]


@pytest.mark.parametrize(("name", "bins"), PEERS)
def test_values_of_the_peer(name, bins):
    """Its convention: equal bins between minimum and maximum for every column, whatever its kind."""
    entry = REFERENCE[name][f"peer.ubisoft.b{bins}"]
    with np.load(FOLDER / f"{name}.npz") as data:
        sides = [data[key].astype(np.float64) for key in ("latents", "factors")]
    scaled = [(side - side.min(axis=0)) / np.ptp(side, axis=0) for side in sides]
    edges = np.linspace(0, 1, bins + 1)[:-1]
    codes, labels = ([np.digitize(column, edges) for column in side.T] for side in scaled)
    counted, own = information_between(codes, labels), information_between([], codes).entropies
    found = [jemmig_from_information(*counted, own, np.log(bins)), dcimig_from_information(*counted)]
    assert found == pytest.approx(entry["value"][3:], abs=entry["tol_abs"])


@pytest.mark.parametrize(
    "latents", [GRID, GRID[:, ::-1], -GRID, GRID * [7, 0.01] + 3, np.hstack([GRID, np.full((100, 1), 5.0)])]
)
def test_a_dimension_for_each_factor_is_perfect(latents):
    assert jemmig(latents, GRID) == pytest.approx(1)
    assert dcimig(latents, GRID) == pytest.approx(1)


def test_small_matrices_by_hand():
    information, entropies = np.array([[1, 0.2], [0.5, 0.8]]), np.ones(2)
    # joint entropies 1 + 1 - 1 and 1 + 1 - 0.8, gaps 0.5 and 0.6
    expected = np.mean([1 - (1.0 - 0.5) / 3, 1 - (1.2 - 0.6) / 3])
    assert jemmig_from_information(information, entropies, np.ones(2), 2.0) == pytest.approx(expected)
    assert dcimig_from_information(information, entropies) == pytest.approx((0.8 + 0.3) / 2)
    assert dcimig_from_information(information[:1], entropies) == pytest.approx(0.4)


def test_what_they_punish():
    turned = np.stack([GRID.sum(axis=1), GRID[:, 0] - GRID[:, 1]], axis=1)
    merged = GRID @ [[10.0], [1.0]]
    doubled = np.hstack([GRID, GRID])
    assert dcimig(turned, GRID) == pytest.approx(0, abs=1e-9)
    assert dcimig(merged, GRID, bins=100) == pytest.approx(0, abs=1e-9)
    assert dcimig(doubled, GRID) == pytest.approx(1)
    # H(z, y) = ln 100 and the gap is ln 10, of at most ln 10 + ln 100
    assert jemmig(merged, GRID, bins=100) == pytest.approx(1 - np.log(10) / np.log(1000))
    assert jemmig(doubled, GRID) < jemmig(GRID, GRID)
    for metric in (jemmig, dcimig):
        assert metric(np.full((100, 2), 0.1), GRID) == 0
        with pytest.warns(UserWarning, match="no factor varies"):
            assert np.isnan(metric(GRID, np.ones((100, 2))))


def test_bins_of_codes_may_be_many():
    """A class of many values as a code of its own: its entropy is not counted as more than it can be."""
    classes = np.arange(3000)[:, None] % 60.0
    factors = common.standardise(np.random.default_rng(0).normal(size=(3000, 1)))
    found = jemmig(
        np.hstack([classes, factors]), np.hstack([classes, factors]), code_kinds=["categorical", "continuous"]
    )
    assert 0 <= found <= 1
