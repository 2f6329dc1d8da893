"""A bonus for surprise: curiosity on the states of a frozen encoder (Pathak et al. 2017, arXiv 1705.05363)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn
from torch import Tensor
from torch.nn import functional

from srl_bench.losses.dynamics import intrinsic_reward
from srl_bench.nets.heads import mlp
from srl_bench.seeding import derive_seed

HIDDEN = 64
LEARNING_RATE = 1e-3


class CuriousVecEnv(VecEnvWrapper):
    """Adds to rewards what a forward model, trained as the agent goes, failed to predict.

    r + weight * e / d: e = eta / 2 ||f([s; a]) - s'||^2 (eq. 6) of the state s' before any reset, d the running
    standard deviation of the bonus's discounted returns (Burda et al. 2018, 1810.12894, section 2.4), so that weights
    mean the same on all encoders. `infos` have "intrinsic_reward" = e / d.

    Args:
        venv: environments whose observations are states (n, d).
        weight: of the bonus.
        gamma: discount of the returns that scale it.
        update_every: steps of the vector between gradient steps, each of which uses the transitions since the last.
        seed: of the model's first weights.
    """

    def __init__(
        self, venv: VecEnv, weight: float, *, gamma: float = 0.99, update_every: int = 16, seed: int = 0
    ) -> None:
        super().__init__(venv)
        assert venv.observation_space.shape is not None
        self.weight, self.gamma, self.update_every = weight, gamma, update_every
        (state_dim,) = venv.observation_space.shape
        space = venv.action_space
        discrete = isinstance(space, gymnasium.spaces.Discrete)
        self.n_actions = int(space.n) if isinstance(space, gymnasium.spaces.Discrete) else 0
        width = self.n_actions if discrete else int(np.prod(space.shape or ()))
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(seed, "curiosity"))
            self.model = mlp([state_dim + width, HIDDEN, HIDDEN, state_dim])
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE)
        self.deviation = RunningMeanStd(shape=())
        self._forget()

    def _forget(self) -> None:
        self._returns = np.zeros(self.num_envs)
        self._pending: list[tuple[Tensor, Tensor, Tensor]] = []

    def reset(self) -> VecEnvObs:
        """Reset all environments; transitions that no gradient step has used are dropped."""
        self._forget()
        self._states = np.array(self.venv.reset(), np.float32)
        return self._states.copy()

    def step_async(self, actions: NDArray) -> None:
        """Start a step of all environments."""
        self._actions = np.asarray(actions)
        super().step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Return states, rewards with the bonus, dones and infos."""
        observations, rewards, dones, infos = self.venv.step_wait()
        reached = np.array(observations, np.float32)
        for index in np.flatnonzero(dones):
            reached[index] = infos[index]["terminal_observation"]
        transition = (torch.from_numpy(self._states), self._vectors(self._actions), torch.from_numpy(reached))
        bonus = intrinsic_reward(*transition, self.model).numpy().astype(np.float64)
        self._returns = self.gamma * self._returns + bonus
        self.deviation.update(self._returns)
        self._returns[dones] = 0
        bonus /= np.sqrt(self.deviation.var + 1e-8)
        self._learn(transition)
        for info, value in zip(infos, bonus, strict=True):
            info["intrinsic_reward"] = float(value)
        self._states = np.array(observations, np.float32)
        return observations, (rewards + self.weight * bonus).astype(np.float32), dones, infos

    def _vectors(self, actions: NDArray) -> Tensor:
        """Return (n, m) vectors of actions."""
        if self.n_actions:
            return functional.one_hot(torch.from_numpy(actions).long(), self.n_actions).float()
        return torch.from_numpy(actions).float().reshape(len(actions), -1)

    def _learn(self, transition: tuple[Tensor, Tensor, Tensor]) -> None:
        self._pending.append(transition)
        if len(self._pending) < self.update_every:
            return
        states, actions, reached = (torch.cat(parts) for parts in zip(*self._pending, strict=True))
        self._pending = []
        error = 0.5 * (self.model(torch.cat([states, actions], dim=1)) - reached).square().sum(1).mean()
        self.optimizer.zero_grad()
        error.backward()
        self.optimizer.step()

    def export_state(self) -> dict[str, Any]:
        """Return what has been learned, for a checkpoint between episodes."""
        scale = {name: np.asarray(getattr(self.deviation, name), np.float64) for name in ("mean", "var", "count")}
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "deviation": scale}

    def import_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `export_state` returned."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, value in state["deviation"].items():
            setattr(self.deviation, name, float(value) if name == "count" else np.asarray(value))
