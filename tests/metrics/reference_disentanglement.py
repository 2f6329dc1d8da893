"""Our scores of disentanglement and of shift under the keys of `reference.json`."""

import numpy as np

from srl_bench.metrics import (
    attributes,
    beta_vae,
    common,
    disentanglement,
    factor_vae,
    gaussian_tc,
    gaussian_wasserstein,
    importance,
    infomec,
    irs,
    neighbour_information,
    paired_ratio,
    pairwise_information,
    proxy_a_distance,
    retrieval,
    sap,
    shift,
    unsupervised,
)

LEARNERS = {"exact_boosting": "gbr", "boosting": "lgbm_gain", "forest": "rf", "lasso": "lasso"}


def disentanglement_values(data: dict[str, np.ndarray]) -> dict[str, object]:
    states, factors, split = data["latents"], data["factors"], data["split"]
    kinds = [str(kind) for kind in data["factor_kinds"]]
    varying = common.varying_factors(factors.astype(np.float64))
    told = {"split": split, "kinds": kinds}
    explained = attributes.explicitness_scores(states, factors, **told)
    found = neighbour_information.normalised_information(states, factors, kinds=kinds)
    sampled = {"kinds": kinds, "binning": "width"}
    mine: dict[str, object] = {
        "sap.continuous": sap(states, factors, kinds=kinds),
        "sap.discrete": attributes.sap_discrete(states, factors, **told),
        "explicitness.auc_train": explained.train[varying],
        "explicitness.auc_test": explained.test[varying],
        "irs.q99": irs(states, factors, kinds=kinds, latent="raw"),
        "irs.q100": irs(states, factors, kinds=kinds, latent="raw", quantile=1),
        "irs.zstd.q99": irs(states, factors, kinds=kinds),
        "infomec.MEC": [infomec(states, factors, kinds=kinds)[name] for name in "MEC"],
        "infomec.nmi": found.nmi,
        "infomec.active": found.active,
        "betavae.binned10": np.mean(
            [beta_vae(states, factors, seed=s, train_points=2_000, test_points=1_000, **sampled) for s in range(3)]
        ),
        "factorvae.binned10": np.mean(
            [factor_vae(states, factors, seed=s, train_votes=2_000, test_votes=1_000, **sampled) for s in range(3)]
        ),
        "unsup.gaussian_tc": gaussian_tc(states),
        "unsup.gaussian_wasserstein_norm": gaussian_wasserstein(states),
        "unsup.mi_score": pairwise_information(states),
        "udr.pair_spearman_vs_factors": unsupervised.udr_pair(states, factors),
        "udr.pair_lasso_vs_factors": unsupervised.udr_pair(states, factors, relation="lasso"),
    }
    for learner, name in LEARNERS.items():
        fit = importance.importance(states, factors, learner=learner, **told)
        mine[f"dci.{name}.DC"], mine[f"dci.{name}.I"] = disentanglement.dci_from_importance(fit.importance), fit.r2
        mine[f"dci.{name}.importance"] = fit.importance
    if "latents_shift" in data:
        told["shifted_states"] = data["latents_shift"]
        mine["shift.paired_ratio"] = paired_ratio(states, shifted_states=data["latents_shift"])
        mine["shift.pad_linear"] = proxy_a_distance(states, shifted_states=data["latents_shift"], split=split)
        mine["shift.ridge_zero_shot_r2"] = shift.shifted_ridge_scores(states, factors, **told)[varying]
        mine["shift.retrieval_top1"] = retrieval(states, shifted_states=data["latents_shift"], split=split)
    return mine
