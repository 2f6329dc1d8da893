"""Every implemented metric against values from peer code, stored with their tolerances.

SRL_BENCH_METRICS_REF names another folder of the same form: `<data set>.npz` files beside a `reference.json`.
"""

import json
import os
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from reference_disentanglement import disentanglement_values
from reference_geometry import control_values, geometry_values, probe_values
from reference_statistics import statistics_values

from srl_bench.metrics import bounds, common, disentanglement, gtc, knn_mse, knn_mse_norm, knn_skill, mig
from srl_bench.metrics.disentanglement import dci_mi, mig_sup, modularity
from srl_bench.metrics.importance import classifier_importance
from srl_bench.metrics.neighbourhood import levels

FOLDER = Path(os.environ.get("SRL_BENCH_METRICS_REF", Path(__file__).parent / "reference"))
REFERENCE = json.loads((FOLDER / "reference.json").read_text())
DATA_SETS = [name for name in REFERENCE if not name.startswith("_")]
STATISTICS = sorted(file.name.removesuffix("_reference.json") for file in FOLDER.glob("*_reference.json"))

PEER_CONVENTIONS = ("peer.*", "peer_bug.*")
# Boosted classifiers take twenty seconds for each data set: a slow test, but never left out of another folder.
SLOW = () if "SRL_BENCH_METRICS_REF" in os.environ else ("dci.dlib_gbc.DCI",)


def compute(data: dict[str, np.ndarray]) -> dict[str, object]:
    states, factors = data["latents"], data["factors"]
    kinds, roles = [str(kind) for kind in data["factor_kinds"]], [str(role) for role in data["factor_role"]]
    varying = common.varying_factors(factors.astype(np.float64))
    mine: dict[str, object] = {
        "active_dims": common.active_dims(states.astype(np.float64)),
        "active_factors": varying,
        **disentanglement_values(data),
    }

    for latent in ("raw", "zstd"):
        for exclude, label in ((False, "noexcl"), (True, "excl")):
            options = {
                "episode_ids": data["episode_ids"],
                "exclude_same_episode": exclude,
                "latent": latent,
                "kinds": kinds,
                "roles": roles,
            }
            for scale in ("raw", "std"):
                key = f"knn_mse.{latent}.{label}.k5.{scale}Y"
                mine[key] = knn_mse(states, factors, factor_scale=scale, **options)
            mine[f"knn_mse_norm.{latent}.{label}.k5"] = knn_mse_norm(states, factors, **options)
            mine[f"knn_skill.{latent}.{label}.k5"] = knn_skill(states, factors, **options)
            found = levels(states, factors, **options)
            mine[f"knn_mse.oracle.{label}.k5.stdY"] = found.oracle
            mine[f"knn_mse.random.{label}.stdY"] = found.chance

    for name, method in (("gtc", "pearson"), ("gtc_spearman", "spearman")):
        scores = gtc(states, factors, kinds=kinds, method=method)
        mine[f"{name}.mean"] = scores.pop("mean")
        mine[f"{name}.per_factor"] = np.array(list(scores.values()))[varying]
    mine["floor.gtc.mean"] = bounds.floor(gtc, states, factors, kinds=kinds)["mean"]

    for binning in ("width", "quantile"):
        options = {"kinds": kinds, "binning": binning}
        found = disentanglement.mutual_information(states, factors, **options)
        mine[f"mi.{binning}"], mine[f"mi.{binning}.factor_entropy"] = found
        mine[f"mig.{binning}"] = mig(states, factors, **options)
        mine[f"mig_sup.{binning}"] = mig_sup(states, factors, **options)
        mine[f"modularity.{binning}"] = modularity(states, factors, **options)
        mine[f"dci_mi.{binning}.DC"] = list(dci_mi(states, factors, **options).values())
    options = {"kinds": kinds, "binning": "width"}
    family = (mig, mig_sup, modularity)
    mine["ceiling.mi_family.width"] = [
        *(bounds.ceiling(metric, factors, **options) for metric in family),
        *bounds.ceiling(dci_mi, factors, **options).values(),
    ]
    mine["floor.mi_family.width"] = [
        *(bounds.floor(metric, states, factors, **options) for metric in family),
        *bounds.floor(dci_mi, states, factors, **options).values(),
    ]

    mine |= probe_values(data) | geometry_values(data) | control_values(data)
    return mine


