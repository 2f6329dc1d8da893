"""The algorithms that train agents: what each is, which actions and observations it takes, and how it is made.

Nothing of Stable-Baselines3 is imported before an agent is made, so that names and fits are checked at once.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from srl_bench.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv

HYPERPARAMETERS = Path(__file__).parent / "hyperparameters.yaml"
SET_ELSEWHERE = ("env", "seed", "device", "tensorboard_log", "verbose", "arguments", "_init_setup_model")
BOTH = ("discrete", "continuous")


@dataclass(frozen=True)
class Algorithm:
    """An algorithm and what it can be given.

    Attributes:
        summary: one line, with its source.
        entry: "module:class" of an algorithm with the interface of Stable-Baselines3.
        actions: "discrete", "continuous" or both.
        policies: what its policies' names have between "Mlp" or "Cnn" and "Policy".
        images: whether its policies have convolutions.
        masks: whether the environment must say which actions are possible.
    """

    summary: str
    entry: str
    actions: tuple[str, ...] = BOTH
    policies: str = ""
    images: bool = True
    masks: bool = False

    def load(self) -> type[BaseAlgorithm]:
        """Import the class."""
        module, name = self.entry.split(":")
        return getattr(importlib.import_module(module), name)


ALGORITHMS: dict[str, Algorithm] = {
    "a2c": Algorithm("Advantage actor-critic (Mnih et al. 2016)", "stable_baselines3:A2C"),
    "ars": Algorithm(
        "Augmented random search (Mania et al. 2018) over linear policies", "srl_bench.agents:ARS", images=False
    ),
    "cma_es": Algorithm(
        "Covariance matrix adaptation (Hansen 2016) over linear policies", "srl_bench.agents:CMAES", images=False
    ),
    "crossq": Algorithm(
        "Batch normalisation in place of target networks (Bhatt et al. 2024)",
        "sb3_contrib:CrossQ",
        ("continuous",),
        images=False,
    ),
    "ddpg": Algorithm(
        "Deep deterministic policy gradient (Lillicrap et al. 2016)", "stable_baselines3:DDPG", ("continuous",)
    ),
    "dqn": Algorithm("Deep Q learning (Mnih et al. 2015)", "stable_baselines3:DQN", ("discrete",)),
    "maskable_ppo": Algorithm(
        "PPO that leaves out impossible actions (Huang & Ontañón 2022); the environment has action_masks()",
        "sb3_contrib:MaskablePPO",
        ("discrete",),
        masks=True,
    ),
    "ppo": Algorithm("Proximal policy optimisation (Schulman et al. 2017)", "stable_baselines3:PPO"),
    "qrdqn": Algorithm("Quantile regression DQN (Dabney et al. 2018)", "sb3_contrib:QRDQN", ("discrete",)),
    "random": Algorithm("Random actions: the floor of every comparison", "srl_bench.agents:RandomAgent"),
    "recurrent_ppo": Algorithm(
        "PPO with an LSTM (Schulman et al. 2017; Hochreiter & Schmidhuber 1997)",
        "sb3_contrib:RecurrentPPO",
        policies="Lstm",
    ),
    "sac": Algorithm("Soft actor-critic (Haarnoja et al. 2018)", "stable_baselines3:SAC", ("continuous",)),
    "td3": Algorithm("Twin delayed DDPG (Fujimoto et al. 2018)", "stable_baselines3:TD3", ("continuous",)),
    "tqc": Algorithm("Truncated quantile critics (Kuznetsov et al. 2020)", "sb3_contrib:TQC", ("continuous",)),
    "trpo": Algorithm("Trust region policy optimisation (Schulman et al. 2015)", "sb3_contrib:TRPO"),
}


def check_algorithm(name: str, env: gymnasium.Env, *, images: bool) -> None:
    """Raise `ConfigError`, which names what fits, unless an algorithm takes the actions and observations.

    Args:
        name: key of `ALGORITHMS`.
        env: the environment.
        images: whether the agent's own network reads images.
    """
    if name not in ALGORITHMS:
        raise UnknownNameError("algorithm", name, ALGORITHMS)
    algorithm, space = ALGORITHMS[name], env.action_space
    kind = {gymnasium.spaces.Discrete: "discrete", gymnasium.spaces.Box: "continuous"}.get(type(space), str(space))
    masks = hasattr(env.unwrapped, "action_masks")
    called = env.spec.id if env.spec is not None else str(env.unwrapped)
    remedy = f" (as its argument action_type={kind} says)" if hasattr(env.unwrapped, "action_type") else ""
    fitting = [
        key
        for key, other in ALGORITHMS.items()
        if kind in other.actions and (other.images or not images) and (masks or not other.masks)
    ]
    faults = []
    if kind not in algorithm.actions:
        faults.append(f"takes {' or '.join(algorithm.actions)} actions, but those of {called} are {kind}{remedy}")
    if images and not algorithm.images:
        faults.append("has no network for images; give it an encoder's states, or raw_pixels to another algorithm")
    if algorithm.masks and not masks:
        faults.append(f"needs a method action_masks(), which {called} lacks")
    if faults:
        raise ConfigError(f"{name} {'; '.join(faults)}. These fit: {', '.join(fitting) or 'none'}.")


@cache
def _known_hyperparameters() -> dict[str, dict[str, dict[str, Any]]]:
    import yaml

    return yaml.safe_load(HYPERPARAMETERS.read_text())


def hyperparameters(algorithm: str, environment: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of an agent: the algorithm's defaults, those of the environment, and what is given."""
    known = _known_hyperparameters()[algorithm]
    return {**known["defaults"], **known.get(environment, {}), **given}


