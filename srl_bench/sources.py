"""What an agent observes: states of an encoder, factors, both beside each other, or pixels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack

from srl_bench.config import RAW_PIXELS, RLConfig, TrainConfig
from srl_bench.encoder import Encoder, load_encoder
from srl_bench.environments import factor_table, make_environment
from srl_bench.errors import ConfigError, UnknownNameError
from srl_bench.factors import scale_factors
from srl_bench.registry import METHODS
from srl_bench.vecenv import EncodedVecEnv, EncoderExtractor, FactorVecEnv, encode

FACTORS = GROUND_TRUTH, PROPRIOCEPTION = "ground_truth", "proprioception"


@dataclass(frozen=True)
class Source:
    """What an agent observes.

    Attributes:
        encoder: whose states; None for none.
        factors: "ground_truth" for all factors, "proprioception" for what the robot knows of itself, scaled by their
            ranges; "" for none. Neither encoder nor factors means pixels.
    """

    encoder: Encoder | None = None
    factors: str = ""

    @property
    def pixels(self) -> bool:
        """Whether the agent itself reads the images."""
        return self.encoder is None and not self.factors

    @property
    def name(self) -> str:
        """How to write it."""
        method = str(self.encoder.provenance.get("method", "encoder")) if self.encoder is not None else ""
        return "+".join(part for part in (method, self.factors) if part) or RAW_PIXELS

    def environment_kwargs(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return arguments of the environment, with the `obs_type` that this source needs."""
        if self.encoder is not None and self.encoder.observation == "pixels":
            return {**kwargs, "obs_type": "pixels+state"} if self.factors else kwargs
        return kwargs if self.pixels else {**kwargs, "obs_type": "state"}

    def observe(self, venv: VecEnv, config: RLConfig, environment: str, kwargs: dict[str, Any]) -> VecEnv:
        """Return the environments with what the agent observes."""
        observed: VecEnv
        if config.encoder_mode != "frozen" or self.pixels:
            observed = venv
        elif not self.factors:
            assert self.encoder is not None
            observed = encode(venv, self.encoder)
        else:
            columns = Columns(environment, self.environment_kwargs(kwargs), self.factors)
            if self.encoder is not None:
                observed = EncodedVecEnv(venv, self.encoder, columns)
            else:
                observed = FactorVecEnv(venv, columns)
        return VecFrameStack(observed, config.frame_stack) if config.frame_stack > 1 else observed

    def policy_kwargs(self, mode: str) -> dict[str, Any]:
        """Return the arguments of a policy that trains the encoder itself."""
        if mode == "frozen":
            return {}
        options = {"encoder": self.encoder, "mode": mode}
        return {"features_extractor_class": EncoderExtractor, "features_extractor_kwargs": options}


class Columns:
    """Maps the factors of an environment to those that an agent observes, scaled by their ranges.

    Raises:
        ConfigError: the environment has none of them.
    """

    def __init__(self, environment: str, kwargs: dict[str, Any], which: str) -> None:
        env = make_environment(environment, kwargs)
        table = factor_table(env)
        env.close()
        self.chosen = [i for i, factor in enumerate(table) if factor.proprioceptive or which == GROUND_TRUTH]
        self.table = [table[index] for index in self.chosen]
        if not self.table:
            raise ConfigError(f"{environment} has no factor that is proprioceptive; give another source.")

    def __call__(self, factors: NDArray) -> NDArray[np.float32]:
        """Return (..., C) columns of factors (..., K)."""
        return scale_factors(factors[..., self.chosen], self.table)


def as_source(given: Encoder | Source | str) -> Source:
    """Return what an agent observes.

    Args:
        given: an encoder; raw_pixels, ground_truth, proprioception, or the folder of an encoder or its address
            hf://user/name[@revision], which may have "+proprioception" or "+ground_truth" behind it.

    Raises:
        ConfigError: it is none of these.
    """
    if isinstance(given, Source):
        return given
    if isinstance(given, Encoder):
        return Source(given)
    if not isinstance(given, str):
        raise ConfigError(f"an agent observes an Encoder, {RAW_PIXELS!r} or another name, not {given!r}.")
    base, beside = split_source(given)
    if base == RAW_PIXELS and not beside:
        return Source()
    if base in FACTORS and not beside:
        return Source(None, base)
    if "/" in base or Path(base).is_dir():
        if (Path(base) / "encoder" / "config.json").exists() and not (Path(base) / "model.safetensors").exists():
            raise ConfigError(f"{base} is no encoder, but has one; give {Path(base) / 'encoder'}.")
        return Source(load_encoder(base), beside)
    known = (RAW_PIXELS, *FACTORS, "FOLDER", "hf://USER/NAME", *(f"FOLDER+{kind}" for kind in FACTORS))
    if base in METHODS:
        raise ConfigError(
            f"{base} is a method, whose encoder has to be trained first: srl.pretrain({base!r}, rollouts)."
        )
    raise UnknownNameError("source of observations", given, (*known, *METHODS))


