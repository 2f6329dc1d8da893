"""Topology, similarity, patches, correlation: analytic cases and independent computations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist
from scipy.stats import ortho_group, spearmanr
from sklearn.manifold import trustworthiness as peer_trustworthiness

from srl_bench.errors import DataError
from srl_bench.metrics import (
    continuity,
    dimension,
    gtc,
    knn_overlap,
    linear_cka,
    lipschitz,
    nieqa,
    nieqa_skill,
    rsa,
    smoothness,
    trustworthiness,
    twonn,
)
from srl_bench.metrics.common import standardise, standardised_blocks
from srl_bench.metrics.patches import nasim

RANKS = (trustworthiness, continuity, knn_overlap)
random = np.random.default_rng


def mixed(seed: int, n_rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    factors = random(seed).normal(size=(n_rows, 3))
    noise = 0.3 * random(seed + 1).normal(size=(n_rows, 4))
    return factors @ random(seed + 2).normal(size=(3, 4)) + noise, factors


def test_ranks_without_episodes_are_those_of_scikit_learn():
    states, factors = mixed(0)
    x, z = standardised_blocks(factors)[0], standardise(states)
    for k in (1, 5, 40):
        assert trustworthiness(states, factors, k=k) == pytest.approx(peer_trustworthiness(x, z, n_neighbors=k))
        assert continuity(states, factors, k=k) == pytest.approx(peer_trustworthiness(z, x, n_neighbors=k))


def test_ranks_among_other_episodes_by_hand():
    states, factors = mixed(1, 120)
    episodes = random(0).permutation(np.repeat([4, -2, 9, 7], [10, 50, 30, 30]))
    x, z = cdist(*[standardised_blocks(factors)[0]] * 2), cdist(*[standardise(states)] * 2)
    k, intruders, missing, shared = 6, [], [], []
    for i in range(120):
        others = np.flatnonzero(episodes != episodes[i])
        rank_x, rank_z = (np.argsort(np.argsort(distance[i, others])) + 1 for distance in (x, z))
        scale = 2 / (k * (2 * len(others) - 3 * k + 1))
        intruders.append(scale * np.maximum(rank_x - k, 0)[rank_z <= k].sum())
        missing.append(scale * np.maximum(rank_z - k, 0)[rank_x <= k].sum())
        shared.append(((rank_x <= k) & (rank_z <= k)).sum() / k)
    options = {"k": k, "episode_ids": episodes}
    assert trustworthiness(states, factors, **options) == pytest.approx(1 - np.mean(intruders))
    assert continuity(states, factors, **options) == pytest.approx(1 - np.mean(missing))
    assert knn_overlap(states, factors, **options) == pytest.approx(np.mean(shared))


def test_a_similar_copy_keeps_all_ranks_whatever_its_ties():
    factors = random(0).integers(0, 3, size=(200, 3)).astype(float)
    copy = standardised_blocks(factors)[0] * 5 + 3
    for metric in RANKS:
        assert metric(copy, factors, episode_ids=np.arange(200) // 20) == pytest.approx(1)


def test_ranks_of_noise_and_of_constant_latents_are_those_of_chance():
    states, factors = random(0).normal(size=(600, 3)), random(1).normal(size=(600, 3))
    for latents in (states, np.full((600, 2), 0.1)):
        assert trustworthiness(latents, factors) == pytest.approx(0.5, abs=0.02)
        assert continuity(latents, factors) == pytest.approx(0.5, abs=0.02)
        assert knn_overlap(latents, factors) == pytest.approx(10 / 599, abs=0.005)


def test_ranks_compare_evenly_spaced_or_given_rows():
    states, factors = mixed(2, 400)
    rows = np.round(np.linspace(0, 399, 100)).astype(int)
    for metric in (*RANKS, rsa):
        assert metric(states, factors, max_rows=100) == metric(states, factors, rows=rows)
        assert metric(states, factors, max_rows=100) != metric(states, factors)


def test_too_many_neighbours_for_ranks():
    states, factors = mixed(0, 60)
    for k in (0, 20):
        with pytest.raises(DataError, match="less than half of the 40 rows"):
            trustworthiness(states, factors, k=k, episode_ids=np.arange(60) // 20)


def test_rank_correlation_of_distances_is_that_of_scipy():
    states, factors = mixed(3, 150)
    expected = spearmanr(pdist(standardise(states)), pdist(standardised_blocks(factors)[0]))[0]
    assert rsa(states, factors) == pytest.approx(expected)
    assert rsa(standardised_blocks(factors)[0], factors) == pytest.approx(1)


def test_kernel_alignment_by_gram_matrices():
    states, factors = mixed(4, 100)
    centre = np.eye(100) - 0.01
    x = standardised_blocks(factors)[0]
    k, m = centre @ states @ states.T @ centre, centre @ x @ x.T @ centre
    assert linear_cka(states, factors) == pytest.approx((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()))
    assert linear_cka(7 * x @ ortho_group.rvs(3, random_state=0), factors) == pytest.approx(1)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_rotations_scales_dead_dimensions_and_row_order(seed):
    """Standardised metrics forgive scales, raw ones rotations, all a dead dimension and the order of rows."""
    states, factors = mixed(seed, 200)
    order, episodes = random(seed).permutation(200), np.arange(200) // 10
    rotation = ortho_group.rvs(4, random_state=seed)
    steps = np.arange(200) % 10
    standard = {
        "trustworthiness": lambda z, y, e, s: trustworthiness(z, y, episode_ids=e),
        "continuity": lambda z, y, e, s: continuity(z, y, episode_ids=e),
        "overlap": lambda z, y, e, s: knn_overlap(z, y, episode_ids=e),
        "rsa": lambda z, y, e, s: rsa(z, y),
        "corr": lambda z, y, e, s: dimension(z, y)["erank_corr"],
    }
    raw = {
        "cka": lambda z, y, e, s: linear_cka(z, y),
        "lipschitz": lambda z, y, e, s: lipschitz(z, y)["bi"],
        "tvr": lambda z, y, e, s: smoothness(z, y, episode_ids=e, steps=s)["tvr"],
        "jitter": lambda z, y, e, s: smoothness(z, y, episode_ids=e, steps=s)["jitter"],
        "participation": lambda z, y, e, s: dimension(z, y)["participation"],
        "erank": lambda z, y, e, s: dimension(z, y)["erank_cov"],
    }
    dead = np.full((200, 1), 3.0)
    for metrics, moved in (
        (standard, states * random(seed).uniform(0.1, 50, 4) + 2),
        (raw, 5 * states @ rotation - 1),
    ):
        for name, metric in metrics.items():
            expected = metric(states, factors, episodes, steps)
            changed = metric(np.hstack([moved, dead]), factors, episodes, steps)
            assert changed == pytest.approx(expected, abs=1e-6, rel=1e-6), name
            shuffled = metric(states[order], factors[order], 77 - 3 * episodes[order], steps[order])
            assert shuffled == pytest.approx(expected, rel=1e-9), name


def test_scales_change_raw_metrics():
    states, factors = mixed(0)
    larger = states * [100, 1, 1, 1]
    assert abs(linear_cka(larger, factors) - linear_cka(states, factors)) > 0.05
    assert dimension(larger, factors)["participation"] == pytest.approx(1, abs=0.01)
    expected = dimension(states, factors)["participation_corr"]
    assert dimension(larger, factors)["participation_corr"] == pytest.approx(expected)


@pytest.mark.parametrize(
    "embed",
    [
        lambda x, q, s: x,
        lambda x, q, s: x @ q,
        lambda x, q, s: x * s,
        lambda x, q, s: x @ q * s + 4,
        lambda x, q, s: np.hstack([x @ q * s, np.full((50, 1), 3.0)]),
        lambda x, q, s: np.hstack([x, x]),
    ],
    ids=["identity", "rotation", "scales", "scales after rotation", "dead dimension", "duplicates"],
)
def test_patches_that_fit(embed):
    x = random(0).normal(size=(50, 3))
    z = embed(x, ortho_group.rvs(3, random_state=0), np.array([0.2, 1, 9]))
    assert nasim(x[None], z[None])[0] < 1e-8


def test_patches_that_do_not_fit():
    x = random(0).normal(size=(20, 50, 3))
    assert nasim(x, np.full((20, 50, 2), 0.7)) == pytest.approx(np.ones(20))
    assert nasim(x, random(1).normal(size=(20, 50, 3))).mean() == pytest.approx(0.95, abs=0.03)


def test_patch_scores_of_a_copy_and_of_noise():
    states, factors = mixed(5, 600)
    episodes = np.arange(600) // 20
    copy = standardised_blocks(factors)[0] @ ortho_group.rvs(3, random_state=0)
    assert nieqa_skill(copy, factors, episode_ids=episodes) == pytest.approx({"local": 1, "global": 1}, abs=0.02)
    noise = nieqa_skill(random(9).normal(size=(600, 3)), factors, episode_ids=episodes)
    assert noise == pytest.approx({"local": 0, "global": 0}, abs=0.1)
    # Patches grow with the dimensions; those of 30 would fit 40 dimensions of noise.
    wide = random(9).normal(size=(600, 40))
    assert nieqa(wide, factors, episode_ids=episodes) == nieqa(wide, factors, k=160, episode_ids=episodes)
    with pytest.warns(UserWarning, match="do not vary within any patch"):
        assert np.isnan(list(nieqa(states, np.ones((600, 2))).values())).all()


def test_published_correlation_counts_other_factors():
    """Two correlated factors and latents that know neither."""
    factors = random(0).normal(size=(500, 2)) @ [[1, 0.8], [0, 0.6]]
    states = random(1).normal(size=(500, 3))
    between = abs(np.corrcoef(factors.T)[0, 1])
    assert gtc(states, factors, gtc_published=True)["mean"] == pytest.approx(between)
    assert gtc(states, factors)["mean"] < 0.2
    assert gtc(factors, factors, gtc_published=True)["mean"] == pytest.approx(1)


def test_only_task_factors_count_in_the_mean_if_roles_are_given():
    states, factors = mixed(0)
    found = gtc(states, factors, roles=["task", "distractor", "task"])
    assert found["mean"] == pytest.approx((found["factor_0"] + found["factor_2"]) / 2)
    assert gtc(states, factors)["mean"] == pytest.approx(np.mean([found[f"factor_{k}"] for k in range(3)]))


def test_an_angle_is_followed_by_its_sine_and_cosine():
    angle = random(0).uniform(-np.pi, np.pi, (2000, 1))
    circle = np.hstack([np.cos(angle), np.sin(angle)])
    assert gtc(circle, angle, kinds=["angular"])["mean"] == pytest.approx(1)
    for metric in RANKS:
        assert metric(circle, angle, kinds=["angular"]) == pytest.approx(1, abs=0.02)
    assert lipschitz(circle, angle, kinds=["angular"])["bi"] == pytest.approx(1, abs=0.1)
    assert rsa(circle, angle, kinds=["angular"]) == pytest.approx(1, abs=0.01)


def test_undefined_values_are_nan_with_a_reason():
    states, factors = mixed(0, 60)
    constant, fixed = np.full((60, 2), 0.1), np.full((60, 2), 0.3)
    time = {"episode_ids": np.arange(60) // 20, "steps": np.arange(60) % 20}
    for metric, latents, truth, reason in (
        (trustworthiness, states, fixed, "no task factor varies"),
        (rsa, constant, factors, "the representation is constant"),
        (rsa, states, fixed, "the ground truth is constant"),
        (linear_cka, constant, factors, "the representation is constant"),
        (lipschitz, states, fixed, "the ground truth is constant"),
        (twonn, constant, factors, "the representation is constant"),
        (lambda z, y: smoothness(z, y, **time), constant, factors, "the representation is constant"),
        (lambda z, y: smoothness(z, y, **time)["ratio"], states, fixed, "the task factors do not move"),
        (lambda z, y: dimension(z, y)["n95"], constant, factors, "the representation is constant"),
        (
            lambda z, y: smoothness(z, y, episode_ids=time["episode_ids"], steps=2 * time["steps"]),
            states,
            factors,
            "no two rows are consecutive",
        ),
    ):
        with pytest.warns(UserWarning, match=reason):
            found = metric(latents, truth)
        assert np.isnan(list(found.values()) if isinstance(found, dict) else found).all()
    assert dimension(constant, factors)["active"] == 0