def search_ranges(algorithm: str) -> dict[str, Any]:
    """Return what a search tries of an agent's arguments: (low, high) of numbers, or lists of values."""
    ranges = _known_hyperparameters()[algorithm]["search"]
    return {name: (item["low"], item["high"]) if isinstance(item, dict) else item for name, item in ranges.items()}


def accepted_hyperparameters(algorithm: str) -> dict[str, Any]:
    """Return the names that an agent takes as hyperparameters, with the defaults of its class."""
    parameters = inspect.signature(ALGORITHMS[algorithm].load()).parameters
    accepted = {name: item.default for name, item in parameters.items() if name not in SET_ELSEWHERE}
    return {**accepted, "noise_std": 0.0} if "action_noise" in accepted else accepted


def check_hyperparameters(algorithm: str, given: dict[str, Any]) -> None:
    """Raise `UnknownNameError` for the first name that is no hyperparameter of an algorithm."""
    accepted = accepted_hyperparameters(algorithm)
    for name in given:
        if name not in accepted:
            raise UnknownNameError(f"hyperparameter of {algorithm}", name, accepted)


def make_agent(
    algorithm: str,
    venv: VecEnv,
    chosen: dict[str, Any],
    *,
    images: bool,
    seed: int,
    device: Any,
    policy_kwargs: dict[str, Any] | None = None,
    tensorboard: str | None = None,
) -> BaseAlgorithm:
    """Make an agent.

    Args:
        algorithm: key of `ALGORITHMS`.
        venv: environments with the observations that the agent's network reads.
        chosen: arguments of the class; `noise_std` stands for Gaussian action noise, `policy` for a policy's name.
        images: whether the network reads images.
        seed, device: of the agent.
        policy_kwargs: arguments of the policy besides those in `chosen`.
        tensorboard: folder of TensorBoard's log.

    Raises:
        ConfigError: the class does not take an argument.
    """
    entry = ALGORITHMS[algorithm]
    arguments = dict(chosen)
    if (std := arguments.pop("noise_std", 0)) > 0:
        from stable_baselines3.common.noise import NormalActionNoise

        shape = venv.action_space.shape or ()
        arguments["action_noise"] = NormalActionNoise(np.zeros(shape), np.full(shape, std))
    policy = arguments.pop("policy", f"{'Cnn' if images else 'Mlp'}{entry.policies}Policy")
    arguments["policy_kwargs"] = {**arguments.get("policy_kwargs", {}), **(policy_kwargs or {})}
    if isinstance(arguments.get("train_freq"), list):
        arguments["train_freq"] = tuple(arguments["train_freq"])
    from stable_baselines3.common.logger import Logger

    cls = entry.load()
    check_hyperparameters(algorithm, chosen)
    try:
        agent = cls(policy, venv, seed=seed, device=device, tensorboard_log=tensorboard, **arguments)
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"{algorithm} does not take these hyperparameters {chosen}: {error}.") from error
    if tensorboard is None:
        # SB3's own logger makes a folder in /tmp even if nothing is logged.
        agent.set_logger(Logger(None, []))
    return agent