def as_array(value: object) -> np.ndarray:
    """Turn stored null and "inf" into numbers."""
    if isinstance(value, list):
        return np.array([as_array(item) for item in value])
    return np.array(np.nan if value is None else float(value))


def matches(key: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(key, pattern) for pattern in patterns)


@pytest.mark.parametrize("name", DATA_SETS)
def test_reference(name):
    with np.load(FOLDER / f"{name}.npz") as archive:
        mine = compute(dict(archive))
        if not SLOW:
            mine["dci.dlib_gbc.DCI"] = classifier_scores(archive)
    compared, failures = 0, []
    for key, entry in REFERENCE[name].items():
        if matches(key, PEER_CONVENTIONS) or entry["tol_abs"] is None:
            continue
        if key not in mine:
            assert matches(key, SLOW), f"nothing computes {key}"
            continue
        expected, found = as_array(entry["value"]), np.asarray(mine[key], dtype=np.float64)
        tolerance = entry["tol_abs"]
        compared += expected.size
        if found.shape != expected.shape or not np.allclose(found, expected, rtol=0, atol=tolerance, equal_nan=True):
            failures.append(f"{key}: {found} instead of {expected} +- {tolerance}")
    print(f"{name}: {compared} values compared, {len(failures)} keys differ")
    assert not failures, "\n".join(failures)
    assert compared > 100


@pytest.mark.filterwarnings("ignore:too few runs")
@pytest.mark.parametrize("name", STATISTICS)
def test_reference_of_statistics(name):
    reference = json.loads((FOLDER / f"{name}_reference.json").read_text())
    with np.load(FOLDER / f"{name}.npz") as archive:
        mine = statistics_values(dict(archive))
    compared, failures = 0, []
    for key, entry in reference.items():
        if key.startswith("_") or entry["tol_abs"] is None:
            continue
        assert key in mine, f"nothing computes {key}"
        expected, found = as_array(entry["value"]), np.asarray(mine[key], dtype=np.float64)
        if key == "steps_to_0.5.median_over_runs":  # stored as -1 where infinite
            expected = np.where(expected == -1, np.inf, expected)
        tolerance = max(entry["tol_abs"], 1e-12)
        compared += expected.size
        if found.shape != expected.shape or not np.allclose(found, expected, rtol=0, atol=tolerance, equal_nan=True):
            failures.append(f"{key}: {found} instead of {expected} +- {tolerance}")
    print(f"{name}: {compared} values compared, {len(failures)} keys differ")
    assert not failures, "\n".join(failures)
    assert compared > 100


def test_split_of_the_fixtures_is_reproduced():
    with np.load(Path(__file__).parent / "reference" / "p1_identity.npz") as data:
        assert (common.split_episodes(data["episode_ids"], seed=1) == data["split"]).all()


def classifier_scores(data) -> list[float]:
    told = {"split": data["split"], "kinds": [str(kind) for kind in data["factor_kinds"]]}
    fit = classifier_importance(data["latents"], data["factors"], **told)
    return [*disentanglement.dci_from_importance(fit.importance), fit.r2.mean()]


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA_SETS)
def test_classifiers_of_bins_are_those_of_disentanglement_lib(name):
    entry = REFERENCE[name]["dci.dlib_gbc.DCI"]
    with np.load(FOLDER / f"{name}.npz") as data:
        np.testing.assert_allclose(classifier_scores(data), entry["value"], atol=entry["tol_abs"])
