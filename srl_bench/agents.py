"""Agents without gradients: random actions, and searches in the space of linear policies.

All have the interface of Stable-Baselines3.
"""

from __future__ import annotations

from typing import Any, ClassVar

import cma
import numpy as np
import sb3_contrib
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib.common.vec_env.async_eval import AsyncEval
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor
from torch.func import functional_call, vmap

from srl_bench.seeding import generator


class NoPolicy(BasePolicy):
    """The absent network of an agent that does not look."""

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        raise NotImplementedError("a random agent has no policy.")


class RandomAgent(BaseAlgorithm):
    """Draws actions uniformly, the same ones in the same calls since `set_random_seed`; learns nothing."""

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": NoPolicy, "CnnPolicy": NoPolicy}

    def __init__(self, policy: str, env: VecEnv, **arguments: Any) -> None:
        super().__init__(policy, env, learning_rate=0.0, support_multi_env=True, **arguments)
        self._setup_model()

    def _setup_model(self) -> None:
        self.policy = self.policy_class(self.observation_space, self.action_space)
        self.set_random_seed(self.seed)

    def predict(self, observation: Any, *_: Any, **__: Any) -> tuple[NDArray, None]:
        """Return an action for each observation."""
        return np.stack([self.action_space.sample() for _ in observation]), None

    def learn(self, total_timesteps: int, callback: Any = None, *_: Any, **arguments: Any) -> RandomAgent:
        """Let time pass."""
        arguments = {"reset_num_timesteps": True, "tb_log_name": "random", **arguments}
        total, callback = self._setup_learn(total_timesteps, callback, **arguments)
        callback.on_training_start(locals(), globals())
        while self.num_timesteps < total:
            callback.on_rollout_start()
            self.num_timesteps += self.n_envs
            callback.on_rollout_end()
        callback.on_training_end()
        return self


class ARS(sb3_contrib.ARS):
    """Augmented random search that plays one candidate in each environment instead of one in all."""

    def _do_one_update(self, callback: BaseCallback, async_eval: AsyncEval | None) -> None:
        # A border between segments of a training lies before the candidates are drawn.
        callback.on_rollout_start()
        super()._do_one_update(callback, async_eval)

    def evaluate_candidates(
        self, candidate_weights: Tensor, callback: BaseCallback, async_eval: AsyncEval | None
    ) -> Tensor:
        """Return the return of one episode of each candidate (P, n_params)."""
        assert self.env is not None
        groups = candidate_weights.split(self.env.num_envs)
        returns = torch.cat([self._play(group, callback) for group in groups])
        callback.on_rollout_end()
        return returns

    def _play(self, weights: Tensor, callback: BaseCallback) -> Tensor:
        assert self.env is not None
        count, total = len(weights), np.zeros(len(weights))
        parameters = self._unpacked(weights)
        idle = np.zeros(self.env.num_envs - count, dtype=np.int64)
        observations, running = self.env.reset(), np.ones(count, dtype=bool)
        while running.any():
            assert isinstance(observations, np.ndarray)
            actions = self._actions(parameters, observations[:count])
            if len(idle):
                actions = np.concatenate([actions, actions[idle]])
            observations, rewards, dones, infos = self.env.step(actions)
            total += np.where(running, rewards[:count] + self.alive_bonus_offset, 0)
            self._update_info_buffer([info for info, play in zip(infos, running, strict=False) if play])
            running &= ~dones[:count]
            self.num_timesteps += self.env.num_envs
            callback.on_step()
        return torch.from_numpy(total).float()

    def _unpacked(self, weights: Tensor) -> dict[str, Tensor]:
        """Return the parameters of the policy's network, those of every row of `weights` (P, n_params) in a row."""
        found, start = {}, 0
        for name, value in self.policy.named_parameters():
            found[name.removeprefix("action_net.")] = weights[:, start : start + value.numel()].unflatten(
                1, value.shape
            )
            start += value.numel()
        return found

    def _actions(self, parameters: dict[str, Tensor], observations: NDArray) -> NDArray:
        """Return the action of each candidate for its own observation."""
        inputs = torch.from_numpy(np.asarray(observations, np.float32)).flatten(1)
        net: Any = self.policy.action_net
        outputs = vmap(lambda own, x: functional_call(net, own, (x,)))(parameters, inputs).detach()
        if isinstance(self.action_space, spaces.Discrete):
            return outputs.argmax(1).numpy()
        if self.policy.squash_output:
            return self.policy.unscale_action(outputs.numpy())
        assert isinstance(self.action_space, spaces.Box)
        return np.clip(outputs.numpy(), self.action_space.low, self.action_space.high)


class CMAES(ARS):
    """Evolution strategy with an adapted covariance matrix (Hansen 2016, arXiv 1604.00772).

    Args:
        sigma: standard deviation of the first generation.
        population: candidates of a generation (default: 4 + 3 log of the number of parameters).
        arguments: those of ARS that do not concern its own search.
    """

    def __init__(self, policy: str, env: VecEnv, sigma: float = 0.5, population: int | None = None, **arguments: Any):
        self.sigma, self.population = sigma, population
        super().__init__(policy, env, **arguments)

    def _setup_model(self) -> None:
        super()._setup_model()
        random = generator(self.seed or 0, "cma_es")
        options = {"randn": lambda *size: random.standard_normal(size), "seed": np.nan, "verbose": -9}
        if self.population is not None:
            options["popsize"] = self.population
        self.search = cma.CMAEvolutionStrategy(np.zeros(self.n_params), self.sigma, options)
        self.told: list[NDArray[np.float64]] = []

    def _do_one_update(self, callback: BaseCallback, async_eval: AsyncEval | None) -> None:
        callback.on_rollout_start()
        candidates = self.search.ask()
        weights = torch.from_numpy(np.stack(candidates)).float()
        returns = self.evaluate_candidates(weights, callback, async_eval).double().numpy()
        self._tell(candidates, returns)
        self._n_updates += 1

    def _tell(self, candidates: list[NDArray], returns: NDArray[np.float64]) -> None:
        self.told.append(returns)
        self.search.tell(candidates, -returns)
        mean = torch.from_numpy(self.search.mean.copy()).float()
        self.policy.load_from_vector(mean.numpy())

    def repeat(self, told: NDArray[np.float64]) -> None:
        """Bring a new search to where one was that was told these returns (generations, candidates)."""
        for returns in told:
            self._tell(self.search.ask(), returns)
