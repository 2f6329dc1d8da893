"""Several seeds of one method at once: their parameters are batched, so that one call computes all their gradients.

It pays where a single network leaves most of the device idle, as a small one does on a GPU. On a CPU it does not
(`benchmarks/speed_seeds.py`). The gain over training one after the other is measured in every run.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from srl_bench.batch import Batch
from srl_bench.built import check_finite
from srl_bench.config import TrainConfig, options
from srl_bench.device import cpu_threads
from srl_bench.encoder import Encoder
from srl_bench.errors import ConfigError
from srl_bench.method import Method, resolve
from srl_bench.objective import Loss, Objective
from srl_bench.pretrain import finished, freeze, make_trainer, origin_of
from srl_bench.progress import progress
from srl_bench.rollouts import Rollouts
from srl_bench.seeding import derive_seed
from srl_bench.trainer import REPORT_EVERY, Trainer

# Steps that are timed, first one seed after the other, then at once.
TIMED = 8
ELEMENTWISE = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)


def pretrain_seeds(
    method: str | Method | Objective | Loss,
    rollouts: Rollouts,
    seeds: Sequence[int],
    *,
    out: str | Path | None = None,
    config: TrainConfig | None = None,
    **settings: Any,
) -> list[Encoder]:
    """Train encoders of several seeds at once and return them frozen, in the order of the seeds.

    Each has the weights, batches and step count that it has alone. Where a loss draws noise, the draws are others, and
    where it does not, rounding differs. `provenance["seeds_at_once"]` holds the "seeds" that were trained together and
    the "gain": how many times as fast it was as one after the other; None if too few steps were taken to tell.

    Args:
        method: as in `pretrain`, but a feed-forward method that is trained by gradient steps on its objective.
        rollouts: the data.
        seeds: at least two different ones; that of `config` is not used.
        out: folder for the folders seed_<n>, each of which is that of a `pretrain`; an interrupted call resumes.
        config: the settings as one object; `settings` are its fields, given singly.

    Raises:
        ConfigError: the method or an option is wrong, or the method cannot be batched.
        DataError, TrainingError: as in `pretrain`.
    """
    if config is not None and settings:
        raise ConfigError("give either config or single settings, not both.")
    config = config or options(TrainConfig, settings)
    chosen = resolve(method)
    if len(set(seeds)) < len(seeds) or len(seeds) < 2:
        raise ConfigError(f"seeds at once must be two or more different ones, not {list(seeds)}.")
    _check(chosen, rollouts, config)
    configs = [replace(config, seed=seed) for seed in seeds]
    folders = [None if out is None else Path(out) / f"seed_{seed}" for seed in seeds]
    origins = [origin_of(chosen, rollouts, each) for each in configs]
    known = {
        place: finished(folder / "encoder", origins[place])
        for place, folder in enumerate(folders)
        if folder is not None and (folder / "encoder").exists()
    }
    missing = [place for place in range(len(seeds)) if place not in known]
    started = time.perf_counter()
    with cpu_threads(config.threads), torch.random.fork_rng():
        trainers: list[Trainer] = []
        for place in missing:
            # The first one's data, which may be large on a GPU, serve all.
            data = trainers[0].data if trainers else None
            trainers.append(make_trainer(chosen, rollouts, configs[place], folders[place], data))
        gain = train_together(trainers)
        share = (time.perf_counter() - started) / max(1, len(missing))
        for place, trainer in zip(missing, trainers, strict=True):
            about = origins[place] | {"seeds_at_once": {"seeds": [seeds[at] for at in missing], "gain": gain}}
            began = time.perf_counter() - share
            known[place] = freeze(
                trainer.network, trainer.objective.decoder, chosen, rollouts, about, began, folders[place]
            )
    return [known[place] for place in range(len(seeds))]


def _check(method: Method, rollouts: Rollouts, config: TrainConfig) -> None:
    state_dim = method.state_dim(config.latent_dim, rollouts.factors.shape[1])
    reason = ""
    if method.objective(state_dim) is None:
        reason = "nothing is trained by gradient steps"
    elif type(method).training_step is not Method.training_step:
        reason = "it has a training step of its own"
    elif method.memory(state_dim, rollouts.n_actions, 1):
        reason = "its encoder has a memory"
    elif config.frame_stack > 1:
        reason = "its encoder reads stacks of frames"
    elif not isinstance(method.optimizer([nn.Parameter(torch.zeros(1))], 1e-3), ELEMENTWISE):
        reason = "its optimiser is not one that treats every weight on its own"
    if reason:
        raise ConfigError(f"{method} cannot be trained several seeds at once: {reason}.")


def train_together(trainers: Sequence[Trainer]) -> float | None:
    """Train all to the last step, and return how many times as fast it was as one after the other, None if unknown."""
    if len(trainers) < 2:
        for trainer in trainers:
            trainer.run()
        return None
    for trainer in trainers:
        trainer.resume()
    # One that was stopped between two checkpoints of the same step is behind the others.
    start = max(trainer.step for trainer in trainers)
    for trainer in trainers:
        trainer.run(until=start)
    first = trainers[0]
    # Before the first validation, and only in a run that starts anew: resumed, it takes the same steps again.
    timed = 0 if start else min(TIMED, first.config.validate_every - 1, first.config.steps - 1)
    alone = [_timed(first, lambda: [trainer.advance() for trainer in trainers])[1] for _ in range(timed)]
    together, batched = Together(trainers), list[float]()
    with progress() as bar:
        name = f"pretrain {first.method}, {len(trainers)} seeds"
        task = bar.add_task(name, total=first.config.steps, completed=first.step, status="")
        since = (time.perf_counter(), first.step)
        sums: dict[str, Tensor] = {}
        while first.step < first.config.steps:
            if len(batched) < TIMED + 2:  # the first two warm up
                found, seconds = _timed(first, together.advance)
                batched.append(seconds)
            else:
                found = together.advance()
            sums = {label: sums.get(label, 0.0) + value for label, value in found.items()}
            if first.step % REPORT_EVERY == 0 or first.at_checkpoint:
                for place in range(len(trainers)):
                    check_finite({label: float(value[place]) for label, value in found.items()}, first.step)
                count = first.step - since[1]
                speed = count * first.batch_size * first.horizon / (time.perf_counter() - since[0])
                bar.update(task, completed=first.step, status=f"{len(trainers)} x {speed:,.0f} images/s")
            if first.at_checkpoint:
                together.hand_back()
                for place, trainer in enumerate(trainers):
                    means = {label: float(value[place]) / count for label, value in sums.items()}
                    trainer.validate(means, speed)
                sums, since = {}, (time.perf_counter(), first.step)
    for trainer in trainers:
        trainer.choose()
    return statistics.median(alone) / statistics.median(batched[2:]) if alone and batched[2:] else None


def _timed(trainer: Trainer, call: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a call returns, and how many seconds it takes on the device of a trainer."""
    started = time.perf_counter()
    answer = call()
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)
    return answer, time.perf_counter() - started


