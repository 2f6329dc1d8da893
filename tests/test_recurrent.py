"""Windows of frames, encoders with a memory, and target networks."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import worlds
from safetensors import safe_open
from stable_baselines3.common.vec_env import DummyVecEnv

import srl_bench as srl
from srl_bench.batch import Batch
from srl_bench.benchmark import check_names
from srl_bench.config import load_suite
from srl_bench.encoder import Encoder, encode_rows, load_encoder
from srl_bench.environments import make_environment
from srl_bench.errors import ConfigError, DataError, SrlBenchError
from srl_bench.grammar import parse
from srl_bench.method import resolve
from srl_bench.nets.encoder import EncoderNetwork
from srl_bench.nets.memory import VariationalFilter, Velocity
from srl_bench.pretrain import pretrain
from srl_bench.resident import ResidentData
from srl_bench.seeding import derive_seed
from srl_bench.trainer import Trainer
from srl_bench.vecenv import EncodedObservation

ENVIRONMENT = "srl_bench/MobileRobot-v0"
D = 4


def batch_of(rollouts, horizon):
    torch.manual_seed(0)
    rows = rollouts.transitions("train", horizon)[::7]
    network = EncoderNetwork(rollouts.observations.shape[1:], D, "flatten")
    return Batch(ResidentData(rollouts, torch.device("cpu")), torch.from_numpy(rows), network, horizon=horizon), rows


# Windows


def test_windows_do_not_cross_episodes(tiny):
    """Twelve episodes of 16 frames: a window of T frames begins at 17 - T rows of each."""
    for horizon in (1, 2, 5, 16, 17):
        rows = np.concatenate([tiny.transitions(split, horizon) for split in ("train", "val", "test")])
        assert len(rows) == 12 * (17 - horizon)
        assert (tiny.episode_ids[rows] == tiny.episode_ids[np.minimum(rows + horizon - 1, len(tiny) - 1)]).all()


def test_a_batch_of_windows_holds_the_recorded_frames(tiny):
    batch, rows = batch_of(tiny, 3)
    window = rows[:, None] + np.arange(3)
    frames = torch.from_numpy(tiny.observations[window]).permute(0, 1, 4, 2, 3) / 255
    torch.testing.assert_close(batch.observations, frames)
    torch.testing.assert_close(batch.obs, frames[:, 0])
    torch.testing.assert_close(batch.next_obs, frames[:, 1])
    assert batch.actions.argmax(-1).tolist() == tiny.actions[window[:, :2]].tolist()
    assert batch.rewards.tolist() == tiny.rewards[window[:, :2]].tolist()
    for t in range(3):
        torch.testing.assert_close(batch.states[:, t], batch.encode(frames[:, t]))
    torch.testing.assert_close(batch.states[:, 1], batch.next_state)


def test_a_slice_of_the_state_is_cut_from_windows_too(tiny):
    batch, _ = batch_of(tiny, 3)
    torch.testing.assert_close(batch.of_state(1, 3).states, batch.states[..., 1:3])


def test_continuous_actions_of_windows_are_vectors(tiny_continuous):
    batch, rows = batch_of(tiny_continuous, 4)
    np.testing.assert_allclose(batch.actions, tiny_continuous.actions[rows[:, None] + np.arange(3)])


def test_an_objective_reads_the_longest_window_of_its_terms():
    assert [parse(text).horizon for text in ("reconstruction", "inverse", "inverse + inertia")] == [1, 2, 3]
    assert parse("reconstruction + sequence_bound(horizon=6)").horizon == 6


def test_a_window_costs_as_many_frames_as_transitions_do(tiny, monkeypatch):
    """64 transitions are 128 frames: 16 windows of 8."""
    sizes, original = [], Batch.__init__

    def spy(self, data, rows, network, **options):
        sizes.append((len(rows), options["horizon"]))
        original(self, data, rows, network, **options)

    monkeypatch.setattr(Batch, "__init__", spy)
    for text in ("autoencoder", "inverse", "sequence_bound"):
        pretrain(text, tiny, steps=1, latent_dim=D, body="flatten", batch_size=64)
    assert (64, 1) in sizes
    assert (64, 2) in sizes
    assert (16, 8) in sizes


def test_episodes_that_are_too_short_are_refused(tiny):
    with pytest.raises(DataError, match="17 frames in a row"):
        pretrain("sequence_bound(horizon=17)", tiny, steps=1, latent_dim=D, body="flatten")


# Stacks of frames


def test_a_stack_has_the_newest_frame_first_and_repeats_that_of_the_start(tiny):
    """Row 17 begins the second episode."""
    frames = torch.from_numpy(tiny.observations).permute(0, 3, 1, 2) / 255
    stacks = ResidentData(tiny, torch.device("cpu")).stacked_images(torch.tensor([17, 18, 21]), 3)
    expected = [frames[[17, 17, 17]], frames[[18, 17, 17]], frames[[21, 20, 19]]]
    torch.testing.assert_close(stacks, torch.stack([stack.flatten(0, 1) for stack in expected]))


def test_a_batch_encodes_stacks_and_shows_single_frames(tiny):
    torch.manual_seed(0)
    network = EncoderNetwork((8, 8, 3), D, "flatten", frame_stack=2)
    rows, data = torch.tensor([17, 25]), ResidentData(tiny, torch.device("cpu"))
    batch = Batch(data, rows, network, horizon=2)
    assert batch.next_obs.shape == (2, 3, 8, 8)
    torch.testing.assert_close(batch.state, network(data.stacked_images(rows, 2))[0])
    torch.testing.assert_close(batch.next_state, network(data.stacked_images(rows + 1, 2))[0])
    torch.testing.assert_close(batch.encode_rows(rows + 1), batch.next_state)
    with pytest.raises(ConfigError, match="frame_stack=1"):
        batch.encode(batch.obs)


@pytest.mark.parametrize("method", ["pve", "dvbf", "pca", "perceptual_vae", "denoising_autoencoder"])
def test_what_cannot_stack_frames_says_so(blobs, method):
    with pytest.raises(ConfigError, match=f"{method} cannot be trained with frame_stack=2"):
        pretrain(method, blobs, steps=1, latent_dim=D, frame_stack=2)
    suite = replace(load_suite("quick"), methods=(method,))
    with pytest.raises(ConfigError, match="cannot be trained with frame_stack=2"):
        check_names(replace(suite, train=replace(suite.train, frame_stack=2)))


def test_references_of_factors_take_no_notice_of_stacks(tiny):
    encoder = pretrain("ground_truth", tiny, frame_stack=2)
    assert not encoder.is_recurrent
    np.testing.assert_allclose(encoder.encode(tiny.factors[:5].astype(np.float32)).shape, (5, 4))


def test_some_rows_of_stacks_are_encoded_without_the_others(tiny, monkeypatch):
    encoder = pretrain("random", tiny, frame_stack=3, latent_dim=D, body="flatten")
    whole = encoder.encode_episodes(tiny.observations, tiny.actions, tiny.episodes)
    rows = np.array([0, 17, 18, 40])
    monkeypatch.setattr(Encoder, "encode_episodes", None)
    np.testing.assert_allclose(encode_rows(encoder, tiny, rows), whole[rows], atol=1e-6)


@pytest.mark.parametrize("frame_stack", [0, -1, 17, 2**70])
def test_a_stack_has_a_few_frames(frame_stack):
    with pytest.raises(ConfigError, match="frame_stack must be 1 to 16"):
        EncoderNetwork((48, 48, 3), D, frame_stack=frame_stack)


def test_velocities_are_read_from_two_frames_and_not_from_one(tmp_path):
    """Measured over two seeds: R2 of the angular velocity .99 from two frames, below 0 from one."""
    data = srl.record("srl_bench/PendulumPixels-v0", frames=2_000, seed=0, out=tmp_path / "data", workers=1)
    place = [factor.name for factor in data.factor_table].index("angular_velocity")
    found = []
    for frame_stack in (1, 2):
        encoder = pretrain("supervised", data, steps=150, latent_dim=8, frame_stack=frame_stack)
        states = encode_rows(encoder, data, np.arange(len(data)))
        found.append(worlds.ridge_r2(states, data.factors, data.split)[place])
    assert found[0] < 0.3
    assert found[1] > 0.9


# Memories


def test_velocity_is_the_scaled_difference_and_zero_at_the_start():
    """By hand: positions 1, 3, 3 with a scale of 10."""
    memory, held = Velocity(1), torch.zeros(1, 2)
    states = []
    for position in (1.0, 3.0, 3.0):
        held, state = memory(held, torch.tensor([[position]]), torch.zeros(1, 2))
        states.append(state[0].tolist())
    assert states == [[1, 0], [3, 20], [3, 0]]


def test_the_filter_composes_its_transition_of_weighted_matrices():
    """Oracle: a loop over samples and matrices."""
    torch.manual_seed(0)
    memory = VariationalFilter(3, 2, matrices=4)
    state, action, noise = torch.randn(5, 3), torch.randn(5, 2), torch.randn(5, 3)
    shares = memory.mixing(torch.cat([state, action], 1)).softmax(1)
    expected = [
        sum(
            shares[b, k] * (memory.a[k] @ state[b] + memory.b[k] @ action[b] + memory.c[k] @ noise[b]) for k in range(4)
        )
        for b in range(5)
    ]
    torch.testing.assert_close(memory.transition(state, action, noise), torch.stack(expected))


@pytest.fixture(scope="module", params=[("pve", 1), ("dvbf", 1), ("e2c", 2), ("inverse", 3)])
def recurrent(request, mobile):
    method, frame_stack = request.param
    return pretrain(method, mobile, steps=3, latent_dim=8, seed=0, frame_stack=frame_stack)


def test_step_by_step_equals_whole_episodes(recurrent, mobile):
    whole = encode_rows(recurrent, mobile, np.arange(len(mobile)))
    assert recurrent.is_recurrent
    assert whole.shape == (len(mobile), recurrent.state_dim)
    first, last = mobile.episodes[2:4]
    held = recurrent.initial_state(1)
    for row in range(first, last):
        action = mobile.actions[row - 1 : row]  # of another episode at the first step, where it must not matter
        held, state = recurrent.step(held, mobile.observations[row : row + 1], action)
        np.testing.assert_allclose(state[0], whole[row], atol=1e-5)
    rows = np.arange(first + 5, last)
    _, forgetful = recurrent.step(recurrent.initial_state(len(rows)), mobile.observations[rows], mobile.actions[rows])
    assert not np.allclose(whole[rows], forgetful, atol=1e-3)


def test_a_vector_of_environments_keeps_a_memory_of_each(recurrent):
    """Episodes of 4, 6 and 9 steps end in the middle of the vector; every one is as if it were alone."""
    lengths, actions = (4, 6, 9), np.random.default_rng(0).integers(4, size=(14, 3))

    def make(index):
        env = make_environment(ENVIRONMENT, {"image_size": 48, "max_steps": lengths[index]})
        env.reset(seed=index)
        return env

    venv = srl.encode(DummyVecEnv([lambda i=i: make(i) for i in range(3)]), recurrent)
    venv.seed(3)
    seen = [[state] for state in venv.reset()]
    final = []
    for row in actions:
        states, _, dones, infos = venv.step(row)
        final += [infos[i]["terminal_observation"] for i in np.flatnonzero(dones)]
        for index, state in enumerate(states):
            seen[index].append(state)
    alone_final = {}
    for index in range(3):
        env = EncodedObservation(make(index), recurrent)
        alone = [env.reset(seed=3 + index)[0]]
        for t, row in enumerate(actions):
            state, _, terminated, truncated, _ = env.step(row[index])
            if terminated or truncated:
                alone_final[t, index] = state
                state, _ = env.reset()
            alone.append(state)
        np.testing.assert_allclose(np.stack(seen[index]), np.stack(alone), atol=1e-5)
    assert len(final) == len(alone_final) == 3 + 2 + 1
    np.testing.assert_allclose(np.stack(final), np.stack([alone_final[key] for key in sorted(alone_final)]), atol=1e-5)


def test_a_memory_survives_the_disk(recurrent, mobile, tmp_path):
    recurrent.save(tmp_path / "encoder")
    rows = np.arange(0, 300, 7)
    np.testing.assert_array_equal(
        encode_rows(load_encoder(tmp_path / "encoder"), mobile, rows), encode_rows(recurrent, mobile, rows)
    )


def test_states_are_standardised_over_whole_training_episodes(recurrent, mobile):
    states = encode_rows(recurrent, mobile, np.flatnonzero(mobile.split == 0))
    np.testing.assert_allclose(states.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(states.std(0), 1, atol=1e-2)


def test_frames_without_history_are_refused(recurrent, mobile):
    with pytest.raises(DataError, match="depend on earlier frames"):
        recurrent.encode(mobile.observations[:2])


def test_a_stored_memory_of_an_unknown_name_or_size_is_refused(recurrent, tmp_path):
    recurrent.save(tmp_path / "encoder")
    config = json.loads((tmp_path / "encoder" / "config.json").read_text())
    for memory, message in (({"name": "elephant"}, "elephant"), ({"name": "velocity", "scales": 1}, "damaged")):
        config["network"] |= {"memory": memory, "frame_stack": 1}
        (tmp_path / "encoder" / "config.json").write_text(json.dumps(config))
        with pytest.raises(SrlBenchError, match=message):
            load_encoder(tmp_path / "encoder")


def test_an_encoder_without_memory_takes_steps_of_single_frames(mobile):
    encoder = pretrain("random", mobile, latent_dim=5)
    held, states = encoder.step(encoder.initial_state(3), mobile.observations[:3], mobile.actions[:3])
    assert held.shape == (3, 0)
    np.testing.assert_array_equal(states, encoder.encode(mobile.observations[:3]))


def test_a_network_has_one_memory(tiny):
    text = "sequence_bound + sequence_bound(matrices=4)"
    with pytest.raises(ConfigError, match="different memories"):
        pretrain(text, tiny, steps=1, latent_dim=D, body="flatten")
    with pytest.raises(ConfigError, match="whole state"):
        pretrain("sequence_bound[:2]", tiny, steps=1, latent_dim=D, body="flatten")


# Target networks


def test_a_target_network_follows_by_a_hundredth_and_is_resumed(tiny, tmp_path, monkeypatch):
    """After one step it is 0.99 of what it was and 0.01 of the encoder; stopped and resumed it ends the same."""
    text = "reconstruction + forward(target='average')"
    options = {"steps": 4, "latent_dim": D, "body": "flatten", "batch_size": 8, "validate_every": 1, "keep": "last"}
    whole = pretrain(text, tiny, **options)
    original = Trainer.validate

    def stopped(self, *args):
        original(self, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "validate", stopped)
        with pytest.raises(KeyboardInterrupt):
            pretrain(text, tiny, out=tmp_path, **options)
    with safe_open(tmp_path / "checkpoint.safetensors", framework="pt") as stream:
        online, target = (stream.get_tensor(f"{name}.head.weight") for name in ("network", "target"))
    torch.manual_seed(derive_seed(0, "network"))
    initial = EncoderNetwork((8, 8, 3), D, "flatten").head.weight.detach()
    torch.testing.assert_close(target, 0.99 * initial + 0.01 * online, atol=1e-7, rtol=0)
    assert not torch.equal(target, initial)
    resumed = pretrain(text, tiny, out=tmp_path, **options)
    np.testing.assert_array_equal(*(encode_rows(encoder, tiny, np.arange(50)) for encoder in (whole, resumed)))


def test_the_target_has_no_gradient(tiny):
    batch, _ = batch_of(tiny, 2)
    with pytest.raises(DataError, match="target_rate"):
        _ = batch.target_next_state
    batch._target = EncoderNetwork((8, 8, 3), D, "flatten")
    assert not batch.target_next_state.requires_grad
    torch.testing.assert_close(batch.target_next_state, Encoder(batch._target, "pixels", {}).network(batch.next_obs)[0])


# Detached slices


def test_a_detached_slice_reads_all_and_moves_its_own(tiny):
    batch, _ = batch_of(tiny, 2)
    part = batch.of_state(1, 3, detach=True)
    torch.testing.assert_close(part.state, batch.state)
    (gradient,) = torch.autograd.grad(part.state.square().sum(), batch.encoded[0])
    assert gradient[: len(batch), 1:3].abs().min() > 0
    assert not gradient[:, [0, 3]].any()


def test_masks_of_splits_are_three_objectives():
    whole = "reconstruction + reward + 2.0*inverse"
    zero = "reconstruction[:4] + reward[4:6] + 2.0*inverse[6:]"
    assert str(resolve("splits(mask='none')").objective(8)) == whole
    assert str(resolve("splits").objective(8)) == zero
    detached = resolve("splits(mask='detach')").objective(8)
    assert str(detached) == "reconstruction[:4, 'detach'] + reward[4:6, 'detach'] + 2.0*inverse[6:, 'detach']"
    assert parse(str(detached)) == detached
    with pytest.raises(ConfigError, match="mask"):
        resolve("splits(mask='half')")
