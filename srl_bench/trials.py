"""What a trial of a search is worth: a metric on validation episodes, or the return of an agent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optuna

from srl_bench.config import RLConfig, TrainConfig
from srl_bench.encoder import Encoder
from srl_bench.errors import DataError, UnknownNameError
from srl_bench.method import Method
from srl_bench.pretrain import pretrain
from srl_bench.registry import METRICS
from srl_bench.rl import check_fit, train_agent
from srl_bench.rollouts import Rollouts
from srl_bench.score import score_records
from srl_bench.seeding import derive_seed
from srl_bench.sources import Source
from srl_bench.tracking import check_tracking

RETURN = "return"


class MetricTrial:
    """The mean of a metric over data sets, on validation episodes.

    Raises:
        UnknownNameError: there is no such metric.
        DataError: the data sets do not allow it.
    """

    def __init__(self, metric: str, data: Sequence[Rollouts]) -> None:
        if metric not in METRICS:
            raise UnknownNameError("objective", metric, [*METRICS, RETURN])
        self.metric, self.data = metric, data
        self.direction = "maximize" if METRICS[metric].better == "higher" else "minimize"

    def __call__(
        self, trial: optuna.Trial, method: Method | None, config: TrainConfig, hyperparameters: dict[str, Any]
    ) -> float:
        """Return the value of a method."""
        assert method is not None
        return float(np.mean([self._value(method, rollouts, config) for rollouts in self.data]))

    def _value(self, method: Method, rollouts: Rollouts, config: TrainConfig) -> float:
        """Return the metric on validation episodes, its probes fitted and chosen on training episodes.

        What is constant within an episode has as many samples as there are episodes, so none is spared.
        """
        split = rollouts.info["split"]
        chosen_on = split["train"][::5]
        fitted_on = [episode for episode in split["train"] if episode not in set(chosen_on)]
        parts = {"train": fitted_on, "val": chosen_on, "test": split["val"]}
        view = replace(rollouts, info={**rollouts.info, "split": parts})
        encoder = pretrain(method, rollouts, config=config)
        # the encoder was trained on the episodes that probes are chosen on, but on none that count
        records = score_records(
            encoder, view, metrics=[self.metric], seed=config.seed, allow_overlap=True, intervals=False
        )
        record = records[self.metric]
        if record["error"]:
            raise DataError(f"{record['error']} Tune by another metric, or on more data.")
        return float(record["value"])


class ReturnTrial:
    """The mean over data sets of the last evaluation of an agent, on episodes that no other run is evaluated on.

    Args:
        data: data sets, to whose environments the agents go.
        rl: settings of the agents.
        source: what agents observe; None for the states of an encoder that the trial trains.
        beside: the factors beside those states.

    Raises:
        ConfigError: the algorithm does not fit an environment.
    """

    direction = "maximize"

    def __init__(self, data: Sequence[Rollouts], rl: RLConfig, source: Source | None, beside: str) -> None:
        self.data, self.source, self.beside = data, source, beside
        self.rl = replace(rl, eval_seed=derive_seed(rl.eval_seed, "tune") % 2**31)
        check_tracking(rl, None)
        self._encoders: dict[int, tuple[tuple[Method, TrainConfig], Encoder]] = {}
        for rollouts in data:
            kwargs = rollouts.environment_kwargs
            check_fit(rollouts.environment, kwargs if source is None else source.environment_kwargs(kwargs), rl, source)

    def __call__(
        self, trial: optuna.Trial, method: Method | None, config: TrainConfig, hyperparameters: dict[str, Any]
    ) -> float:
        """Return the value of a method and an agent.

        Raises:
            optuna.TrialPruned: the agent fell behind those of other trials.
        """
        rl = replace(self.rl, hyperparameters={**self.rl.hyperparameters, **hyperparameters})
        per_agent = rl.steps // rl.eval_every + 1
        returns = []
        for index, rollouts in enumerate(self.data):

            def report(step: int, mean: float, first: int = index * per_agent) -> None:
                if step == 0:  # what an untrained agent gets says nothing of its settings
                    return
                trial.report(mean, first + step // rl.eval_every)
                if trial.should_prune():
                    raise optuna.TrialPruned

            source = self.source if method is None else Source(self._encoder(index, method, config), self.beside)
            assert source is not None
            kwargs = rollouts.environment_kwargs
            table = train_agent(
                rollouts.environment, source, environment_kwargs=kwargs, config=rl, on_evaluation=report
            )
            returns.append(table.loc[table["step"] == table["step"].max(), "return"].mean())
        return float(np.mean(returns))

    def _encoder(self, index: int, method: Method, config: TrainConfig) -> Encoder:
        """Return the encoder of a data set; a search among agents only trains it once."""
        key = (method, config)
        if index not in self._encoders or self._encoders[index][0] != key:
            self._encoders[index] = (key, pretrain(method, self.data[index], config=config))
        return self._encoders[index][1]
