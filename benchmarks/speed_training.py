"""Training speed: what the framework and the loader add to a hand-written step, and what the default decoder saves.

CPU time of one thread, medians of alternating steps. Run: python benchmarks/speed_training.py
"""

import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

import srl_bench as srl
from srl_bench.device import resolve_precision
from srl_bench.losses import causality, proportionality, repeatability, temporal_coherence
from srl_bench.method import resolve
from srl_bench.nets.encoder import EncoderNetwork, pixel_statistics
from srl_bench.nets.heads import PixelShuffleDecoder, mlp
from srl_bench.pretrain import make_trainer as trainer_for
from srl_bench.trainer import Trainer

BATCH, LATENT, ROUNDS, STEPS = 64, 32, 41, 600
CPU = torch.device("cpu")


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rollouts = srl.record(frames=4_000, seed=0, out=Path(folder) / "data", workers=1)
        precision = resolve_precision("auto", CPU)
        print(f"convolutions in {precision}; CPU ms per step, batch {BATCH}")
        print(f"{'method':16}{'bare':>8}{'ours':>8}{'ratio':>7}  target   {'+loader':>8}{'ratio':>7}  target")
        for name, bare, limit in (
            ("autoencoder", bare_autoencoder, 1.05),
            ("inverse", bare_inverse, 1.10),
            ("robotic_priors", bare_priors, 1.10),
        ):
            trainer = make_trainer(name, rollouts)
            rows = trainer.sample(0)
            resident = trainer._batch(rows, 0)._images.clone(memory_format=torch.preserve_format)
            reference = bare(trainer, resident, rows, precision)
            times = alternate(reference, lambda t=trainer, x=resident, r=rows: step_resident(t, x, r), step_of(trainer))
            without, loaded = times[1] / times[0], times[2] / times[0]
            print(
                f"{name:16}{times[0]:8.1f}{times[1]:8.1f}{without:7.3f}  <= 1.05  "
                f"{times[2]:8.1f}{loaded:7.3f}  <= {limit:.2f}"
            )
        trainer = make_trainer("autoencoder", rollouts)
        slow_step, slow_error = transposed_autoencoder(rollouts)
        step = step_of(trainer)
        ours, theirs = alternate(step, slow_step)
        rate, slow = 1000 * BATCH / ours, 1000 * BATCH / theirs
        print(f"default autoencoder {rate:,.0f} images/s, float32 with transposed convolutions {slow:,.0f} images/s")
        print(f"{rate / slow:.2f}x   target >= 2x")
        for _ in range(STEPS - ROUNDS):
            step()
            slow_step()
        error, other = held_out_error(trainer, rollouts), slow_error()
        print(
            f"error on held-out episodes after {STEPS} steps, as a share of the variance: {error:.3f} and {other:.3f}"
        )


def alternate(*functions) -> list[float]:
    """Return the median CPU ms of each function, called in turns."""
    times = [[] for _ in functions]
    for _ in range(ROUNDS):
        for index, function in enumerate(functions):
            started = time.process_time()
            function()
            times[index].append(1000 * (time.process_time() - started))
    return [statistics.median(series[3:]) for series in times]


def make_trainer(name: str, rollouts: srl.Rollouts) -> Trainer:
    return trainer_for(resolve(name), rollouts, srl.TrainConfig(latent_dim=LATENT, batch_size=BATCH, steps=1))


def step_of(trainer: Trainer):
    """One step as the training loop takes it, sampling and gathering included."""
    count = iter(range(10**9))

    def step() -> None:
        index = next(count)
        trainer.network.train()
        batch = trainer._batch(trainer.sample(index), index)
        trainer.method.training_step(trainer.objective, batch, trainer.optimizer, 0.5)

    return step


def step_resident(trainer: Trainer, images: torch.Tensor, rows) -> None:
    """One step on images that are already gathered."""
    batch = trainer._batch(rows, 0)
    batch.__dict__["_images"] = images
    trainer.method.training_step(trainer.objective, batch, trainer.optimizer, 0.5)


def bare(parameters, loss, precision):
    """A hand-written training step around a loss."""
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)

    def step() -> None:
        value = loss()
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()

    return step


def encoder_like(trainer: Trainer) -> EncoderNetwork:
    network = EncoderNetwork(**trainer.network.config).to(memory_format=torch.channels_last)
    network.load_state_dict(trainer.network.state_dict())
    return network


def bare_autoencoder(trainer, images, rows, precision):
    encoder = encoder_like(trainer)
    term = trainer.objective.losses[0]
    decoder = PixelShuffleDecoder(LATENT, term.decoder.mean, term.decoder.std).to(memory_format=torch.channels_last)

    def loss():
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            reconstruction = decoder(encoder(images)[0])
        return (reconstruction.float() - images).square().mean()

    return bare([*encoder.parameters(), *decoder.parameters()], loss, precision)


def bare_inverse(trainer, images, rows, precision):
    encoder, head = encoder_like(trainer), mlp([2 * LATENT, 128, 128, trainer.data.n_actions])
    action = trainer.data.fields["action"][torch.from_numpy(rows)]

    def loss():
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            states = encoder(images)[0]
        return functional.cross_entropy(head(torch.cat([states[:BATCH], states[BATCH:]], dim=1)), action)

    return bare([*encoder.parameters(), *head.parameters()], loss, precision)


def bare_priors(trainer, images, rows, precision):
    encoder = encoder_like(trainer)
    chosen = torch.from_numpy(rows)
    action, reward = trainer.data.fields["action"][chosen], trainer.data.fields["reward"][chosen]

    def loss():
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            states = encoder(images)[0]
        s, s2 = states[:BATCH], states[BATCH:]
        coherence, cause = temporal_coherence(s, s2), causality(s, action, reward)
        return coherence + cause + 5 * proportionality(s, s2, action) + 5 * repeatability(s, s2, action)

    return bare(list(encoder.parameters()), loss, precision)


def transposed_autoencoder(rollouts: srl.Rollouts):
    """The usual autoencoder: contiguous float32, a decoder of transposed convolutions, images converted anew.

    Returns a training step, and a function for the error on held-out episodes.
    """
    encoder = EncoderNetwork(rollouts.observations.shape[1:], LATENT)
    encoder.centre_on(rollouts.observations[:2000])
    mean, std = pixel_statistics(rollouts.observations[:2000])
    mean = torch.from_numpy(mean.copy())
    decoder = nn.Sequential(
        nn.Linear(LATENT, 2048),
        nn.ReLU(),
        nn.Unflatten(1, (128, 4, 4)),
        nn.ConvTranspose2d(128, 64, 4, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 32, 4, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(32, mean.shape[0], 4, 2, 1),
    )
    frames, training = torch.from_numpy(rollouts.observations), torch.from_numpy(rollouts.transitions("train"))

    def loss(rows=None):
        rows = training[torch.randint(len(training), (BATCH,))] if rows is None else rows
        images = frames[rows].permute(0, 3, 1, 2).float().contiguous() / 255
        return (mean + std * decoder(encoder(images)[0]) - images).square().mean() / std**2

    @torch.no_grad()
    def error() -> float:
        return float(loss(torch.from_numpy(rollouts.transitions("val"))))

    return bare([*encoder.parameters(), *decoder.parameters()], loss, torch.float32), error


@torch.no_grad()
def held_out_error(trainer: Trainer, rollouts: srl.Rollouts) -> float:
    trainer.network.eval()
    total, _ = trainer.objective(trainer._batch(rollouts.transitions("val"), 0))
    return float(total)


if __name__ == "__main__":
    main()
