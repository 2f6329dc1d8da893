"""Oracles: values by hand (Agarwal et al. 2021 and textbooks); the stored ones are compared in tests/metrics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import trim_mean, ttest_rel

from srl_bench import statistics
from srl_bench.errors import DataError


def column(*values):
    return np.array(values, dtype=float)[:, None]


@pytest.mark.parametrize(
    ("scores", "expected"), [(range(10), 4.5), (range(1, 9), 4.5), ([9, 1, 2, 3, -50], 2), ([[1, 2], [3, 4]], 2.5)]
)
def test_interquartile_mean_cuts_a_quarter_at_each_end(scores, expected):
    table = np.array(scores, dtype=float)
    assert statistics.iqm(table if table.ndim == 2 else table[:, None]) == pytest.approx(expected)


def test_optimality_gap_does_not_reward_excess():
    assert statistics.optimality_gap(column(0.5, 1.5)) == 0.25


def test_median_is_over_environments():
    assert statistics.median(np.array([[0.0, 1, 5], [0, 3, 7]])) == 2


def test_probability_of_improvement_counts_ties_half():
    with pytest.warns(UserWarning, match="2 runs are fewer than 5"):
        found = statistics.probability_of_improvement(column(1, 2), column(1, 3))
    assert found.value == 0.375
    assert np.isnan([found.low, found.high]).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_probabilities_of_improvement_add_up_and_intervals_hold_the_value(seed):
    a, b = np.random.default_rng(seed).integers(0, 5, (2, 6, 3)).astype(float)
    forth, back = (statistics.probability_of_improvement(*pair, replicates=500) for pair in ((a, b), (b, a)))
    assert forth.value + back.value == pytest.approx(1)
    assert 0 <= forth.low <= forth.value <= forth.high <= 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10), st.floats(-5, 5))
def test_aggregates_move_with_the_scores_and_not_with_their_order(seed, scale, shift):
    random = np.random.default_rng(seed)
    scores = random.normal(size=(6, 3))
    found, moved = statistics.aggregate(scores), statistics.aggregate(scale * scores + shift)
    shuffled = statistics.aggregate(random.permuted(scores, axis=0)[:, random.permutation(3)])
    for name in ("iqm", "mean", "median"):
        np.testing.assert_allclose(moved[name], scale * np.array(found[name]) + shift, atol=1e-9)
        assert shuffled[name].value == pytest.approx(found[name].value)


def test_profile_counts_runs_strictly_above():
    found = statistics.performance_profile(column(0, 0.5, 0.5, 1, 2), np.array([-1, 0, 0.5, 2]))
    np.testing.assert_array_equal(found.value, [1, 0.8, 0.4, 0])
    assert (found.low <= found.value).all()
    assert (found.value <= found.high).all()
    assert found.low[1] < 0.8 < found.high[1]
    assert len(statistics.performance_profile(column(*range(5))).value) == 121


def test_bootstrap_draws_within_environments():
    """Environments far apart: stratified draws never mix them; with `tasks` whole environments are drawn."""
    scores = np.array([[0.0, 100]] * 5) + np.arange(5)[:, None]
    kept = statistics.bootstrap(scores, statistics.mean, replicates=300)
    assert ((kept >= 50) & (kept <= 54)).all()
    drawn = statistics.bootstrap(scores, statistics.mean, replicates=300, tasks=True)
    assert {round(value / 50) for value in drawn} == {0, 1, 2}
    np.testing.assert_array_equal(kept, statistics.bootstrap(scores, statistics.mean, replicates=300))
    assert (kept != statistics.bootstrap(scores, statistics.mean, replicates=300, seed=1)).any()


def test_bootstrap_variance_of_a_mean_is_the_known_one():
    scores = np.random.default_rng(0).normal(size=(8, 4))
    draws = statistics.bootstrap(scores, statistics.mean, replicates=20_000)
    expected = scores.var(axis=0).sum() / 8 / 16
    assert draws.var() == pytest.approx(expected, rel=0.05)


def test_few_runs_give_no_interval():
    with pytest.warns(UserWarning, match="4 runs are fewer than 5; show them as points"):
        found = statistics.aggregate(np.random.default_rng(0).normal(size=(4, 3)))
    assert np.isfinite(found["iqm"].value)
    assert np.isnan([found["iqm"].low, found["iqm"].high]).all()


def test_missing_runs_are_counted_and_shapes_named():
    with pytest.raises(DataError, match="2 of 6 runs have no score"):
        statistics.aggregate(np.array([[1, np.nan], [2, np.inf], [3, 4]]))
    with pytest.raises(DataError, match=r"shape \(3,\)"):
        statistics.mean_ranks([np.zeros(3)])
    with pytest.raises(DataError, match=r"-1.0 is not above the random agent's 2.0"):
        statistics.normalise(np.zeros(3), random=2.0, reference=-1.0)


def test_normalised_scores_are_0_for_a_random_and_1_for_the_reference_agent():
    np.testing.assert_allclose(statistics.normalise(np.array([-10, 20, 50, -40]), -10, 20), [0, 1, 2, -1])


def test_area_under_the_curve():
    steps = np.array([10, 20])
    assert statistics.area_under_curve(steps, np.array([1.0, 1.0])) == pytest.approx(0.75)
    assert statistics.area_under_curve(np.array([0, 10, 20]), np.array([0.5, 1, 1])) == pytest.approx(0.875)


def test_steps_to_a_threshold_wait_for_a_trailing_mean_and_never_is_infinite():
    steps = np.arange(1, 6) * 10
    curves = np.array([[0, 0.9, 0, 0.9, 0.9], [0, 0, 0, 0, 0.9], [1, 0, 0, 0, 0]])
    times = statistics.steps_to_threshold(steps, curves, 0.5)
    np.testing.assert_array_equal(times, [40, np.inf, 10])
    assert statistics.summarise_steps(times, 50) == pytest.approx(
        {"share": 2 / 3, "median": 40, "restricted_mean": 100 / 3}
    )
    assert statistics.summarise_steps(times[1:2], 50)["median"] == np.inf


def test_ranks_average_ties():
    scores = [np.full((5, 3), value) + np.array([0, 0, offset]) for value, offset in ((1.0, 0), (1.0, 5), (0.0, 0))]
    np.testing.assert_allclose(statistics.mean_ranks(scores), [(1.5 + 1.5 + 2) / 3, (1.5 + 1.5 + 1) / 3, 3])
    shares = statistics.rank_distribution(scores, replicates=50)
    np.testing.assert_allclose(shares, [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0], [0, 0, 1]])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_rank_shares_are_a_doubly_stochastic_table(seed):
    scores = list(np.random.default_rng(seed).integers(0, 4, (3, 5, 2)).astype(float))
    shares = statistics.rank_distribution(scores, replicates=100)
    np.testing.assert_allclose(shares.sum(axis=0), 1)
    np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_difference_of_interquartile_means():
    random = np.random.default_rng(0)
    a, b = random.normal(1, 0.1, (10, 3)), random.normal(0, 0.1, (10, 3))
    found = statistics.difference(a, b)
    assert found.value == pytest.approx(trim_mean(a.ravel(), 0.25) - trim_mean(b.ravel(), 0.25))
    assert 0.8 < found.low < found.value < found.high < 1.2


def test_corrections_by_hand():
    np.testing.assert_allclose(statistics.holm([0.04, 0.01, 0.03]), [0.06, 0.03, 0.06])
    np.testing.assert_allclose(statistics.holm([0.9, 0.8]), [1, 1])
    np.testing.assert_allclose(
        statistics.benjamini_hochberg([[0.01, 0.04], [0.03, 0.5]]), [[0.04, 0.16 / 3], [0.16 / 3, 0.5]]
    )


def test_paired_difference_by_hand():
    """Differences 1 to 5: mean 3, s = sqrt(2.5), t = 3 / (s / sqrt(5)) = 4.242641, quantile t(0.975, 4) = 2.776445."""
    b = np.array([10.0, -3, 7, 0.5, 2])
    a = b + np.arange(1, 6)
    found, p = statistics.paired_difference(a, b)
    assert found == pytest.approx((3, 3 - 1.963243, 3 + 1.963243), abs=1e-6)
    assert p == pytest.approx(0.0132356, abs=1e-6)
    assert p == pytest.approx(ttest_rel(a, b).pvalue)
    assert statistics.paired_difference(b, b) == ((0, 0, 0), 1)
    assert statistics.paired_difference(np.full(5, 2.0), np.ones(5)) == ((1, 1, 1), 0)
    found, p = statistics.paired_difference(b[:4] + 1, b[:4])
    assert found.value == 1
    assert np.isnan([found.low, found.high, p]).all()


def test_tests_that_cannot_be_significant_say_so():
    values = np.array([[1, 2, 3, 4, 5.0], [2, 3.1, 4.2, 5.3, 6.4]])
    with pytest.warns(UserWarning, match=r"smallest possible p value is 0\.0625"):
        p, corrected = statistics.paired_comparison(values)
    assert p == corrected == pytest.approx(0.0625)
    with pytest.warns(UserWarning, match=r"smallest possible p value is 0\.1$"):
        assert statistics.permutation_test(np.array([1.0, 2, 3]), np.array([7.0, 8, 9])) == pytest.approx(0.1)
    smallest = statistics.permutation_test(np.arange(5.0), np.arange(5.0) + 9)
    assert smallest == pytest.approx(2 / 252)


@pytest.mark.slow
def test_intervals_cover_the_truth():
    """500 studies of 20 runs in 3 environments of known mean: 95 % intervals hold it in 95 % of them, nearly."""
    random = np.random.default_rng(0)
    truth = np.array([0.2, 0.5, 0.8])
    covered = dict.fromkeys(("mean", "iqm", "better"), 0)
    for study in range(500):
        a, b = truth + 0.1 * random.normal(size=(2, 20, 3))
        found = statistics.aggregate(a, seed=study)
        covered["mean"] += found["mean"].low <= 0.5 <= found["mean"].high
        covered["iqm"] += found["iqm"].low <= 0.5 <= found["iqm"].high
        better = statistics.probability_of_improvement(a, b, seed=study)
        covered["better"] += better.low <= 0.5 <= better.high
    print({name: count / 500 for name, count in covered.items()})
    for name, count in covered.items():
        assert 0.90 <= count / 500 <= 0.98, name
