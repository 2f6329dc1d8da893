"""Commands of the command line that train agents, look at them, and search settings."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from srl_bench.cli_data import Plugins, Settings, load_plugins, open_data, settings
from srl_bench.config import AlgorithmName, RLConfig, TrainConfig, options

EVALUATIONS = 5
"""Evaluations of an agent in a search; each may end it."""


def rl(
    source: Positional[str],
    out: Path,
    config: Annotated[RLConfig, arg(name="")],
    pretrain: TrainConfig,
    environment: str | None = None,
    environment_set: Settings = (),
    set: Settings = (),
    data: Path | None = None,
    plugin: Plugins = (),
) -> None:
    """Train an agent on an encoder, and evaluate it as it learns; an interrupted training continues.

    Example: srl-bench rl encoders/vae/encoder --steps 100000 --out agents/vae

    Example: srl-bench rl encoders/vae/encoder+proprioception --algorithm sac --environment-set action_type=continuous --out sac

    Example: srl-bench rl "inverse + autoencoder[:28]" --environment srl_bench/KukaButton-v0 --out agents/mine

    Args:
        source: what the agent observes: folder of a saved encoder, or hf://user/name[@revision]; a method or expression,
            whose encoder is trained first; raw_pixels, for an agent with a convolutional network; ground_truth; or proprioception. Behind an
            encoder, "+proprioception" or "+ground_truth" puts factors beside its states.
        out: folder for evaluations and the agent.
        config: settings of the agent.
        pretrain: settings of the encoder of a method.
        environment: Gymnasium id (default: the one that the encoder was trained on, with its arguments).
        environment_set: arguments of the environment, such as image_size=96 action_type=continuous.
        set: hyperparameters of the agent, such as --set learning_rate=1e-4 ent_coef=0.01.
        data: rollouts for the encoder of a method (default: the environment's default recording).
        plugin: Python files or modules with plug-ins.
    """  # noqa: E501
    from srl_bench.environments import merged_arguments
    from srl_bench.errors import ConfigError
    from srl_bench.rl import check_fit, train_agent
    from srl_bench.rollouts import open_rollouts
    from srl_bench.sources import Source, as_source, is_method, pretrained_source
    from srl_bench.tracking import check_tracking

    load_plugins(plugin)
    config = replace(config, hyperparameters=settings(set))
    check_tracking(config, out)
    later = is_method(source)
    known = Source() if later else as_source(source)
    origin = known.encoder.provenance if known.encoder is not None else {}
    if later and data is not None:
        rollouts = open_rollouts(data)
        origin = {"environment": rollouts.environment, "environment_kwargs": rollouts.environment_kwargs}
    chosen = environment or origin.get("environment")
    if chosen is None:
        raise ConfigError(f"{source} belongs to no environment; give one with --environment.")
    inherited = origin.get("environment_kwargs", {}) if chosen == origin.get("environment") else {}
    kwargs = merged_arguments(inherited, settings(environment_set))
    if later:
        check_fit(chosen, kwargs, config, None)
        known = pretrained_source(
            source, data, chosen, kwargs, replace(pretrain, seed=config.seed), out / "pretraining"
        )
    table = train_agent(chosen, known, environment_kwargs=kwargs, out=out, config=config)
    print(table.groupby("step")[["return", "success", "length"]].mean().round(2).to_string())
    for note in json.loads((out / "config.json").read_text())["notes"]:
        print(f"note: {note}", file=sys.stderr)


def enjoy(
    run: Positional[Path],
    out: Path | None = None,
    episode: int = 0,
    data: Path | None = None,
    plugin: Plugins = (),
) -> None:
    """Write a film of an agent beside its states, its preferences and the nearest training frame.

    Example: srl-bench enjoy agents/vae --data data/mobile

    Args:
        run: folder that `rl` wrote, or the folder rl of a cell of a suite.
        out: a .gif, or an .mp4 (pip install 'srl-bench[formats]'); default: RUN/film.gif.
        episode: which of the evaluation episodes.
        data: rollouts that the encoder was trained on (default: those of the suite).
        plugin: Python files or modules with plug-ins.
    """
    from srl_bench.report.enjoy import enjoy

    load_plugins(plugin)
    print(enjoy(run, out or run / "film.gif", episode=episode, data=data))


def tune(
    method: Positional[str],
    data: tuple[Path, ...],
    out: Path,
    config: Annotated[TrainConfig, arg(name="")],
    trials: int = 10,
    objective: str = "ridge_r2",
    search: Settings = (),
    algo: AlgorithmName | None = None,
    rl_steps: int | None = None,
    rl_set: Settings = (),
    storage: str | None = None,
    plugin: Plugins = (),
) -> None:
    """Search what a method, an expression or an agent should be set to; an interrupted search continues.

    Example: srl-bench tune vae --data data/mobile data/kuka --trials 12 --steps 1500 --out tuning/vae

    Example: srl-bench tune "autoencoder + 2*forward" --data data/mobile --search "weight.forward=(0.1, 10.0)" "latent_dim=(8, 64)" --out tuning/mine

    Example: srl-bench tune ground_truth --data data/mobile --objective return --algo sac --rl-steps 20000 --out tuning/sac

    Args:
        method: its name, with options that stay fixed in brackets, or an expression; with the objective return also
            raw_pixels, ground_truth, the folder of an encoder, and so on: see `srl-bench rl --help`.
        data: data sets; a trial is worth the mean over them.
        out: folder of the journal, the trials, the best one, and the figures.
        config: settings of the encoder's training.
        trials: trials in all, the first one with everything as it is.
        objective: the metric to optimise on validation episodes, or return: that of an agent, on episodes which are
            not those of other evaluations.
        search: what to search in place of the default: options, weight.TERM of an expression, latent_dim,
            learning_rate, and rl.NAME of the agent, each with a range (low, high) or a list of values.
        algo: algorithm of the agent (default: ppo).
        rl_steps: environment steps of its training (default: 50000), with five evaluations.
        rl_set: further settings of it, such as --rl-set n_envs=4 normalise=True.
        storage: URL of a data base, such as postgresql://host/name, through which machines share the search (default:
            a journal in the folder).
        plugin: Python files or modules with plug-ins.
    """  # noqa: E501
    from srl_bench.report.tuning import write_search
    from srl_bench.tune import tune

    load_plugins(plugin)
    given = {"algorithm": algo, "steps": rl_steps, **settings(rl_set)}
    chosen = {name: value for name, value in given.items() if value is not None}
    if objective == "return":
        steps = chosen.get("steps", RLConfig.steps)
        chosen = {"eval_every": max(1, steps // EVALUATIONS), **chosen}
    table = tune(
        method,
        [open_data(path) for path in data],
        out,
        objective=objective,
        trials=trials,
        search=settings(search) or None,
        config=config,
        rl=options(RLConfig, chosen) if chosen else None,
        storage=storage,
    )
    print(table.sort_values("value", ascending=False).to_string(index=False))
    for note in write_search(out):
        print(f"note: {note}", file=sys.stderr)
