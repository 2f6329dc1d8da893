"""The training loop: determinism, resuming, logging, and refusals."""

import contextlib
import csv
import math
import random
import sys

import numpy as np
import pytest
import torch
import worlds
from safetensors import safe_open

import srl_bench as srl
from srl_bench.config import TrainConfig
from srl_bench.device import cpu_threads, resolve_device
from srl_bench.encoder import Encoder, observations_for
from srl_bench.errors import ConfigError, DataError, TrainingError, UnknownNameError
from srl_bench.losses.variational import KL
from srl_bench.method import Method
from srl_bench.objective import Loss
from srl_bench.pretrain import pretrain
from srl_bench.provenance import source_version
from srl_bench.resident import fits
from srl_bench.trainer import Trainer

FAST = {"latent_dim": 6, "steps": 12, "batch_size": 16, "body": "flatten", "validate_every": 5}


def train(method, rollouts, **options):
    return pretrain(method, rollouts, **{**FAST, **options})


def same(a, b):
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def table(folder):
    with (folder / "train.csv").open() as stream:
        return list(csv.DictReader(stream))


class ExampleLinear(Loss):
    """The first dimension of the state: its gradient is 1 / B in each row."""

    needs = ("obs",)

    def forward(self, batch):
        return batch.state[:, 0]


class ExampleConstant(Loss):
    """A number."""

    value: float = 1.0
    needs = ("obs",)

    def forward(self, batch):
        return self.value + 0 * batch.state.sum(1)


class ExampleBreaks(Loss):
    """Not a number from the given call on."""

    after: int = 0
    needs = ("obs",)
    calls = 0

    def forward(self, batch):
        if batch._network.training:
            type(self).calls += 1
        return batch.state.square().mean(1) * (math.nan if type(self).calls > self.after else 1.0)


class ExampleMissing(Loss):
    needs = ("obs",)

    def forward(self, batch):
        return batch.velocity.sum(1)


class ExampleNoNext(Loss):
    needs = ("obs",)

    def forward(self, batch):
        return (batch.next_state - batch.state).square().sum(1)


class ExampleNoGaussian(Loss):
    needs = ("obs",)

    def forward(self, batch):
        return batch.logvar.sum(1)


class ExampleNoise(Loss):
    """Noise from torch's global generator, as losses with dropout or negative samples draw it."""

    needs = ("obs",)

    def forward(self, batch):
        return (batch.state - torch.randn_like(batch.state)).square().mean(1)


class ExampleSpread(Loss):
    """The squared standardised distance of the state from its mean: 1 if the state is a sample, 0 if it is the mean."""

    needs = ("obs",)
    variational = True

    def forward(self, batch):
        return ((batch.state - batch.mean).square() / batch.logvar.exp()).mean(1)


# Determinism


@pytest.mark.parametrize("method", ["vae", "robotic_priors", "splits", "random"])
def test_the_seed_decides_the_weights(tiny, method):
    first, again, other = (train(method, tiny, seed=seed) for seed in (3, 3, 4))
    assert same(first, again)
    assert not torch.equal(first.network.head.weight, other.network.head.weight)


def test_the_callers_random_numbers_and_threads_are_left_alone(tiny):
    torch.manual_seed(1)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    torch.set_num_threads(2)
    try:
        train("vae", tiny, threads=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]  # noqa: NPY002


def test_the_callers_random_numbers_do_not_matter(tiny):
    encoders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        encoders.append(train("vae", tiny))
    assert same(*encoders)


def test_threads_are_restored_after_an_error():
    before = torch.get_num_threads()
    with contextlib.suppress(ValueError), cpu_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ValueError
    assert torch.get_num_threads() == before


def test_logging_and_checkpoints_do_not_change_the_weights(tiny, tmp_path):
    assert same(train("vae", tiny, keep="last"), train("vae", tiny, keep="last", out=tmp_path, validate_every=3))


