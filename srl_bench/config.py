"""Settings of every stage as frozen dataclasses: the command line, suite files and Python all fill the same ones."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import reprlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_type_hints

import numpy as np

from srl_bench.errors import ConfigError, UnknownNameError
from srl_bench.files import read_yaml

T = TypeVar("T")
SUITES = Path(__file__).parent / "suites"
RAW_PIXELS = "raw_pixels"
AlgorithmName = Literal[
    "a2c", "ars", "cma_es", "crossq", "ddpg", "dqn", "maskable_ppo", "ppo", "qrdqn", "random", "recurrent_ppo", "sac",
    "td3", "tqc", "trpo",
]  # fmt: skip


def check_types(config: Any) -> None:
    """Give every field the type that it is declared with, as suite files do; numbers of numpy become plain ones.

    Raises:
        ConfigError: a value is of another type, or what a dictionary holds cannot be written as JSON.
    """
    from pydantic import TypeAdapter, ValidationError

    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        try:
            value = _plain(value)
            object.__setattr__(config, name, TypeAdapter(hint).validate_python(value))
            json.dumps(value)
        except ValidationError as error:
            raise ConfigError(f"{name}={value!r} is not accepted: {error.errors()[0]['msg']}.") from error
        except (TypeError, RecursionError) as error:
            raise ConfigError(f"{name}={value!r} is not accepted: it cannot be written as JSON.") from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"keys must be text: {value!r}")
        return {key: _plain(part) for key, part in value.items()}
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value


def check_positive(config: Any, *names: str) -> None:
    """Raise `ConfigError` unless the named fields are at least 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} must be at least 1, not {getattr(config, name)}.")


def check_choices(config: Any) -> None:
    """Raise `ConfigError` for a field of a `Literal` type that holds none of its values."""
    for name, hint in get_type_hints(type(config)).items():
        accepted: Sequence[Any] = get_args(hint)
        if getattr(hint, "__origin__", None) is Literal and getattr(config, name) not in accepted:
            raise ConfigError(f"{name} must be one of {', '.join(accepted)}, not {getattr(config, name)!r}.")


def check_finite(config: Any) -> None:
    """Raise `ConfigError` for a number that is not finite, in a field or in what it holds."""
    for name, value in vars(config).items():
        for number in _floats(value):
            if not math.isfinite(number):
                raise ConfigError(f"{name} must hold finite numbers only, not {number}.")


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _floats(part)


