"""A finished suite as it lies on disk, its encoders hardly trained and its numbers made up."""

import json
from dataclasses import asdict
from pathlib import Path

import srl_bench as srl
from srl_bench.config import TrainConfig
from srl_bench.provenance import provenance
from srl_bench.results import save_scores

EVIL = "my<b>loss</b>(x='$1') & co"
RIDGE = {"autoencoder": 0.5, "random": 0.2, "ground_truth": 1.0}
SEEDS = 5
EPISODES = 4


def value(method, seed):
    """Return the ridge R2 that a cell stores."""
    return RIDGE[method] + 0.01 * (seed - 2)


def episode_return(method, seed, step, episode):
    """Return the return of an evaluation episode that a cell stores."""
    return 100 * RIDGE[method] * step / 100 + seed + episode


def write(run, rollouts, *, seeds=SEEDS):
    """Write a suite of `RIDGE`'s methods and one that failed; the first seed has encoders."""
    config = TrainConfig(latent_dim=3, steps=4, validate_every=2)
    names = [_cell(run, rollouts, method, seed, config) for method in RIDGE for seed in range(seeds)]
    failed = run / "blobs__failed__0__0123456789ab"
    failed.mkdir()
    (failed / "cell.json").write_text(json.dumps(_about(rollouts, EVIL, 0, config)))
    (failed / "error.txt").write_text('Traceback:\n  File "x.py"\nValueError: <script>alert(1)</script>\n')
    suite = {"name": "stored", "methods": [*RIDGE, EVIL], "seeds": list(range(seeds))}
    (run / "suite.json").write_text(
        json.dumps(provenance(suite=suite, cells=[*names, failed.name, "blobs__never__0__started"]))
    )
    return run


def _about(rollouts, method, seed, config):
    about = {"environment": rollouts.environment, "method": method, "seed": seed, "train": asdict(config)}
    return provenance(**about, rollouts=str(rollouts.path), data_hash=rollouts.data_hash)


def _cell(run, rollouts, method, seed, config):
    folder = Path(run) / f"blobs__{method}__{seed}__{seed:012x}"
    (folder / "rl").mkdir(parents=True)
    (folder / "cell.json").write_text(json.dumps(_about(rollouts, method, seed, config)))
    if seed == 0:
        srl.pretrain(method, rollouts, out=folder, config=config)
    common = {"ceiling": 1.0, "floor": 0.1, "better": "higher", "warnings": [], "skipped": [], "seconds": 2.0}
    records = {name: common | {"value": value(method, seed)} for name in ("ridge_r2", "ridge_r2.agent_x")}
    records["knn_mse"] = common | {"value": 2 - value(method, seed), "better": "lower", "floor": 3.0}
    save_scores(records, folder)
    rows = [
        f"{step},{episode},{episode_return(method, seed, step, episode)},{step / 10}"
        for step in (0, 100, 200)
        for episode in range(EPISODES)
    ]
    (folder / "rl" / "evaluations.csv").write_text("\n".join(["step,episode,return,seconds", *rows]) + "\n")
    (folder / "stages.json").write_text(json.dumps({"pretrain": 3.0, "score": 4.0, "rl": 20.0}))
    (folder / "done").touch()
    return folder.name
