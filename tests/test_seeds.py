"""Several seeds at once. Oracle: the same seeds trained one after the other."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

import srl_bench as srl
from srl_bench import cli
from srl_bench.config import TrainConfig
from srl_bench.decoder import load_decoder
from srl_bench.errors import ConfigError, DataError
from srl_bench.grammar import parse
from srl_bench.method import Method, resolve
from srl_bench.pretrain import make_trainer
from srl_bench.seeds import Together, pretrain_seeds
from srl_bench.trainer import Trainer

SETTINGS = {
    "latent_dim": 4,
    "steps": 12,
    "validate_every": 6,
    "batch_size": 8,
    "precision": "float32",
    "body": "flatten",
}
SEEDS = (3, 5)


@dataclass(frozen=True)
class Clipped(Method):
    """A method whose gradients are always clipped."""

    name = "clipped"
    clip = 1e-4

    def objective(self, state_dim):
        return parse("inverse + reward", state_dim)


def states(encoders, rollouts):
    return np.stack([encoder.encode(rollouts.observations[:30]) for encoder in encoders])


@pytest.mark.parametrize(
    "method",
    ["autoencoder", "inverse", "forward", "robotic_priors", "splits", "reconstruction + forward(target='average')"],
)
def test_each_seed_becomes_what_it_becomes_alone(tiny, method):
    """Of methods that draw no noise; the batches of robotic priors are oversampled."""
    settings = SETTINGS | ({"latent_dim": 24} if method == "splits" else {})
    together = pretrain_seeds(method, tiny, SEEDS, **settings)
    alone = [srl.pretrain(method, tiny, seed=seed, **settings) for seed in SEEDS]
    np.testing.assert_allclose(states(together, tiny), states(alone, tiny), atol=2e-2)
    assert np.abs(states(together, tiny)[0] - states(together, tiny)[1]).max() > 0.1


def test_a_parameter_that_is_a_single_number_is_trained_too(blobs):
    """The temperature of a spatial softmax; the first steps are taken one seed after the other."""
    settings = SETTINGS | {"precision": "float32", "body": "nature"}
    together = pretrain_seeds("spatial_autoencoder", blobs, SEEDS, **settings)
    alone = [srl.pretrain("spatial_autoencoder", blobs, seed=seed, **settings) for seed in SEEDS]
    np.testing.assert_allclose(states(together, blobs), states(alone, blobs), atol=1e-3)
    for ours, theirs in zip(together, alone, strict=True):
        expected = theirs.network.body.log_temperature
        np.testing.assert_allclose(ours.network.body.log_temperature, expected, atol=1e-5)


@pytest.mark.parametrize("method", ["vae", "autoencoder"])
def test_moments_have_the_shapes_of_their_weights(tiny, method):
    """The deviation of pixels, which `vae` learns, is a single number."""
    config = TrainConfig(**SETTINGS)
    trainers = [make_trainer(resolve(method), tiny, replace(config, seed=seed)) for seed in SEEDS]
    for trainer in trainers:
        trainer.advance()
    together = Together(trainers)
    for weight, state in together.optimizer.state.items():
        assert state["exp_avg"].shape == state["exp_avg_sq"].shape == weight.shape
    together.advance()
    together.hand_back()
    for trainer in trainers:
        for weight, state in trainer.optimizer.state.items():
            assert state["exp_avg"].shape == weight.shape
            assert torch.isfinite(state["exp_avg"]).all()


def test_gradients_are_clipped_seed_by_seed(tiny):
    together = pretrain_seeds(Clipped(), tiny, SEEDS, **SETTINGS)
    alone = [srl.pretrain(Clipped(), tiny, seed=seed, **SETTINGS) for seed in SEEDS]
    np.testing.assert_allclose(states(together, tiny), states(alone, tiny), atol=2e-2)


@pytest.mark.parametrize("method", ["vae", "e2c", "denoising_autoencoder", "triplet"])
def test_seeds_with_noise_train_and_differ(tiny, method):
    first, second = states(pretrain_seeds(method, tiny, SEEDS, **SETTINGS), tiny)
    assert np.isfinite(first).all()
    assert np.abs(first - second).max() > 0.1


def test_what_is_written_is_what_one_seed_writes(tiny, tmp_path):
    encoders = pretrain_seeds("autoencoder", tiny, SEEDS, out=tmp_path, **SETTINGS)
    for seed, encoder in zip(SEEDS, encoders, strict=True):
        folder = tmp_path / f"seed_{seed}"
        assert sorted(path.name for path in folder.iterdir()) == ["decoder", "encoder", "train.csv"]
        loaded = srl.load_encoder(folder / "encoder")
        assert loaded.provenance["train"]["seed"] == seed
        assert loaded.provenance["seeds_at_once"]["seeds"] == list(SEEDS)
        assert loaded.provenance["seeds_at_once"]["gain"] > 0
        np.testing.assert_array_equal(states([loaded], tiny), states([encoder], tiny))
        assert load_decoder(folder / "decoder").state_dim == 4
    again = pretrain_seeds("autoencoder", tiny, SEEDS, out=tmp_path, **SETTINGS)
    np.testing.assert_array_equal(states(again, tiny), states(encoders, tiny))
    with pytest.raises(DataError, match="another encoder"):
        pretrain_seeds("inverse", tiny, SEEDS, out=tmp_path, **SETTINGS)


def test_seeds_that_are_there_are_kept_and_the_others_trained(tiny, tmp_path):
    alone = srl.pretrain("inverse", tiny, seed=3, out=tmp_path / "seed_3", **SETTINGS)
    first, *others = pretrain_seeds("inverse", tiny, (3, 5, 7), out=tmp_path, **SETTINGS)
    np.testing.assert_array_equal(states([first], tiny), states([alone], tiny))
    assert "seeds_at_once" not in first.provenance
    for encoder in others:
        assert encoder.provenance["seeds_at_once"]["seeds"] == [5, 7]
        assert encoder.provenance["seeds_at_once"]["gain"] > 0
    *_, last = pretrain_seeds("inverse", tiny, (3, 5, 7, 9), out=tmp_path, **SETTINGS)
    assert last.provenance["seeds_at_once"] == {"seeds": [9], "gain": None}
    np.testing.assert_array_equal(
        states([last], tiny), states([srl.pretrain("inverse", tiny, seed=9, **SETTINGS)], tiny)
    )


@pytest.mark.parametrize("lagging", [False, True])
def test_an_interrupted_training_resumes(tiny, tmp_path, monkeypatch, lagging):
    """Stopped before step 9 of 12, or between the checkpoints of two seeds, when the second has none yet."""
    whole = pretrain_seeds("inverse", tiny, SEEDS, **SETTINGS)
    original = Trainer.validate if lagging else Together.advance

    def stopped(self, *args):
        if lagging and self.config.seed == SEEDS[1] and self.step == 6:
            raise KeyboardInterrupt
        if not lagging and self.first.step == 9:
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr("srl_bench.seeds.TIMED", 2)
    with monkeypatch.context() as patch:
        patch.setattr(*(Trainer, "validate") if lagging else (Together, "advance"), stopped)
        with pytest.raises(KeyboardInterrupt):
            pretrain_seeds("inverse", tiny, SEEDS, out=tmp_path, **SETTINGS)
    with safe_open(tmp_path / "seed_3" / "checkpoint.safetensors", framework="pt") as stream:
        assert '"step": 6' in stream.metadata()["about"]
    assert (tmp_path / "seed_5" / "checkpoint.safetensors").exists() != lagging
    resumed = pretrain_seeds("inverse", tiny, SEEDS, out=tmp_path, **SETTINGS)
    np.testing.assert_allclose(states(resumed, tiny), states(whole, tiny), atol=2e-3)
    assert resumed[0].provenance["seeds_at_once"]["gain"] is None


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("pca", "nothing is trained"),
        ("pve", "memory"),
        ("episode_prior", "autograd.Function"),
    ],
)
def test_methods_that_cannot_be_batched_say_why(tiny, method, reason):
    with pytest.raises(ConfigError, match=f"several seeds at once: .*{reason}"):
        pretrain_seeds(method, tiny, SEEDS, **SETTINGS)


@dataclass(frozen=True)
class OwnStep(Clipped):
    def training_step(self, objective, batch, optimizer, progress):
        return super().training_step(objective, batch, optimizer, progress)


@dataclass(frozen=True)
class OwnOptimizer(Clipped):
    def optimizer(self, parameters, learning_rate):
        return torch.optim.LBFGS(parameters, lr=learning_rate)


@pytest.mark.parametrize(
    ("method", "options", "reason"),
    [
        (OwnStep(), {}, "training step of its own"),
        (OwnOptimizer(), {}, "every weight on its own"),
        ("inverse", {"frame_stack": 2}, "stacks of frames"),
    ],
)
def test_what_is_not_supported_is_refused(tiny, method, options, reason):
    with pytest.raises(ConfigError, match=reason):
        pretrain_seeds(method, tiny, SEEDS, **SETTINGS, **options)


@pytest.mark.parametrize("seeds", [(1,), (), (2, 2)])
def test_seeds_are_two_or_more_different_ones(tiny, seeds):
    with pytest.raises(ConfigError, match="two or more different"):
        pretrain_seeds("inverse", tiny, seeds, **SETTINGS)


def test_the_command_prints_the_gain(tiny, tmp_path, monkeypatch, capsys):
    options = {"method": "inverse", "seeds-at-once": 2, "seed": 7, "body": "flatten", "latent-dim": 4, "steps": 12}
    arguments = [str(item) for name, value in (options | {"out": tmp_path}).items() for item in (f"--{name}", value)]
    monkeypatch.setattr("sys.argv", ["srl-bench", "pretrain", str(tiny.path), *arguments])
    cli.main()
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if "encoder" in line] == [
        str(tmp_path / "seed_7" / "encoder"),
        str(tmp_path / "seed_8" / "encoder"),
    ]
    gain = srl.load_encoder(tmp_path / "seed_7" / "encoder").provenance["seeds_at_once"]["gain"]
    assert f"seeds 7, 8 at once: {gain:.2f} times as fast as one after the other" in printed
