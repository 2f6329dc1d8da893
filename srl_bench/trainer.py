"""The one training loop: any objective, resumable, the same numbers for the same seed.

Every random number of step t is derived from (seed, t), those that a loss draws from torch's global generators
included, so a run that was interrupted and resumed draws what an uninterrupted one draws.
"""

from __future__ import annotations

import copy
import csv
import json
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from srl_bench.batch import Batch
from srl_bench.built import BuiltObjective, check_finite
from srl_bench.config import TrainConfig
from srl_bench.device import resolve_device, resolve_precision
from srl_bench.encoder import Encoder
from srl_bench.errors import DataError
from srl_bench.method import Method, describe
from srl_bench.nets.encoder import EncoderNetwork, pixel_statistics
from srl_bench.objective import Objective, Spec
from srl_bench.progress import progress
from srl_bench.provenance import code_version
from srl_bench.resident import ResidentData
from srl_bench.rollouts import Rollouts
from srl_bench.seeding import derive_seed, generator

VALIDATION_ROWS = 1024
STATISTICS_ROWS = 2048
REPORT_EVERY = 50


class Trainer:
    """State of one training run."""

    def __init__(
        self,
        method: Method,
        objective: Objective,
        network: EncoderNetwork,
        rollouts: Rollouts,
        config: TrainConfig,
        folder: Path | None,
        teacher: Encoder | None = None,
        data: ResidentData | None = None,
    ) -> None:
        self.method, self.config, self.folder = method, config, folder
        self.device = resolve_device(config.device)
        self.precision = resolve_precision(config.precision, self.device)
        self.data = data or ResidentData(rollouts, self.device)
        self.data_hash = rollouts.data_hash
        self.horizon = objective.horizon
        windows = {split: rollouts.transitions(split, max(2, self.horizon)) for split in ("train", "val")}
        for split, rows in windows.items():
            if not len(rows):
                raise DataError(
                    f"{objective} reads {self.horizon} frames in a row; no {split} episode of {rollouts.path} has them."
                )
        self.rows = windows["train"]
        # A window of T frames counts as T / 2 transitions, so that all methods see as many frames per step.
        self.batch_size = max(1, 2 * config.batch_size // max(2, self.horizon))
        held_out = _spread(windows["val"], VALIDATION_ROWS)
        # Shuffled like training rows, so that terms on pairs see pairs of different episodes.
        self.validation_rows = generator(config.seed, "validation").permutation(held_out)
        rewards = rollouts.rewards[self.rows]
        self.minority = self.rows[rewards != _most_frequent(rewards)]
        factors = rollouts.factors[rollouts.split == 0]
        deviations = np.where(factors.std(0) < 1e-8, 1.0, factors.std(0))
        own = [index for index, factor in enumerate(rollouts.factor_table) if factor.proprioceptive]
        mean, std = pixel_statistics(training_images(rollouts))
        spec = Spec(
            state_dim=network.state_dim,
            pixel_mean=torch.from_numpy(np.ascontiguousarray(mean)),
            pixel_std=std,
            n_actions=rollouts.n_actions,
            action_dim=action_dim(rollouts),
            reward_values=tuple(np.unique(rewards).tolist()),
            reward_mean=float(rewards.mean()),
            reward_std=float(rewards.std()) or 1.0,
            factor_mean=tuple(factors.mean(0).tolist()),
            factor_std=tuple(deviations.tolist()),
            proprioception=torch.from_numpy(((factors - factors.mean(0)) / deviations)[:, own].astype(np.float32)),
            rows=torch.from_numpy(np.flatnonzero(rollouts.split == 0)),
            teacher=teacher,
        )
        if not any(term.loss.prevents_collapse for term in objective):
            warnings.warn(f"a constant state minimises {objective}; expect collapse.", stacklevel=4)
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.objective = BuiltObjective(objective, spec).to(self.device)
        # What is kept after training: the encoder, and the decoder that pictures are made with.
        decoder = self.objective.decoder
        self.kept = nn.ModuleDict({"network": self.network} | ({"decoder": decoder[0]} if decoder else {}))
        self.oversampling = max(term.loss.reward_oversampling for term in objective)
        parameters = [p for module in (self.network, self.objective) for p in module.parameters() if p.requires_grad]
        self.target_rate = objective.target_rate
        self.target = copy.deepcopy(self.network).requires_grad_(False) if self.target_rate else None
        self.optimizer = method.optimizer(parameters, config.learning_rate or method.learning_rate)
        self.step = 0
        self.best = float("inf")
        self.best_weights: dict[str, Tensor] = {}
        self.log: list[dict[str, Any]] = []

    def run(self, until: int | None = None) -> None:
        """Train to a step, by default the last one, after which the chosen weights are in the network."""
        self.resume()
        until = self.config.steps if until is None else until
        per_step = self.batch_size * self.horizon
        running: dict[str, Tensor] = {}
        since = (time.perf_counter(), self.step)
        with progress() as bar:
            task = bar.add_task(f"pretrain {self.method}", total=self.config.steps, completed=self.step, status="")
            while self.step < until:
                values = self.advance()
                for label, value in values.items():
                    running[label] = running.get(label, 0.0) + value.detach()
                if self.step % REPORT_EVERY == 0 or self.at_checkpoint:
                    check_finite({label: value.item() for label, value in values.items()}, self.step)
                    speed = (self.step - since[1]) * per_step / (time.perf_counter() - since[0])
                    terms = "  ".join(f"{label} {value.item():.4g}" for label, value in values.items())
                    bar.update(task, completed=self.step, status=f"{terms}  {speed:,.0f} images/s")
                if self.at_checkpoint:
                    count = self.step - since[1]
                    self.validate({label: float(value) / count for label, value in running.items()}, speed)
                    running, since = {}, (time.perf_counter(), self.step)
        if self.step == self.config.steps:
            self.choose()

    def advance(self) -> dict[str, Tensor]:
        """Take one step and return the raw value of each term."""
        self.network.train()
        batch = self._batch(self.sample(self.step), self.step)
        _, values = self.method.training_step(self.objective, batch, self.optimizer, self.progress)
        self._follow()
        self.step += 1
        return values

    @property
    def at_checkpoint(self) -> bool:
        """Whether validation and a checkpoint are due after the last step."""
        return self.step % self.config.validate_every == 0 or self.step == self.config.steps

    def choose(self) -> None:
        """Put the weights that are to be kept into the network."""
        if self.config.keep == "best":
            self.kept.load_state_dict(self.best_weights)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the target network towards the encoder."""
        if self.target is not None:
            torch._foreach_lerp_(list(self.target.parameters()), list(self.network.parameters()), self.target_rate)

    @property
    def progress(self) -> float:
        """Share of the training that is done."""
        return self.step / self.config.steps

    def sample(self, step: int) -> NDArray[np.int64]:
        """Return the rows of the minibatch of one step."""
        size = min(self.batch_size, len(self.rows))
        epoch, position = divmod(step, len(self.rows) // size)
        if position == 0 or step == self._resumed_at:
            self._order = generator(self.config.seed, "epoch", epoch).permutation(self.rows)
        rows = self._order[position * size : (position + 1) * size]
        extra = round(self.oversampling * size)
        if extra and len(self.minority):
            rows = rows.copy()
            rows[:extra] = generator(self.config.seed, "minority", step).choice(self.minority, extra)
        return rows

    def _batch(self, rows: NDArray[np.int64], *keys: str | int) -> Batch:
        """Return a minibatch, all random numbers from here on derived from the keys."""
        seed = derive_seed(self.config.seed, "noise", *keys)
        # torch.manual_seed takes seventy times as long.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed_all(seed)
        return Batch(
            self.data,
            torch.from_numpy(rows).to(self.device),
            self.network,
            horizon=self.horizon,
            precision=self.precision,
            target=self.target,
        )

    def validate(self, trained: dict[str, float], speed: float) -> None:
        """Score the held-out episodes with the final weights of all terms, log, and write a checkpoint."""
        self.network.eval()
        chunks = np.array_split(self.validation_rows, max(1, len(self.validation_rows) // self.batch_size))
        sums = dict.fromkeys(["total", *self.objective.labels], 0.0)
        for index, chunk in enumerate(chunks):
            with torch.no_grad():
                total, values = self.objective(self._batch(chunk, "validation", index), 1.0)
            for label, value in {"total": total, **values}.items():
                sums[label] += float(value) * len(chunk) / len(self.validation_rows)
        check_finite(sums, self.step)
        batch = self._batch(chunks[0], "validation", 0)
        _, values = self.objective(batch, 1.0)
        norms = self.objective.gradient_norms(values, batch.encodings, self.progress)
        weights = self.objective.weights(self.progress)
        magnitude = sum(abs(weights[label] * sums[label]) for label in weights) or 1.0
        self.log += [
            {
                "step": self.step,
                "term": label,
                "train": trained[label],
                "validation": sums[label],
                "weight": weight,
                "share": abs(weight * sums[label]) / magnitude,
                "gradient_norm": norms[label],
                "images_per_second": speed,
            }
            for label, weight in weights.items()
        ]
        if sums["total"] < self.best:
            self.best = sums["total"]
            self.best_weights = {name: value.detach().clone() for name, value in self.kept.state_dict().items()}
        if self.folder is not None:
            self._write_log(self.folder)
            self._save_checkpoint(self.folder / "checkpoint.safetensors")

    def _write_log(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "train.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(self.log[0]))
            writer.writeheader()
            writer.writerows(self.log)
        if self.config.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            with SummaryWriter(folder / "tensorboard") as board:
                for row in self.log:
                    if row["step"] == self.step:
                        for column in ("train", "validation", "gradient_norm"):
                            board.add_scalar(f"{row['term']}/{column}", row[column], row["step"])

    def _save_checkpoint(self, path: Path) -> None:
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"objective.{name}": value for name, value in self.objective.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best_weights.items()}
        if self.target is not None:
            tensors |= {f"target.{name}": value for name, value in self.target.state_dict().items()}
        optimizer = self.optimizer.state_dict()
        for index, state in optimizer["state"].items():
            tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        about = {"step": self.step, "best": self.best, "log": self.log, "identity": self._identity()}
        temporary = path.with_suffix(".tmp")
        cloned = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        save_file(cloned, temporary, metadata={"about": json.dumps(about)})
        temporary.rename(path)

    _resumed_at = -1

    def resume(self) -> None:
        """Take up the checkpoint in the folder, if there is one."""
        path = self.folder / "checkpoint.safetensors" if self.folder is not None else None
        if path is None or not path.exists():
            return
        try:
            with safe_open(path, framework="pt", device=str(self.device)) as stream:
                about = json.loads(stream.metadata()["about"])
                tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise DataError(f"{path} is damaged ({error}); delete it to start again.") from error
        if about["identity"] != self._identity():
            raise DataError(
                f"{path} is of another run, or of other code; give another folder, or delete it to start again."
            )

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

        self.network.load_state_dict(part("network."))
        self.objective.load_state_dict(part("objective."))
        if self.target is not None:
            self.target.load_state_dict(part("target."))
        self.best_weights = part("best.")
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in part("optimizer.").items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        # Fused Adam pairs weights and moments by their place in memory, so that the layouts must agree.
        for parameter, moments in self.optimizer.state.items():
            for key, value in moments.items():
                if value.shape == parameter.shape:
                    moments[key] = torch.empty_like(parameter).copy_(value)
        self.step, self.best, self.log = about["step"], about["best"], about["log"]
        self._resumed_at = self.step

    def _identity(self) -> dict[str, Any]:
        described = describe(self.method, self.network.state_dim, str(self.network.config["body"]))
        return {**described, "config": asdict(self.config), "data": self.data_hash, "code": code_version()}


def action_dim(rollouts: Rollouts) -> int:
    """Return the length of the action vector, one-hot for discrete actions."""
    return rollouts.n_actions or rollouts.actions.shape[1]


def training_images(rollouts: Rollouts) -> NDArray[np.uint8]:
    """Return evenly spaced frames of the training episodes, whose statistics networks are centred with."""
    return rollouts.observations[_spread(np.flatnonzero(rollouts.split == 0), STATISTICS_ROWS)]


def _spread(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return at most `count` of the rows, evenly spaced."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(np.int64))]


def _most_frequent(values: NDArray) -> float:
    distinct, counts = np.unique(values, return_counts=True)
    return distinct[counts.argmax()]