class Together:
    """Trainers of one method whose weights are stacked: a leading dimension of every tensor is that of the seeds."""

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.trainers, self.first = trainers, trainers[0]
        for trainer in trainers:
            trainer.network.train()
        self.stacked = [stack_module_state(list(modules)) for modules in self._modules()]
        self.method, self.data = self.first.method, self.first.data
        weights = [w for parameters, _ in self.stacked[:2] for w in parameters.values() if w.requires_grad]
        rate = self.first.config.learning_rate or self.method.learning_rate
        self.optimizer = self.method.optimizer(weights, rate)
        self._take_moments(weights)
        self.batched = vmap(self._losses, in_dims=(0, 0, 0, None), randomness="different")

    def _modules(self) -> list[list[nn.Module]]:
        """Return the networks, the objectives, and the target networks if there are any."""
        modules = [[trainer.network for trainer in self.trainers], [trainer.objective for trainer in self.trainers]]
        targets = [trainer.target for trainer in self.trainers if trainer.target is not None]
        return modules + ([targets] if targets else [])

    def _trained(self, trainer: Trainer) -> list[nn.Parameter]:
        return [p for module in (trainer.network, trainer.objective) for p in module.parameters() if p.requires_grad]

    def _take_moments(self, weights: list[Tensor]) -> None:
        """Stack the states of the trainers' optimisers."""
        each = [self._trained(trainer) for trainer in self.trainers]
        for weight, *own in zip(weights, *each, strict=True):
            states = [t.optimizer.state[p] for t, p in zip(self.trainers, own, strict=True)]
            for key, value in states[0].items():
                if key == "step":
                    self.optimizer.state[weight][key] = value.clone()
                else:
                    moments = torch.stack([state[key] for state in states])
                    self.optimizer.state[weight][key] = torch.empty_like(weight).copy_(moments)

    @torch.no_grad()
    def hand_back(self) -> None:
        """Give every trainer its weights and the state of its optimiser."""
        for modules, (parameters, buffers) in zip(self._modules(), self.stacked, strict=True):
            for place, module in enumerate(modules):
                for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
                    tensor.copy_((parameters | buffers)[name][place])
        weights = self.optimizer.param_groups[0]["params"]
        for place, trainer in enumerate(self.trainers):
            for weight, own in zip(weights, self._trained(trainer), strict=True):
                for key, value in self.optimizer.state[weight].items():
                    mine = value.clone() if key == "step" else torch.empty_like(own).copy_(value[place])
                    trainer.optimizer.state[own][key] = mine

    def advance(self) -> dict[str, Tensor]:
        """Take one step of all seeds and return the raw values of the terms, each (seeds,)."""
        step, first = self.first.step, self.first
        first.network.train()
        rows = torch.stack([torch.from_numpy(trainer.sample(step)) for trainer in self.trainers]).to(first.device)
        windows = rows[:, None] + torch.arange(first.horizon, device=first.device)[:, None]
        images = self.data.images(windows.flatten()).unflatten(0, (len(rows), -1))
        torch.manual_seed(derive_seed(first.config.seed, "noise", step))
        try:
            totals, values = self.batched([dict(p | b) for p, b in self.stacked], rows, images, first.progress)
        except RuntimeError as error:
            if "vmap" not in str(error) and "functorch" not in str(error):
                raise
            reason = str(error).splitlines()[0]
            raise ConfigError(f"{self.method} cannot be trained several seeds at once: {reason}") from error
        self.optimizer.zero_grad(set_to_none=True)
        totals.sum().backward()
        self._clip()
        self.optimizer.step()
        self._follow()
        for trainer in self.trainers:
            trainer.step += 1
        return {label: value.detach() for label, value in values.items()}

    def _losses(
        self, stacked: list[dict[str, Tensor]], rows: Tensor, images: Tensor, done: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total loss and the raw values of the terms of one seed."""
        first = self.first
        network, target = (_Functional(first.network, weights) for weights in (stacked[0], stacked[-1]))
        batch = Batch(
            self.data,
            rows,
            network,  # type: ignore[arg-type]
            horizon=first.horizon,
            precision=first.precision,
            target=target if len(stacked) > 2 else None,  # type: ignore[arg-type]
        )
        batch.__dict__["_images"] = images
        # Losses share whole modules, whose weights must be put in and taken out once, not by each of their names.
        return functional_call(first.objective, stacked[1], (batch, done), tie_weights=False)

    def _clip(self) -> None:
        """Clip the gradient of each seed, as the method does."""
        if self.method.clip is None:
            return
        gradients = [w.grad for w in self.optimizer.param_groups[0]["params"] if w.grad is not None]
        norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
        scale = (self.method.clip / (norms + 1e-6)).clamp(max=1)
        for gradient in gradients:
            gradient.mul_(scale.view(-1, *[1] * (gradient.ndim - 1)))

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the target networks towards the encoders."""
        if len(self.stacked) > 2:
            (encoder, _), _, (target, _) = self.stacked
            torch._foreach_lerp_(list(target.values()), list(encoder.values()), self.first.target_rate)


class _Functional:
    """A network whose weights are given: what a `Batch` needs of one."""

    memory, frame_stack = None, 1

    def __init__(self, network: nn.Module, weights: dict[str, Tensor]) -> None:
        self.network, self.weights = network, weights
        self.state_dim = network.state_dim

    def __call__(self, images: Tensor) -> Any:
        return functional_call(self.network, self.weights, (images,))