def check_device(name: str) -> None:
    """Raise `ConfigError` unless a device may be called so; whether it is there, only the worker knows."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ConfigError(f"device must be 'cpu', 'cuda' or 'auto', not {name!r}; 'cuda:1' is the second GPU.")


@dataclass(frozen=True)
class RecordConfig:
    """What to record; two recordings with equal settings hold the same bytes."""

    environment: str = "srl_bench/MobileRobot-v0"
    """Gymnasium id of the environment."""
    frames: int = 20_000
    """Environment steps in all; each episode adds its final observation."""
    seed: int = 0
    """Seed of episodes, policy and split."""
    policy: str | None = None
    """random; scripted: the environment's expert; mixed: the expert with another share of random actions in every
    episode; the folder of an agent that `srl-bench rl` wrote; or one of Stable-Baselines3, such as
    ppo:agents/best_model.zip. By default what suits the environment."""
    noise: float = 0.3
    """Share of random actions among those of an expert or agent, in [0, 1]."""
    agent_reads: str = "pixels"
    """What an agent of Stable-Baselines3 observes: pixels, ground_truth, or the folder of an encoder or
    its address hf://user/name@revision."""
    max_steps: int = 100
    """Episodes are cut after this many steps (apart from the environment's own limit)."""
    domains: tuple[str, ...] = ()
    """Record these domains of the environment by turns, such as sim twin, and label the episodes with them."""
    environment_kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the environment, such as image_size."""

    def __post_init__(self) -> None:
        check_choices(self)
        check_types(self)
        check_finite(self)
        check_positive(self, "frames", "max_steps")
        # what other processes and the next run read: lists where tuples were given
        object.__setattr__(self, "environment_kwargs", json.loads(json.dumps(self.environment_kwargs)))
        if not 0 <= self.noise <= 1:
            raise ConfigError(f"noise must be in [0, 1], not {self.noise}.")
        if self.agent_reads != "pixels" and ":" not in (self.policy or ""):
            raise ConfigError(
                f"agent_reads={self.agent_reads!r} is for an agent in a file, such as policy='ppo:agent.zip', but "
                f"policy={self.policy!r}."
            )
        if len(set(self.domains)) < len(self.domains) or (self.domains and "domain" in self.environment_kwargs):
            raise ConfigError(
                f"domains={self.domains} must be different, and not be given together with the argument domain."
            )


@dataclass(frozen=True)
class TrainConfig:
    """Settings of pretraining that all methods of a comparison share."""

    latent_dim: int = 32
    """Dimensions of the state."""
    steps: int = 4_000
    """Gradient steps."""
    batch_size: int = 64
    """Transitions per step; a method that reads windows of T frames gets 2 / T times as many of them."""
    learning_rate: float | None = None
    """Step size of Adam; by default the method's own."""
    body: str = "nature"
    """Network body of the encoder."""
    frame_stack: int = 1
    """Frames that the encoder sees at once, the last ones of the episode: two for what moves, where a method keeps no
    memory of its own."""
    seed: int = 0
    """Seed of initialisation, batches and noise."""
    keep: Literal["best", "last"] = "best"
    """Which weights to freeze: those with the lowest validation loss, or the last."""
    validate_every: int = 250
    """Steps between validations; each one also writes a checkpoint."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of convolutions; auto is bfloat16 where the device computes it natively."""
    device: str = "auto"
    """cpu, cuda, or auto: the GPU if there is one."""
    threads: int = 1
    """CPU threads; more than one is slower beside other jobs."""
    tensorboard: bool = False
    """Also log to TensorBoard."""

    def __post_init__(self) -> None:
        check_choices(self)
        check_types(self)
        check_finite(self)
        check_device(self.device)
        check_positive(self, "latent_dim", "steps", "batch_size", "validate_every", "threads", "frame_stack")
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise ConfigError(f"learning_rate must be positive, not {self.learning_rate}.")


@dataclass(frozen=True)
class RLConfig:
    """Settings of an agent's training and evaluation."""

    algorithm: AlgorithmName = "ppo"
    """Algorithm; `srl-bench list algos` says what each is."""
    steps: int = 50_000
    """Environment steps of training."""
    n_envs: int = 8
    """Environments stepped together."""
    eval_every: int = 10_000
    """Environment steps between evaluations, of the untrained agent too. Each one also writes a checkpoint, and starts
    the episodes of training anew."""
    eval_episodes: int = 10
    """Episodes of an evaluation, the same ones every time."""
    eval_seed: int = 20_180_925
    """Seed of the evaluation episodes. Agents that are compared share it; `srl-bench tune` derives another one."""
    seed: int = 0
    """Seed of agent and environments; evaluation episodes do not depend on it."""
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    """Arguments of the agent's class, such as learning_rate, in place of those in hyperparameters.yaml."""
    encoder_mode: Literal["frozen", "finetune", "scratch"] = "frozen"
    """frozen: the agent learns from the encoder's states; finetune: it goes on training the encoder; scratch: it
    trains the same network from new weights."""
    frame_stack: int = 1
    """Observations that an agent sees at once, the last ones of the episode."""
    normalise: bool = False
    """Normalise observations, unless they are pixels, and rewards of training by running statistics."""
    curiosity: float = 0.0
    """Weight of a bonus for states that a forward model failed to predict; 0 for none."""
    allow_mismatch: bool = False
    """Accept an encoder that was trained on another environment or domain."""
    device: str = "auto"
    """cpu, cuda, or auto: CPU for states, the GPU for pixels if there is one."""
    threads: int = 1
    """CPU threads; more than one is slower beside other jobs."""
    tensorboard: bool = False
    """Also log to TensorBoard."""
    wandb: str = ""
    """Also report to this project of Weights & Biases (pip install 'srl-bench[wandb]')."""

    def __post_init__(self) -> None:
        check_choices(self)
        check_types(self)
        check_finite(self)
        check_device(self.device)
        check_positive(self, "steps", "n_envs", "eval_every", "eval_episodes", "threads", "frame_stack")
        if self.curiosity < 0:
            raise ConfigError(f"curiosity must not be negative, but is {self.curiosity}.")


