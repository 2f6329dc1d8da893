"""Our statistics under the keys of `*_stats_reference.json`."""

import warnings

import numpy as np

from srl_bench import rank_correlation as ranks
from srl_bench import statistics

PROFILE_TAU = np.linspace(0, 1.2, 25)


def encoders(data: dict[str, np.ndarray]) -> list[ranks.Encoders]:
    sign = np.where(data["metric_higher_better"], 1, -1)
    names, labels = tuple(map(str, data["metric_names"])), np.arange(data["rl"].shape[1])
    pairs = zip(data["metric_values"], data["rl"], strict=True)
    return [ranks.Encoders(str(e), names, metrics * sign, rl, labels) for e, (metrics, rl) in enumerate(pairs)]


def statistics_values(data: dict[str, np.ndarray]) -> dict[str, object]:
    curves, steps = data["scores"], data["steps"]  # (algorithms, runs, environments, evaluations)
    finals = statistics.final_scores(curves)
    others = finals[1:]
    budget = float(steps[-1])
    areas = statistics.area_under_curve(steps, curves)
    times = statistics.steps_to_threshold(steps, curves, 0.5)
    reached = [statistics.summarise_steps(of_algorithm, budget) for of_algorithm in times]
    *test, critical = statistics.friedman(finals)
    iqms = statistics.environment_iqms(finals)
    wilcoxon, corrected = statistics.paired_comparison(iqms)
    welch = np.array([statistics.welch(finals[0], other) for other in others])
    improvement = [statistics.probability_of_improvement(finals[0], other, replicates=3_000) for other in others]
    aggregates = {
        tasks: [statistics.aggregate(item, replicates=20_000, tasks=tasks).values() for item in finals]
        for tasks in (False, True)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the mean over runs is a single one
        of_means = [statistics.performance_profile(item.mean(axis=0)[None], PROFILE_TAU).value for item in finals]
    groups = encoders(data)
    rho = np.stack([ranks.correlations(group) for group in groups])
    return {
        "final_scores.checksum": [finals.sum(), (finals**2).sum()],
        "aggregate.point": [[found.value for found in item] for item in aggregates[False]],
        "aggregate.ci95": [[found[1:] for found in item] for item in aggregates[False]],
        "aggregate.ci95.task_bootstrap": [[found[1:] for found in item] for item in aggregates[True]],
        "poi.point": [found.value for found in improvement],
        "poi.ci95": [found[1:] for found in improvement],
        "profile.tau": PROFILE_TAU,
        "profile.point": [statistics.performance_profile(item, PROFILE_TAU).value for item in finals],
        "profile.avg_point": of_means,
        "curve.iqm": [statistics.iqm(np.moveaxis(of_algorithm, -1, 0)) for of_algorithm in curves],
        "auc.mean_per_alg_env": areas.mean(axis=1),
        "auc.iqm": statistics.iqm(areas),
        "steps_to_0.5.fraction_reached": [found["share"] for found in reached],
        "steps_to_0.5.median_over_runs": [found["median"] for found in reached],
        "steps_to_0.5.restricted_mean": [found["restricted_mean"] for found in reached],
        "rank.mean": statistics.mean_ranks(finals),
        "friedman": test,
        "nemenyi_cd": critical,
        "wilcoxon_enc0": wilcoxon,
        "wilcoxon_enc0.holm": corrected,
        "welch_enc0": welch,
        "welch_enc0.bh": statistics.benjamini_hochberg(welch),
        "corr.spearman_per_env": rho,
        "corr.kendall_per_env": [ranks.correlations(group, "kendall") for group in groups],
        "corr.spearman_fisher_mean": ranks.combine(rho),
        "corr.spearman_ci95_bonett_wright": np.stack(ranks.fisher_interval(rho, data["rl"].shape[1]), axis=-1),
        "corr.top1_regret": np.mean([ranks.top_regret(group) for group in groups], axis=0),
        "corr.pairwise_accuracy": ranks.pairwise_accuracy(groups),
        "corr.rl_split_half": ranks.noise_ceiling(groups),
    }