def test_an_epoch_sees_every_transition_once(tiny, monkeypatch):
    """By counting: with 16 rows per step, each of the first len // 16 steps brings new rows."""
    seen = []
    original = Trainer.sample
    monkeypatch.setattr(Trainer, "sample", lambda self, step: seen.append(original(self, step)) or seen[-1])
    train("autoencoder", tiny, steps=2 * (len(tiny.transitions("train")) // 16))
    half = len(seen) // 2
    for epoch in (np.concatenate(seen[:half]), np.concatenate(seen[half:])):
        assert len(set(epoch.tolist())) == len(epoch)
        assert set(epoch) <= set(tiny.transitions("train"))
    assert not (seen[0] == seen[half]).all()


@pytest.mark.parametrize(
    "method", ["robotic_priors", "autoencoder + 0.5*robotic_priors", "temporal_coherence + causality"]
)
def test_reward_oversampling_fills_a_quarter_of_the_batch(tiny, monkeypatch, method):
    """The causality prior asks for 4 of 16 rows with another reward than the most frequent one, 0."""
    seen = []
    original = Trainer.sample
    monkeypatch.setattr(Trainer, "sample", lambda self, step: seen.append(original(self, step)) or seen[-1])
    train(method, tiny)
    assert all((tiny.rewards[rows[:4]] != 0).all() for rows in seen)
    assert all(set(rows) <= set(tiny.transitions("train")) for rows in seen)


# Resuming


def interrupt(monkeypatch, at):
    """Raise in the training step `at`."""
    original, count = Method.training_step, iter(range(10**6))

    def step(self, *args):
        if next(count) == at:
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr(Method, "training_step", step)
    return lambda: monkeypatch.setattr(Method, "training_step", original)


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize(
    "method", ["vae(beta=2.0)", "robotic_priors", "e2c", "inverse[:2] + 0.1*reconstruction", "example_noise"]
)
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(tiny, tmp_path, monkeypatch, method, keep):
    """Oracle: the uninterrupted run, bit for bit. Stops before the first checkpoint, at one, and between two."""
    options = {"steps": 23, "keep": keep}
    expected = train(method, tiny, out=tmp_path / "whole", **options)
    for at in (3, 5, 7, 2):
        restore = interrupt(monkeypatch, at)
        with pytest.raises(KeyboardInterrupt):
            train(method, tiny, out=tmp_path / "torn", **options)
        restore()
        assert not (tmp_path / "torn" / "encoder").exists()
    assert same(train(method, tiny, out=tmp_path / "torn", **options), expected)
    logs = [[{**row, "images_per_second": 0} for row in table(tmp_path / name)] for name in ("whole", "torn")]
    assert logs[0] == logs[1]
    assert not (tmp_path / "torn" / "checkpoint.safetensors").exists()


def test_an_interrupted_run_with_convolutions_goes_on_as_if_nothing_had_happened(blobs, tmp_path, monkeypatch):
    """Bit for bit; the optimiser's moments must follow the memory layout of the weights."""
    options = {"latent_dim": 3, "steps": 9, "batch_size": 8, "validate_every": 4}
    expected = pretrain("inverse", blobs, **options)
    restore = interrupt(monkeypatch, 6)
    with pytest.raises(KeyboardInterrupt):
        pretrain("inverse", blobs, out=tmp_path, **options)
    restore()
    assert same(pretrain("inverse", blobs, out=tmp_path, **options), expected)


def torn(tiny, folder, monkeypatch, method="inverse"):
    restore = interrupt(monkeypatch, 7)
    with pytest.raises(KeyboardInterrupt):
        train(method, tiny, out=folder)
    restore()
    return folder / "checkpoint.safetensors"


@pytest.mark.parametrize(
    ("method", "options"), [("forward", {}), ("inverse", {"seed": 1}), ("inverse", {"steps": 40}), ("kl", {})]
)
def test_a_checkpoint_of_another_run_is_refused(tiny, tmp_path, monkeypatch, method, options):
    torn(tiny, tmp_path, monkeypatch)
    with pytest.raises(DataError, match="another run"):
        train(method, tiny, out=tmp_path, **options)


def test_a_checkpoint_of_other_data_is_refused(tiny, tmp_path, monkeypatch):
    """The other data have as many rows."""
    torn(tiny, tmp_path / "run", monkeypatch)
    other = worlds.write(tmp_path / "data", worlds.simulate(12, 15, size=8, seed=9))
    with pytest.raises(DataError, match="another run"):
        train("inverse", other, out=tmp_path / "run")


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_checkpoint_is_refused(tiny, tmp_path, monkeypatch, damage):
    checkpoint = torn(tiny, tmp_path, monkeypatch)
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: len(content) // 2] if damage is None else damage)
    with pytest.raises(DataError, match=r"checkpoint\.safetensors is damaged"):
        train("inverse", tiny, out=tmp_path)


@pytest.mark.parametrize("fact", ["code_version", "source_version"])
def test_what_other_code_left_is_not_continued(tiny, tmp_path, monkeypatch, fact):
    """Neither a checkpoint nor a finished encoder; the plug-in is that of `ExampleNoise`, this file."""
    torn(tiny, tmp_path / "torn", monkeypatch, method="example_noise")
    train("example_noise", tiny, out=tmp_path / "finished")
    for module in (
        sys.modules["srl_bench.trainer"],
        sys.modules["srl_bench.provenance"],
        sys.modules["srl_bench.method"],
    ):
        monkeypatch.setattr(module, fact, lambda *_: "0" * 12, raising=False)
    with pytest.raises(DataError, match="other code"):
        train("example_noise", tiny, out=tmp_path / "torn")
    differs = {"code_version": "code_version", "source_version": "plugins"}[fact]
    with pytest.raises(DataError, match=rf"another encoder \(differs in {differs}\)"):
        train("example_noise", tiny, out=tmp_path / "finished")


def test_plug_ins_behind_an_encoder_are_part_of_its_provenance(tiny):
    """This file is that of `ExampleNoise`; built-in losses are covered by the version of our code."""
    versions = [train(method, tiny, steps=1).provenance["plugins"] for method in ("example_noise", "inverse", "pca")]
    assert versions == [source_version([__name__]), "", ""]
    assert len(versions[0]) == 12


# Finished runs


def test_a_finished_folder_is_reused(tiny, tmp_path, monkeypatch):
    first = train("inverse", tiny, out=tmp_path)
    monkeypatch.setattr(Trainer, "run", None)
    again = train("inverse", tiny, out=tmp_path)
    assert same(first, again)
    assert again.provenance["method"] == "inverse"


@pytest.mark.parametrize(
    ("method", "options", "differs"),
    [("forward", {}, "method"), ("inverse", {"seed": 1}, "train"), ("inverse(kind='mlp')", {}, "method")],
)
def test_a_finished_folder_of_another_run_is_refused(tiny, tmp_path, method, options, differs):
    train("inverse", tiny, out=tmp_path)
    with pytest.raises(DataError, match=f"another encoder.*{differs}"):
        train(method, tiny, out=tmp_path, **options)


def test_a_finished_folder_of_other_data_is_refused(tiny, tmp_path):
    train("inverse", tiny, out=tmp_path / "run")
    other = worlds.write(tmp_path / "data", worlds.simulate(12, 15, size=8, seed=9))
    with pytest.raises(DataError, match="data_hash"):
        train("inverse", other, out=tmp_path / "run")


def test_provenance_says_where_the_weights_come_from(tiny):
    origin = train("vae(beta=2.0)", tiny, seed=5).provenance
    assert origin["method"] == "vae(beta=2.0)"
    assert origin["objective"] == "reconstruction(likelihood='gaussian') + warmup(2.0, 0.2)*kl"
    assert origin["latex"].startswith(r"\mathcal{L}")
    assert (origin["train"]["seed"], origin["data_hash"]) == (5, tiny.data_hash)
    assert origin["training_episodes"] == tiny.info["split"]["train"]
    assert origin["training_hashes"] == [
        tiny.info["episode_hashes"][episode] for episode in origin["training_episodes"]
    ]
    assert origin["versions"]["torch"]
    assert len(origin["code_version"]) == 12


@pytest.mark.parametrize("method", ["inverse", "pca", "ground_truth"])
def test_states_of_the_training_rows_are_standardised(tiny, method):
    """All rows of training episodes have mean 0 and deviation 1; the others need not."""
    encoder = train(method, tiny, latent_dim=3)
    states = encoder.encode(observations_for(encoder, tiny))
    np.testing.assert_allclose(states[tiny.split == 0].mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(states[tiny.split == 0].std(0), 1, atol=1e-3)
    assert np.abs(states[tiny.split == 2].mean(0)).max() > 1e-2


# Log, best and last


def test_train_csv_has_a_row_per_validation_and_term(tiny, tmp_path):
    train("inverse + 2*reconstruction", tiny, out=tmp_path)
    rows = table(tmp_path)
    assert list(rows[0]) == [
        "step",
        "term",
        "train",
        "validation",
        "weight",
        "share",
        "gradient_norm",
        "images_per_second",
    ]
    assert [(row["step"], row["term"], row["weight"]) for row in rows] == [
        (step, term, weight)
        for step in ("5", "10", "12")
        for term, weight in (("inverse", "1.0"), ("reconstruction", "2.0"))
    ]
    assert all(float(row["images_per_second"]) > 0 for row in rows)


def test_share_and_gradient_norm_by_hand(tiny, tmp_path):
    """|3 * 2| and |-2 * 1| are shares .75 and .25 without a gradient; the mean of s_0 has the norm 1 / sqrt(B)."""
    objective = 3 * ExampleConstant(value=2.0) - 2 * ExampleConstant()
    train(objective, tiny, out=tmp_path / "a")
    for row, share, value in zip(table(tmp_path / "a"), [0.75, 0.25] * 3, [2.0, 1.0] * 3, strict=True):
        assert float(row["share"]) == pytest.approx(share)
        assert float(row["train"]) == float(row["validation"]) == pytest.approx(value)
        assert float(row["gradient_norm"]) == 0
    train(-4 * ExampleLinear()[2:], tiny, out=tmp_path / "b", steps=5, batch_size=16)
    (row,) = table(tmp_path / "b")
    rows = len(tiny.transitions("val"))
    size = len(np.array_split(np.arange(rows), rows // 16)[0])
    assert float(row["gradient_norm"]) == pytest.approx(4 / math.sqrt(size), rel=1e-5)
    assert float(row["share"]) == 1


def test_the_train_column_is_the_mean_since_the_last_validation(tiny, tmp_path, monkeypatch):
    """Oracle: the values that the training steps returned."""
    seen, original = [], Method.training_step

    def step(self, *args):
        total, values = original(self, *args)
        seen.append(float(values["inverse"]))
        return total, values

    monkeypatch.setattr(Method, "training_step", step)
    train("inverse", tiny, out=tmp_path)
    expected = [np.mean(seen[a:b]) for a, b in ((0, 5), (5, 10), (10, 12))]
    assert [float(row["train"]) for row in table(tmp_path)] == pytest.approx(expected, rel=1e-5)


def test_the_validation_column_is_the_loss_on_validation_episodes(tiny, tmp_path):
    """Oracle: the supervised error in numpy, with factors standardised on all training rows."""
    encoder = train("supervised", tiny, out=tmp_path, steps=5, keep="last")
    rows = tiny.transitions("val")
    raw = encoder.encode(tiny.observations[rows]) * encoder.std.numpy() + encoder.mean.numpy()
    known = tiny.factors[tiny.split == 0]
    target = (tiny.factors[rows] - known.mean(0)) / known.std(0)
    (row,) = table(tmp_path)
    assert float(row["validation"]) == pytest.approx(((raw - target) ** 2).mean(), rel=1e-3)


def test_validation_samples_as_training_does_and_always_the_same(tiny, tmp_path):
    """By arithmetic: 28 values or more in 6 dimensions have the mean 1 within 0.4; with the mean state it is 0."""
    train(ExampleSpread() + 0 * KL(), tiny, out=tmp_path)
    values = {float(row["validation"]) for row in table(tmp_path) if row["term"] == "example_spread"}
    assert len(values) == 1
    assert values.pop() == pytest.approx(1, abs=0.4)


def test_best_keeps_the_weights_with_the_lowest_validation_loss(tmp_path):
    """Random actions cannot be recovered, so the validation loss rises. Oracle: a run that ends at its minimum."""
    episodes = worlds.simulate(12, 15, size=8)
    for episode in episodes:
        episode["actions"] = np.random.default_rng(len(episode)).permutation(episode["actions"])
    data = worlds.write(tmp_path / "data", episodes)
    options = {"steps": 60, "learning_rate": 0.01}
    best = train("inverse", data, out=tmp_path / "best", keep="best", **options)
    last = train("inverse", data, out=tmp_path / "last", keep="last", **options)
    losses = {int(row["step"]): float(row["validation"]) for row in table(tmp_path / "best")}
    lowest = min(losses, key=losses.get)
    assert losses[60] > 1.2 * losses[lowest]
    until = train("inverse", data, keep="last", **{**options, "steps": lowest})
    assert same(best, until)
    assert not same(best, last)


# Refusals


def test_a_loss_that_is_not_finite_stops_training_and_keeps_the_checkpoint(tiny, tmp_path):
    ExampleBreaks.calls = 0
    with pytest.raises(TrainingError, match=r"not finite at step 10: example_breaks = nan.*checkpoint is kept"):
        train(ExampleBreaks(after=7) + ExampleConstant(), tiny, out=tmp_path)
    with safe_open(tmp_path / "checkpoint.safetensors", framework="pt") as stream:
        assert all(stream.get_tensor(name).isfinite().all() for name in stream.keys())  # noqa: SIM118
    assert {row["step"] for row in table(tmp_path)} == {"5"}
    assert not (tmp_path / "encoder").exists()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (ExampleMissing(), "'velocity'.*reward"),
        (ExampleNoNext(), "'next_obs' to the `needs`"),
        (ExampleNoGaussian(), "variational = True"),
    ],
    ids=["field", "next", "gaussian"],
)
def test_a_loss_that_reads_what_is_not_there(tiny, loss, message):
    with pytest.raises(DataError, match=message):
        train(loss, tiny)


@pytest.mark.parametrize("method", ["robotic_priors", "reward", "causality", "splits"])
def test_constant_rewards_are_refused_where_rewards_matter(tmp_path, method):
    episodes = worlds.simulate(5, 6, size=8)
    for episode in episodes:
        episode["rewards"][:] = 0
    with pytest.raises(DataError, match="rewards of the training episodes equal"):
        train(method, worlds.write(tmp_path / "data", episodes))


@pytest.mark.parametrize(("latent_dim", "accepted"), [(4, False), (5, True)])
def test_splits_need_a_dimension_for_each_part(tiny, latent_dim, accepted):
    if accepted:
        assert train("splits", tiny, latent_dim=latent_dim).state_dim == 5
    else:
        with pytest.raises(ConfigError, match="4 dimensions cannot be split"):
            train("splits", tiny, latent_dim=latent_dim)


def test_a_slice_beyond_the_state_is_refused(tiny):
    with pytest.raises(ConfigError, match="non-empty and inside"):
        train("inverse[4:9]", tiny)


def test_a_batch_may_be_larger_than_the_data(tmp_path):
    data = worlds.write(tmp_path / "data", worlds.simulate(3, 2, size=8))
    assert len(data.transitions("train")) < 16
    states = train("forward", data).encode(data.observations)
    assert np.isfinite(states).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"latnet_dim": 3}, ConfigError, "latnet_dim.*latent_dim"),
        ({"latent_dim": 0}, ConfigError, "latent_dim must be at least 1"),
        ({"steps": 0}, ConfigError, "steps"),
        ({"batch_size": -1}, ConfigError, "batch_size"),
        ({"threads": 0}, ConfigError, "threads"),
        ({"keep": "first"}, ConfigError, "best, last"),
        ({"precision": "float16"}, ConfigError, "bfloat16"),
        ({"device": "abacus"}, ConfigError, "'cpu', 'cuda' or 'auto'"),
        ({"device": "mps"}, ConfigError, "'cpu', 'cuda' or 'auto', not 'mps'"),
        ({"device": "cuda:x"}, ConfigError, "'cpu', 'cuda' or 'auto'"),
        ({"body": "natur"}, UnknownNameError, "Did you mean nature"),
        ({"body": "nature"}, ConfigError, "at least 48 pixels"),
        ({"learning_rate": 0.0}, ConfigError, "learning_rate"),
        ({"learning_rate": -1.0}, ConfigError, "learning_rate"),
        ({"config": TrainConfig()}, ConfigError, "not both"),
    ],
    ids=str,
)
def test_wrong_settings_name_what_is_accepted(tiny, options, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        train("inverse", tiny, **options)


def test_frames_that_would_fill_the_gpu_stay_on_disk(monkeypatch):
    """1000 bytes are free, of which a fifth is kept for the rest."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 5000))
    assert [fits(size, torch.device("cuda")) for size in (800, 801)] == [True, False]
    assert fits(10**15, torch.device("cpu"))


def test_training_frames_are_encoded_in_parts(tiny, monkeypatch):
    """Oracle: mean and deviation of all training rows at once."""
    whole = train("inverse", tiny, steps=2)
    monkeypatch.setattr(sys.modules["srl_bench.encoder"], "GATHERED", 7)
    calls, original = [], Encoder.encode
    monkeypatch.setattr(Encoder, "encode", lambda self, x: calls.append(len(x)) or original(self, x))
    parts = train("inverse", tiny, steps=2)
    rows = int((tiny.split == 0).sum())
    assert calls == [7] * (rows // 7) + [rows % 7] * (rows % 7 > 0)
    torch.testing.assert_close(parts.mean, whole.mean)
    torch.testing.assert_close(parts.std, whole.std)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU that is not there")
def test_a_missing_gpu_is_an_error_not_a_silent_cpu():
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match="no GPU"):
        resolve_device("cuda")


def test_a_term_that_collapses_alone_warns(tiny):
    with pytest.warns(UserWarning, match="constant state minimises"):
        train("temporal_coherence + 2*forward", tiny)


def test_the_public_name_is_the_function(tiny):
    assert srl.pretrain is pretrain
    assert callable(srl.record)


def test_tensorboard_holds_the_logged_values(tiny, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train("inverse", tiny, out=tmp_path, tensorboard=True)
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    logged = {event.step: event.value for event in board.Scalars("inverse/validation")}
    rows = {int(row["step"]): float(row["validation"]) for row in table(tmp_path)}
    assert logged == pytest.approx(rows, rel=1e-5)