@dataclass(frozen=True)
class Suite:
    """A comparison: every method on every environment with every seed."""

    name: str
    """Results go to runs/<name>."""
    environments: tuple[RecordConfig, ...]
    """Recordings, each of one environment."""
    methods: tuple[str, ...]
    """Method names or expressions; raw_pixels is an agent that learns from images end to end."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of pretraining and of the agent."""
    train: TrainConfig = TrainConfig()
    """Pretraining, the same for all methods."""
    metrics: tuple[str, ...] | None = None
    """Metrics to score with; all if not given."""
    rl: RLConfig | None = None
    """Reinforcement learning on the frozen encoders; none if not given."""
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Arguments of agents' environments beside those of their recordings, by id, such as {reward_type: shaped}."""

    def __post_init__(self) -> None:
        # a backslash separates folders on Windows
        if self.name.lower() in ("", "data") or self.name.startswith(".") or set(self.name) & set("/\\\0"):
            raise ConfigError(
                f"suite name {self.name!r} must be a plain folder name, which is not empty and does not begin with a "
                "dot; data is where recordings are."
            )
        check_finite(self)
        environments = [config.environment for config in self.environments]
        for kind, listed in (("environments", environments), ("methods", self.methods), ("seeds", self.seeds)):
            if not listed:
                raise ConfigError(f"suite {self.name!r} lists no {kind}; give at least one.")
            repeated = ", ".join(str(value) for value, times in Counter(listed).items() if times > 1)
            if repeated:
                raise ConfigError(
                    f"suite {self.name!r} repeats {repeated} among its {kind}; each may stand there once, because "
                    "means and intervals are over different cells."
                )
        if self.tasks and self.rl is None:
            raise ConfigError(f"suite {self.name!r} has tasks of agents, but no rl.")
        for name in self.tasks:
            if name not in environments:
                raise UnknownNameError(f"environment in the tasks of suite {self.name!r}", name, environments)
            if not isinstance(self.tasks[name], dict):
                raise ConfigError(f"the task of {name} must be arguments by name, not {self.tasks[name]!r}.")


def load_suite(name: str) -> Suite:
    """Read a built-in suite by name, or a YAML file by path.

    Raises:
        UnknownNameError: there is no such suite, or a key in it is not known.
        ConfigError: the file is not valid.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else SUITES / f"{name}.yaml"
    if not path.is_file():
        raise UnknownNameError("suite", name, [file.stem for file in SUITES.glob("*.yaml")])
    return as_suite(read_yaml(path), str(path))


def as_suite(content: Any, where: str) -> Suite:
    """Make a suite of what a YAML or JSON file holds.

    Raises:
        UnknownNameError: a key is not known.
        ConfigError: it is not a valid suite; `where` is what the message calls the file.
    """
    from pydantic import TypeAdapter, ValidationError

    check_keys(Suite, content, where)
    try:
        return TypeAdapter(Suite).validate_python(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ConfigError(f"{where} is not a valid suite: {faults}.") from error


def check_keys(cls: type[Any], content: Any, where: str) -> None:
    """Raise an error that names the nearest known key for every key of `content` that `cls` has no field for."""
    hints = get_type_hints(cls)
    if not isinstance(content, dict):
        raise ConfigError(f"{where} must hold keys and values ({', '.join(hints)}), not {reprlib.repr(content)}.")
    for key, value in content.items():
        if key not in hints:
            raise UnknownNameError(f"key in {where}", str(key), hints)
        for nested in (hints[key], *get_args(hints[key])):
            if isinstance(nested, type) and dataclasses.is_dataclass(nested):
                items = value if isinstance(value, list) else [value]
                for item in items:
                    if item is not None:
                        check_keys(nested, item, f"{where}: {key}")


def options(cls: type[T], given: dict[str, Any]) -> T:
    """Make a settings dataclass; unknown options are errors that name the nearest known one."""
    check_keys(cls, given, cls.__name__)
    return cls(**given)
