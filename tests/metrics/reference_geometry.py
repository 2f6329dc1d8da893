"""What the stored reference calls by which key: probes, geometry, dynamics, rewards."""

import numpy as np

from srl_bench.metrics import (
    common,
    continuity,
    dimension,
    forward,
    inverse,
    knn_overlap,
    linear_cka,
    lipschitz,
    nieqa,
    nieqa_skill,
    reward,
    rsa,
    smoothness,
    trustworthiness,
    twonn,
    value,
)
from srl_bench.metrics.low_data import low_data_curve
from srl_bench.metrics.probes import probe_scores
from srl_bench.metrics.returns import discounted_returns
from srl_bench.metrics.smooth import temporal_variation
from srl_bench.metrics.transitions import runs

THIRD = 3  # every third row, where all pairs of rows are compared


def labels(data: dict[str, np.ndarray]) -> tuple[list[str], list[str]]:
    return [str(kind) for kind in data["factor_kinds"]], [str(role) for role in data["factor_role"]]


def probe_values(data: dict[str, np.ndarray]) -> dict[str, object]:
    states, factors, split = data["latents"], data["factors"], data["split"]
    kinds, _ = labels(data)
    varying = common.varying_factors(factors.astype(np.float64))
    mine: dict[str, object] = {}
    for probe, key in (("ridge", "ridge"), ("knn", "knn10"), ("gbt", "hgb"), ("mlp", "mlp")):
        scores = probe_scores(probe, states, factors, split=split, kinds=kinds)
        mine[f"probe.{key}.r2"], mine[f"probe.{key}.mse"] = scores.r2[varying], scores.mse[varying]
    sizes = [size for size in (25, 50, 100, 250, 500, 1000) if size <= (split == 0).sum()]
    _, mine["probe.ridge.lowdata_mean_r2"] = low_data_curve(states, factors, split=split, kinds=kinds, sizes=sizes)

    return mine


def geometry_values(data: dict[str, np.ndarray]) -> dict[str, object]:
    states, factors, episodes = data["latents"], data["factors"], data["episode_ids"]
    kinds, roles = labels(data)
    about = {"kinds": kinds, "roles": roles}
    third = {"rows": np.arange(0, len(states), THIRD), **about}
    mine: dict[str, object] = {
        "knn_overlap.k10": knn_overlap(states, factors, k=10, **third),
        "knn_overlap.excl.k10": knn_overlap(states, factors, k=10, episode_ids=episodes, **third),
        "trustworthiness.excl.k10": trustworthiness(states, factors, k=10, episode_ids=episodes, **third),
        "continuity.excl.k10": continuity(states, factors, k=10, episode_ids=episodes, **third),
        "rsa_spearman": rsa(states, factors, **third),
        "linear_cka": linear_cka(states, factors, **about),
        "dim.twonn": twonn(states, factors, rows=third["rows"]),
    }
    for k in (5, 12):
        mine[f"trustworthiness.k{k}"] = trustworthiness(states, factors, k=k, **third)
        mine[f"continuity.k{k}"] = continuity(states, factors, k=k, **third)

    about["episode_ids"] = episodes
    rolled = np.roll(states, len(states) // 2, axis=0)
    mine |= {f"nieqa.{name}": value for name, value in nieqa(states, factors, k=30, **about).items()}
    mine |= {f"nieqa.{name}_floor": value for name, value in nieqa(rolled, factors, k=30, **about).items()}
    mine["nieqa.skill"] = list(nieqa_skill(states, factors, k=30, **about).values())

    found = lipschitz(states, factors, **third)
    mine["lipschitz.q50_q95"] = [found["q50"], found["q95"]]
    found = dimension(states, factors)
    mine["dim.participation_ratio"] = [found["participation"], found["participation_corr"]]
    mine["dim.effective_rank"] = [found["erank_cov"], found["erank_corr"]]
    mine["dim.n95_n99"] = [found["n95"], found["n99"]]

    about["steps"] = data["steps"]
    mine["smoothness.tvr"] = smoothness(states, factors, **about)["tvr"]
    truth = common.task_columns(factors.astype(np.float64), kinds, roles)
    mine["smoothness.tvr_factors"] = temporal_variation(truth, runs(episodes, data["steps"], 2))
    return mine


def control_values(data: dict[str, np.ndarray]) -> dict[str, object]:
    states, factors, rewards, split = data["latents"], data["factors"], data["rewards"], data["split"]
    kinds, roles = labels(data)
    time = {"episode_ids": data["episode_ids"], "steps": data["steps"]}
    logged = {"actions": data["actions"], "split": split, **time}
    mine: dict[str, object] = {
        "inverse.ridge_diff.r2": inverse(states, factors, **logged)["r2"],
        "inverse.ridge.r2": inverse(states, factors, inputs="pair", **logged)["r2"],
        "reward.ridge.r2": reward(states, factors, rewards=rewards, split=split)["r2"],
        "reward.hgb.r2": reward(states, factors, rewards=rewards, split=split, learner="gbt")["r2"],
        "value.ridge.r2": value(states, factors, rewards=rewards, split=split, **time),
    }
    starts, returns = discounted_returns(rewards.astype(np.float64), **time)
    mine["value.target_sum"] = [len(starts), returns.sum()]
    found = forward(states, factors, horizons=(5, 10), kinds=kinds, roles=roles, **logged)
    for name, score in found.items():
        kind, horizon = name.rsplit("_", 1)
        mine[f"forward.ridge.{kind}_h{horizon}"] = score
    return mine
