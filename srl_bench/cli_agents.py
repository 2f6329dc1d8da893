"""Commands of the command line that train agents and look at them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from srl_bench.cli_data import Plugins, Settings, load_plugins, settings
from srl_bench.config import RLConfig, TrainConfig


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
        source: what the agent observes: folder of a saved encoder; a method or expression, whose encoder is trained
            first; raw_pixels, for an agent with a convolutional network; ground_truth; or proprioception. An encoder
            goes with "+proprioception", too.
        out: folder for evaluations and the agent.
        config: settings of the agent.
        pretrain: settings of the encoder of a method.
        environment: Gymnasium id (default: the one that the encoder was trained on, with its arguments).
        environment_set: arguments of the environment, such as image_size=96 action_type=continuous.
        set: hyperparameters of the agent, such as --set learning_rate=1e-4 ent_coef=0.01.
        data: rollouts for the encoder of a method (default: the environment's default recording).
        plugin: Python files or modules with plug-ins.
    """  # noqa: E501
    from srl_bench.errors import ConfigError
    from srl_bench.rl import check_fit, train_agent
    from srl_bench.rollouts import open_rollouts
    from srl_bench.sources import Source, as_source, is_method, pretrained_source

    load_plugins(plugin)
    config = replace(config, hyperparameters=settings(set))
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
    kwargs = {**inherited, **settings(environment_set)}
    if later:
        check_fit(chosen, kwargs, config, pixels=False)
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