def split_source(text: str) -> tuple[str, str]:
    """Return "encoder+proprioception" or "encoder+ground_truth" as its two parts; the second one may be ""."""
    base, plus, last = text.rpartition("+")
    return (base.strip(), last.strip()) if plus and last.strip() in FACTORS else (text.strip(), "")


def is_method(text: str) -> bool:
    """Return whether a source is a method or an expression, whose encoder has yet to be trained."""
    base, _ = split_source(text)
    name = base.partition("(")[0].strip()
    if base in (RAW_PIXELS, *FACTORS) or Path(base).is_dir():
        return False
    return name in METHODS or any(sign in base for sign in "+*[(")


def pretrained_source(
    text: str, data: Path | None, environment: str, kwargs: dict[str, Any], config: TrainConfig, out: Path
) -> Source:
    """Train the encoder of a method on the spot.

    Args:
        text: a method or expression, maybe with "+proprioception" or "+ground_truth" behind it.
        data: rollouts to train on; by default the environment's default recording, made if it is not there.
        environment, kwargs: of the recording.
        config: of the training.
        out: folder of the training, which resumes.
    """
    from srl_bench.pretrain import pretrain
    from srl_bench.record import record
    from srl_bench.rollouts import open_rollouts

    base, beside = split_source(text)
    own = {name: value for name, value in kwargs.items() if name != "obs_type"}
    rollouts = open_rollouts(data) if data is not None else record(environment, environment_kwargs=own)
    return Source(pretrain(base, rollouts, out=out, config=config), beside)


def check_source(source: Source, environment: str, kwargs: dict[str, Any], config: RLConfig) -> list[str]:
    """Return what a reader of the results should know; raise `ConfigError` for what cannot work.

    An encoder that was trained on another environment or domain is refused unless `config.allow_mismatch`.
    """
    encoder = source.encoder
    if config.encoder_mode != "frozen":
        if encoder is None or source.factors or config.curiosity or config.frame_stack > 1:
            raise ConfigError(
                f"encoder_mode={config.encoder_mode!r} trains an encoder inside the agent: it needs one, and goes "
                "neither with factors beside it nor with curiosity or frame_stack, which need states."
            )
        if encoder.is_recurrent:
            raise ConfigError(f"encoder_mode={config.encoder_mode!r} cannot train a recurrent encoder; keep it frozen.")
    if source.factors and encoder is not None and encoder.observation != "pixels":
        raise ConfigError(f"this encoder reads the factors already; give it without {source.factors} beside it.")
    if config.curiosity and source.pixels:
        raise ConfigError("curiosity needs states to predict; give an encoder or factors instead of raw_pixels.")
    about = encoder.provenance if encoder is not None else {}
    trained_kwargs = about.get("environment_kwargs", {})
    seen = {"environment": about.get("environment", environment), "domain": trained_kwargs.get("domain", "sim")}
    asked = {"environment": environment, "domain": kwargs.get("domain", "sim")}
    if not about or (encoder is not None and encoder.observation == "state"):
        seen = asked
    differing = [f"{key} {seen[key]!r}, not {asked[key]!r}" for key in seen if seen[key] != asked[key]]
    if not differing:
        return []
    message = f"the encoder was trained on {' and on '.join(differing)}"
    if config.allow_mismatch:
        return [f"{message}."]
    raise ConfigError(f"{message}; allow it with allow_mismatch (--allow-mismatch), or use an encoder that fits.")


def weights_hash(source: Source | Encoder | str) -> str:
    """Return the sha256 of all weights of an encoder, "" for other sources."""
    encoder = source.encoder if isinstance(source, Source) else source
    if not isinstance(encoder, Encoder):
        return ""
    digest = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()
