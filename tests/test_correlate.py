"""Oracles: scipy's rank correlations on resampled rows, and encoders whose order is known."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, rankdata, spearmanr

from srl_bench import rank_correlation as ranks
from srl_bench.correlate import combination, correlation_table, encoders_of, family
from srl_bench.errors import DataError
from srl_bench.rank_correlation import Encoders, rank_correlation
from srl_bench.report.correlation import encoder_scatter, print_correlations, write_correlation_figures
from srl_bench.results import COLUMNS


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_weights_are_repeated_rows(seed):
    """With ties, repeated rows and an undefined value."""
    random = np.random.default_rng(seed)
    x, y = random.integers(0, 5, (9, 2)).astype(float), random.integers(0, 5, (3, 9)).astype(float)
    x[0, 1] = np.nan
    times = random.multinomial(9, np.full(9, 1 / 9), 3)
    for kind, oracle in (("spearman", spearmanr), ("kendall", kendalltau)):
        found = rank_correlation(times.astype(float), x, y, kind)
        for r in range(3):
            for m in range(2):
                rows = np.repeat(np.arange(9), times[r])
                rows = rows[np.isfinite(x[rows, m])]
                if len(np.unique(x[rows, m])) > 1 and len(np.unique(y[r, rows])) > 1:
                    assert found[r, m] == pytest.approx(oracle(x[rows, m], y[r, rows]).statistic)
                else:
                    assert np.isnan(found[r, m])


def encoders(returns, **metrics):
    names = tuple(metrics)
    returns = np.array(returns, dtype=float)
    values = np.stack([np.array(metrics[name], dtype=float) for name in names], axis=1)
    return Encoders("world", names, values, returns.reshape(len(returns), -1), np.arange(len(returns)))


def test_a_metric_in_the_order_of_returns_is_perfect_and_its_reverse_useless():
    group = encoders(range(12), good=np.arange(12) ** 3, bad=-np.arange(12), flat=np.zeros(12))
    table = correlation_table([group], replicates=200, permutations=500)
    whole = table[table["environment"] == "all"].set_index("metric")
    assert list(whole["spearman"][:2]) == [1, -1]
    assert list(whole["kendall"][:2]) == [1, -1]
    assert whole.loc["good", ["regret", "accuracy", "best"]].tolist() == [0, 1, 1]
    # the worst of 0..11 instead of the best: 11 / (11 - 5.5)
    assert whole.loc["bad", ["regret", "accuracy", "best"]].tolist() == [2, 0, 0]
    assert np.isnan(whole.loc["flat", "spearman"])
    assert whole.loc["flat", "accuracy"] == 0.5
    assert whole.loc["good", "p"] == whole.loc["bad", "p"] == pytest.approx(1 / 501)
    assert whole.loc["good", "low"] > 0.9


def test_infinite_values_are_the_largest_and_tie():
    """Total correlation is infinite where a dimension is a copy."""
    finite, infinite = np.array([1.0, 2, 5, 9, 9]), np.array([1.0, 2, 5, np.inf, np.inf])
    group = encoders([1, 3, 2, 4, 5], finite=finite, infinite=infinite)
    assert ranks.correlations(group)[1] == pytest.approx(ranks.correlations(group)[0])
    assert ranks.correlations(group, "kendall")[1] == pytest.approx(ranks.correlations(group, "kendall")[0])
    np.testing.assert_array_equal(ranks.pairwise_accuracy([group]), [0.85, 0.85])
    assert correlation_table([group], replicates=5, permutations=5)["encoders"].tolist() == [5] * 4


def test_pairs_whose_intervals_overlap_do_not_count():
    """By hand: means 0, 1 and 10, half an interval of 1.96 (2.776 x .7071) each: the first two overlap."""
    spread = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    returns = np.concatenate([spread, spread + 1, spread + 10])[:, None]
    names = np.repeat(["a", "b", "c"], 5)
    metrics = np.repeat([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [3.0, 1.0, np.nan]], 5, axis=0)
    group = ranks.Encoders("e", ("x", "y", "z"), metrics, returns, names)
    np.testing.assert_array_equal(ranks.clear_accuracy([group]), [1.0, 0.25, np.nan])
    few = ranks.Encoders("e", ("x",), metrics[::5, :1], returns[::5], names[::5])
    assert np.isnan(ranks.clear_accuracy([few])).all()


def test_environments_are_never_pooled():
    """A metric that only tells the easy world from the hard one predicts nothing, though pooled it would."""
    random = np.random.default_rng(0)
    groups = []
    for level in (0, 100):
        groups.append(encoders(level + random.permutation(12), level=level - np.arange(12)))
    pooled = spearmanr(
        np.concatenate([group.metrics[:, 0] for group in groups]), np.concatenate([group.outcome for group in groups])
    ).statistic
    assert pooled > 0.6
    rho = [ranks.correlations(group)[0] for group in groups]
    whole = correlation_table(groups, replicates=200, permutations=200).iloc[0]
    assert whole["spearman"] == pytest.approx(np.tanh(np.arctanh(rho).mean()))
    assert whole["p"] > 0.05


def test_p_values_are_corrected_for_the_number_of_metrics():
    random = np.random.default_rng(1)
    found = []
    for _ in range(40):
        group = encoders(random.normal(size=12), **{f"m{i}": random.normal(size=12) for i in range(10)})
        found.append(ranks.family_wise_p([group], 200, 0).min())
    # at most 5 % of studies without any effect may find one; 5 of 40 has probability 0.05
    assert (np.array(found) <= 0.05).sum() <= 5


def test_seeds_of_a_configuration_are_drawn_together():
    """Ten seeds of each of five configurations are five encoders, not fifty."""
    random = np.random.default_rng(0)
    quality = np.repeat(random.normal(size=5), 10)
    returns = np.repeat(random.normal(size=5), 10) + 1e-3 * random.normal(size=50)
    group = Encoders("world", ("m",), quality[:, None], returns[:, None], np.repeat(np.arange(5), 10))
    apart = Encoders("world", ("m",), quality[:, None], returns[:, None], np.arange(50))
    together, single = (ranks.bootstrap([item], "spearman", 500, 0).std() for item in (group, apart))
    assert together > 2 * single
    order = ranks._permuted_blocks(np.array([0, 0, 1, 1, 2]), np.random.default_rng(3))
    assert order[4] == 4
    assert order[:4].tolist() in ([0, 1, 2, 3], [2, 3, 0, 1])


def test_reliability_of_outcomes_bounds_metrics():
    random = np.random.default_rng(0)
    quality = random.normal(size=(200, 1))
    half, whole = ranks.noise_ceiling([encoders(quality + random.normal(size=(200, 4)), m=quality[:, 0])])
    # Pearson's r of means of two: 1 / (1 + 1/2); of four: 1 / (1 + 1/4)
    assert half == pytest.approx(2 / 3, abs=0.06)
    assert whole == pytest.approx(0.8, abs=0.05)
    assert np.isnan(ranks.noise_ceiling([encoders(range(5), m=range(5))])).all()


def test_seeds_and_configurations_are_told_apart():
    """The metric orders configurations as returns do, and their seeds in reverse."""
    configuration, seed = np.repeat(np.arange(6), 3), np.tile(np.arange(3), 6)
    returns = 10 * configuration + seed
    metric = 10 * configuration - seed
    group = Encoders("world", ("m",), metric[:, None].astype(float), returns[:, None].astype(float), configuration)
    within, between = ranks.within_and_between(group)
    assert within == -1
    assert between == 1
    assert np.isnan(ranks.within_and_between(encoders(range(5), m=range(5)))[0])
    assert ranks.noise_ceiling([group]) == (1, 1)
    table = correlation_table([group], replicates=20, permutations=20)
    assert table.loc[0, ["within", "between"]].tolist() == [-1, 1]


def test_partial_correlation_is_that_of_residual_ranks():
    random = np.random.default_rng(0)
    size = random.integers(1, 6, 30).astype(float)
    returns = size + random.normal(size=30)
    metrics = {"size": size, "follows": size + 0.5 * random.normal(size=30), "knows": returns + random.normal(size=30)}
    group = encoders(returns, **metrics)
    found = ranks.partial_correlations(group, size)
    for index, name in ((1, "follows"), (2, "knows")):
        x, y, c = (rankdata(column) for column in (metrics[name], returns, size))
        rest = [column - np.polyval(np.polyfit(c, column, 1), c) for column in (x, y)]
        assert found[index] == pytest.approx(np.corrcoef(*rest)[0, 1])
    assert ranks.correlations(group)[1] > 0.7
    assert abs(found[1]) < 0.3
    assert np.isnan(found[0])


def test_correlation_at_equal_families_is_that_of_ranks_less_family_means():
    """Within each family the metric is upside down, and one family is better than the other."""
    returns, metric = np.array([1.0, 2, 3, 11, 12, 13]), np.array([3.0, 2, 1, 13, 12, 11])
    group = replace(encoders(returns, m=metric), families=np.repeat(["a", "b"], 3))
    assert ranks.correlations(group)[0] > 0.5
    assert ranks.within_families(group)[0] == pytest.approx(-1)
    assert np.isnan(ranks.within_families(encoders(returns, m=metric))).all()
    four = replace(encoders([1, 2, 3, 9], m=[2, 1, 3, 9]), families=np.array(list("abcd")))
    np.testing.assert_array_equal(ranks.without_one([four], "families"), ranks.without_one([four]))
    assert np.isnan(ranks.without_one([group], "families")).all()


def test_metrics_together_predict_a_new_environment_better_than_any_alone():
    """The outcome is the sum of two metrics; a third one is noise."""
    random = np.random.default_rng(0)

    def world(n: int = 40) -> Encoders:
        parts = random.normal(size=(n, 3))
        return encoders(parts[:, 0] + parts[:, 1], a=parts[:, 0], b=parts[:, 1], noise=parts[:, 2])

    groups = [world() for _ in range(3)]
    together, single = combination(groups)
    assert together > 0.95
    assert 0.5 < single < 0.85
    assert np.isnan(combination(groups[:1])).all()
    undefined = [replace(group, metrics=np.where(group.metrics > 1.5, np.nan, group.metrics)) for group in groups]
    assert combination(undefined)[0] > 0.8


def test_what_one_configuration_is_worth():
    """Without the true state, the metric says nothing."""
    noise = encoders([1, 2, 3, 4, 99], m=[1, -1, 1, -1, 9])
    low, high = ranks.without_one([noise])
    rows = [np.delete(np.arange(5), left) for left in range(5)]
    rho = [spearmanr(noise.metrics[kept, 0], noise.outcome[kept]).statistic for kept in rows]
    assert (low[0], high[0]) == pytest.approx((min(rho), max(rho)))
    assert low[0] < 0 < high[0]
    assert np.isnan(ranks.without_one([encoders(range(3), m=range(3))])).all()


def suite_results(n_methods, seeds=(0,)):
    rows = []
    for index in range(n_methods):
        for seed in seeds:
            head = ["world", f"method{index}", seed]
            rows += [[*head, "score", "knn_mse", 0, -index, 0, 0], [*head, "score", "gtc", 0, index % 3, 1, 0]]
            rows += [[*head, "score", "gtc.robot_x", 0, 1, 1, 0], [*head, "score", "dci.D", 0, np.nan, 1, 0]]
            rows += [
                [*head, "rl", "return", step, value, None, None] for step, value in ((0, 99), (10, index), (20, index))
            ]
    rows.append(["world", "raw_pixels", 0, "rl", "return", 10, 500, None, None])
    return pd.DataFrame(rows, columns=COLUMNS[:9])


def test_results_of_a_suite_become_encoders(tmp_path, capsys):
    groups, remarks = encoders_of(suite_results(6))
    (group,) = groups
    assert group.names == ("knn_mse", "gtc", "dci.D")
    np.testing.assert_array_equal(group.metrics[:, 0], np.arange(6))  # lower is better, so the sign is turned
    np.testing.assert_array_equal(group.outcome, np.arange(6))  # neither the untrained agent nor raw pixels count
    assert any("6 configurations of 10" in remark for remark in remarks)
    assert any("without a value are left out of dci.D" in remark for remark in remarks)
    assert any("1 agent(s) per configuration" in remark for remark in remarks)
    table = correlation_table(groups, replicates=100, permutations=100)
    whole = table[table["environment"] == "all"].set_index("metric")
    assert whole.loc["knn_mse", "spearman"] == 1
    assert whole.loc["dci.D", "encoders"] == 0
    print_correlations(table)
    assert "knn_mse" in capsys.readouterr().out
    written = write_correlation_figures(groups, table, tmp_path)
    assert {file.stem for file in written} == {"correlation", "correlation_encoders"}
    assert all(file.stat().st_size > 5_000 for file in written)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("ground_truth", "ground truth"),
        ("pca", "untrained"),
        ("vae(beta=4.0)", "images"),
        ("inverse + autoencoder[:28]", "images, actions"),
        ("robotic_priors", "images, actions, rewards"),
        ("supervised", "images, factors"),
        ("method7", "unknown"),
    ],
)
def test_families_are_what_encoders_learned_from(method, expected):
    assert family(method) == expected


def test_encoders_have_the_colour_of_their_family_and_the_marker_of_their_world():
    def group(name):
        methods = np.array(["vae", "autoencoder", "pca"])
        return Encoders(name, ("gtc",), np.arange(3.0)[:, None], np.arange(3.0)[:, None], methods)

    groups = [group("one"), group("two")]
    figure = encoder_scatter(groups, correlation_table(groups, replicates=5, permutations=5))
    first, second = figure.axes[0].collections
    colours = first.get_facecolors()
    np.testing.assert_array_equal(colours[0], colours[1])
    assert not np.allclose(colours[0], colours[2])
    assert len(first.get_paths()[0].vertices) != len(second.get_paths()[0].vertices)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["images", "untrained", "one", "two"]
    plt.close(figure)


def test_few_encoders_give_no_interval_and_fewer_are_refused():
    groups, remarks = encoders_of(suite_results(4))
    assert any("so there are no intervals" in remark for remark in remarks)
    table = correlation_table(groups, replicates=50, permutations=50)
    assert table.loc[table["environment"] == "all", ["low", "high", "kendall_low"]].isna().all(axis=None)
    with pytest.raises(DataError, match="2 scored encoders with agents; 3 are needed"):
        encoders_of(suite_results(2))
    results = suite_results(5)
    with pytest.raises(DataError, match="no encoder has both"):
        encoders_of(results[results["track"] == "score"])
