"""Training as a chain of segments between evaluations.

Each segment begins with new episodes and with random numbers that depend on the seed and on the step alone, so that a
run that goes on from the checkpoint at such a border is, bit by bit, the run that was never interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from srl_bench.checkpoints import save_checkpoint
from srl_bench.config import RLConfig
from srl_bench.progress import progress
from srl_bench.seeding import derive_seed

OnEvaluation = Callable[[int, float], None]
"""(steps of training so far, mean return of the evaluation episodes)."""
Actor = Callable[[Any, NDArray], NDArray]
"""(observations, whether each begins an episode) -> actions."""


class Segments(BaseCallback):
    """Evaluates and writes a checkpoint before training and at fixed steps, and starts the next segment."""

    def __init__(
        self, venv: VecEnv, config: RLConfig, checkpoint: Path | None, on_evaluation: OnEvaluation | None = None
    ) -> None:
        super().__init__()
        self.venv = venv
        self.config = config
        self.checkpoint = checkpoint
        self.on_evaluation = on_evaluation
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0
        self._next = 0
        self._resumed = False
        self._bar = progress()

    def resume(self, facts: dict[str, Any]) -> None:
        """Take up the evaluations of an interrupted run."""
        self.rows, self.seconds, self._next = facts["rows"], facts["seconds"], facts["next"]
        self._resumed = True

    def stop(self) -> None:
        """Take the progress bar away, however training ended."""
        self._bar.stop()

    def _on_training_start(self) -> None:
        self._bar.start()
        self._task = self._bar.add_task("train agent", total=self.config.steps, status="")
        self._since = time.perf_counter()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self._bar.update(self._task, completed=min(self.model.num_timesteps, self.config.steps))

    def _on_rollout_start(self) -> None:
        # The policy changes only between rollouts, so evaluations belong there.
        if self.model.num_timesteps < self._next:
            return
        self._pause()
        if not self._resumed:
            self._evaluate()
            if self.checkpoint is not None:
                facts = {"rows": self.rows, "seconds": self.seconds, "next": self._next}
                save_checkpoint(self.checkpoint, self.model, facts)
        self._resumed = False
        self._next += self.config.eval_every
        self._begin()
        self._since = time.perf_counter()

    def _begin(self) -> None:
        agent, venv = self.model, self.model.env
        assert venv is not None
        agent.set_random_seed(derive_seed(self.config.seed, "segment", agent.num_timesteps) % 2**31)
        agent._last_obs = venv.reset()  # type: ignore[assignment]
        agent._last_episode_starts = np.ones(venv.num_envs, dtype=bool)
        if agent._vec_normalize_env is not None:
            agent._last_original_obs = agent._vec_normalize_env.get_original_obs()
        if agent.action_noise is not None:
            agent.action_noise.reset()

    def _on_training_end(self) -> None:
        self._pause()
        if not self.rows or self.rows[-1]["step"] < self.model.num_timesteps:
            self._evaluate()

    def _pause(self) -> None:
        self.seconds += time.perf_counter() - self._since

    def _evaluate(self) -> None:
        step, episodes = self.model.num_timesteps, play(self.model, self.venv, self.config.eval_seed)
        mean = float(np.mean([row["return"] for row in episodes]))
        self._bar.update(self._task, status=f"return {mean:.2f}")
        self.rows += [{"step": step, **row, "seconds": self.seconds} for row in episodes]
        self.logger.record("eval/return", mean)
        self.logger.dump(step)
        if self.on_evaluation is not None:
            self.on_evaluation(step, mean)


def play(agent: BaseAlgorithm, venv: VecEnv, seed: int = RLConfig.eval_seed) -> list[dict[str, float]]:
    """Play one episode in each environment with the agent's most likely actions.

    Returns:
        For each episode its number, return, length and success. Calls with the same seed play the same episodes.
    """
    venv.seed(seed)
    observations: Any = venv.reset()
    returns, lengths = np.zeros(venv.num_envs), np.zeros(venv.num_envs, dtype=np.int64)
    success = np.full(venv.num_envs, np.nan)
    running = np.ones(venv.num_envs, dtype=bool)
    act = actor(agent, venv)
    starts = running.copy()
    while running.any():
        observations, rewards, dones, infos = venv.step(act(observations, starts))
        returns += rewards * running
        lengths += running
        for index in np.flatnonzero(running & dones):
            success[index] = float(infos[index].get("is_success", np.nan))
        starts = dones
        running &= ~dones
    columns = (returns.tolist(), lengths.tolist(), success.tolist())
    names = ("return", "length", "success")
    return [
        {"episode": index, **dict(zip(names, row, strict=True))} for index, row in enumerate(zip(*columns, strict=True))
    ]


def actor(agent: BaseAlgorithm, venv: VecEnv) -> Actor:
    """Return a function that gives the agent's most likely actions."""
    held: Any = None

    def act(observations: Any, starts: NDArray) -> NDArray:
        nonlocal held
        further: dict[str, Any] = {}
        if isinstance(agent, MaskablePPO):
            further["action_masks"] = np.stack(venv.env_method("action_masks"))
        if isinstance(agent, RecurrentPPO):
            further = {"state": held, "episode_start": starts}
        actions, held = agent.predict(observations, deterministic=True, **further)
        return actions

    return act
