"""The frozen decoder: what pretraining stores beside the encoder, and what it makes of states."""

import csv

import numpy as np
import pytest
import torch

import srl_bench as srl
from srl_bench.decoder import Decoder, load_decoder
from srl_bench.errors import DataError
from srl_bench.nets.heads import DECODERS, LinearDecoder

RECONSTRUCTING = (
    "autoencoder", "denoising_autoencoder", "vae", "beta_vae", "spatial_autoencoder", "forward", "e2c",
    "spatial_autoencoder(decoder='linear')", "splits", "dvbf(horizon=3)",
)  # fmt: skip
OTHERS = ("inverse", "pca", "random", "reward", "robotic_priors", "variability")
SHORT = {"latent_dim": 8, "steps": 2, "validate_every": 2, "batch_size": 8}


def linear():
    """Return a decoder by hand: grey pictures of 1 x 2, from dimensions 1 and 2 of a state of 3."""
    network = LinearDecoder(2, torch.tensor([[[0.5, 0.25]]]))
    network.project.weight.data = torch.tensor([[0.1, 0.0], [0.0, 0.2]])
    network.project.bias.data = torch.zeros(2)
    return Decoder(network, (1, 3), torch.tensor([9.0, 1.0, 0.0]), torch.tensor([9.0, 2.0, 1.0]))


def test_decoding_by_hand(tmp_path):
    """States (_, 0, 1) and (_, 1, -9) are raw (1, 1) and (3, -9): .5 + .1, .25 + .2; .5 + .3, below 0."""
    expected = np.array([[[[153], [115]]], [[[204], [0]]]], np.uint8)
    states = np.array([[7.0, 0.0, 1.0], [-7.0, 1.0, -9.0]])
    np.testing.assert_array_equal(linear().decode(states), expected)
    linear().save(tmp_path / "decoder")
    np.testing.assert_array_equal(load_decoder(tmp_path / "decoder").decode(states), expected)
    with pytest.raises(DataError, match=r"\(n, 3\)"):
        linear().decode(states[:, :2])


@pytest.mark.parametrize("kind", sorted(DECODERS))
def test_a_saved_decoder_gives_the_same_pictures(kind, tmp_path):
    torch.manual_seed(0)
    network = DECODERS[kind](4, torch.rand(3, 17, 22), 0.3)
    decoder = Decoder(network, (0, 4), torch.rand(4), 1 + torch.rand(4))
    decoder.save(tmp_path / "decoder")
    states = np.random.default_rng(0).normal(size=(300, 4))
    images = decoder.decode(states)
    assert images.shape == (300, 17, 22, 3) == (300, *decoder.image_shape)
    assert images.dtype == np.uint8
    np.testing.assert_allclose(load_decoder(tmp_path / "decoder").decode(states), images, atol=1)


@pytest.mark.parametrize("method", RECONSTRUCTING)
def test_methods_that_reconstruct_store_their_decoder(blobs, method, tmp_path):
    encoder = srl.pretrain(method, blobs, out=tmp_path, **SHORT)
    assert load_decoder(tmp_path / "decoder").state_dim == encoder.state_dim


@pytest.mark.parametrize("method", OTHERS)
def test_others_store_none(blobs, method, tmp_path):
    srl.pretrain(method, blobs, out=tmp_path, **SHORT)
    assert not (tmp_path / "decoder").exists()
    with pytest.raises(DataError, match="Only methods that reconstruct"):
        load_decoder(tmp_path / "decoder")


def test_the_kept_decoder_is_that_of_the_kept_encoder(blobs, tmp_path):
    """The best logged validation error is what encoder and decoder have; here the last one is 1.5 % worse."""
    settings = {"keep": "best", "steps": 80, "validate_every": 5, "batch_size": 16, "learning_rate": 3e-3}
    encoder = srl.pretrain("autoencoder", blobs, out=tmp_path, latent_dim=4, **settings)
    with (tmp_path / "train.csv").open() as stream:
        logged = [float(row["validation"]) for row in csv.DictReader(stream)]
    frames = blobs.observations[np.isin(blobs.split, 1) & ~(blobs.terminated | blobs.truncated)]
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    decoder = load_decoder(tmp_path / "decoder")
    raw = torch.from_numpy(encoder.encode(frames)) * encoder.std + encoder.mean
    error = (decoder.network(raw) - images).square().mean() / decoder.network.std**2
    assert error.item() == pytest.approx(min(logged), rel=0.003)


def test_the_rest_of_the_state_is_not_drawn(blobs, tmp_path):
    srl.pretrain("autoencoder[:3] + inverse[3:]", blobs, out=tmp_path, **SHORT)
    decoder = load_decoder(tmp_path / "decoder")
    states = np.random.default_rng(0).normal(size=(5, 8))
    drawn = decoder.decode(states)
    np.testing.assert_array_equal(decoder.decode(np.hstack([states[:, :3], np.zeros((5, 5))])), drawn)
    assert (decoder.decode(np.hstack([10 * states[:, :3], states[:, 3:]])) != drawn).any()


def test_a_folder_with_other_files_is_not_replaced(tmp_path):
    (tmp_path / "train.csv").write_text("")
    with pytest.raises(DataError, match=r"other files \(train.csv\)"):
        linear().save(tmp_path)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(missing, tmp_path):
    linear().save(tmp_path / "decoder")
    (tmp_path / "decoder" / missing).unlink()
    with pytest.raises(DataError, match=missing):
        load_decoder(tmp_path / "decoder")
