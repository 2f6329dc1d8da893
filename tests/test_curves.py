import numpy as np
import pandas as pd
import pytest
from scipy import stats

from srl_bench.curves import agents_table, curves_of, interquartile_curve


def results(curves, metric="return", track="rl"):
    """Return long results of {method: (seeds, evaluations)} at the steps 0, 100, 200, ..."""
    return pd.DataFrame(
        {
            "environment": "e",
            "method": method,
            "seed": seed,
            "track": track,
            "metric": metric,
            "step": 100 * index,
            "value": value,
        }
        for method, runs in curves.items()
        for seed, run in enumerate(runs)
        for index, value in enumerate(run)
    )


def test_the_curve_is_the_interquartile_mean_with_limits_from_five_seeds_on():
    runs = np.array([[0, 10], [0, 20], [0, 30], [0, 1000]])
    estimate = interquartile_curve(runs)
    np.testing.assert_array_equal(estimate.value, [0, 25])
    assert np.isnan(estimate.low).all()
    estimate = interquartile_curve(np.array([[0.0, value] for value in (10, 20, 30, 40, 50, 60, 70, 80)]))
    assert estimate.value[1] == 45
    assert estimate.low[0] == estimate.high[0] == 0
    assert 20 <= estimate.low[1] < 45 < estimate.high[1] <= 70


def test_area_and_steps_to_the_reference_by_hand():
    curves = {
        "ground_truth": [[0, 100, 100, 100, 100]],
        "slow": [[0, 0, 97, 97, 97], [0, 0, 0, 0, 0]],
    }
    speed = results({"slow": [[5.0], [7.0]]}, "steps_per_second", "agent")
    table = agents_table(pd.concat([results(curves), speed]), "e")
    assert list(table.index) == ["ground_truth", "slow"]
    # the mean of three evaluations reaches 95 % of 100 at the third evaluation after step 100
    assert table.loc["ground_truth", "steps_to_95"] == 300
    assert table.loc["ground_truth", "area"] == pytest.approx((50 + 100 + 100 + 100) / 4)
    assert table.loc["slow", "steps_to_95"] == (400 + 400) / 2
    assert table.loc["slow", "reached"] == 0.5
    assert table.loc["slow", "area"] == pytest.approx((97 / 2 + 97 + 97) / 4 / 2)
    assert table.loc["slow", "steps_per_second"] == 6
    assert np.isnan(table.loc["slow", "success"])


def test_the_area_has_an_interval_from_five_seeds_on():
    """Oracle: scipy's bootstrap."""
    heights = np.array([10.0, 20, 30, 40, 90])
    table = agents_table(results({"a": [[value, value] for value in heights], "few": [[1, 1]] * 4}), "e")
    known = stats.bootstrap((heights,), np.mean, method="percentile", n_resamples=20_000, rng=0).confidence_interval
    assert table.loc["a", "area"] == 38
    np.testing.assert_allclose(table.loc["a", ["area_low", "area_high"]].astype(float), known, atol=1.5)
    assert table.loc["few", ["area_low", "area_high"]].isna().all()


def test_negative_returns_come_within_five_percent_from_below():
    table = agents_table(results({"ground_truth": [[-900, -100, -100, -100]], "a": [[-900, -106, -106, -106]]}), "e")
    assert table.loc["ground_truth", "reached"] == 1
    assert table.loc["a", "reached"] == 0


def test_without_the_reference_there_is_no_threshold():
    table = agents_table(results({"a": [[0, 3]]}), "e")
    assert table.loc["a", "return"] == 3
    assert np.isnan(table.loc["a", "steps_to_95"])


def test_only_steps_that_all_seeds_have_count():
    table = results({"a": [[0, 1, 2], [0, 1, 2]]})
    steps, curves = curves_of(table[(table["seed"] == 0) | (table["step"] < 200)], "a")
    assert steps.tolist() == [0, 100]
    assert curves.shape == (2, 2)
