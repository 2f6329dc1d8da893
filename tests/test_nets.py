"""Network bodies: shapes, sizes, what they compute, and that they train."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from srl_bench.encoder import load_encoder
from srl_bench.errors import ConfigError
from srl_bench.nets.bodies import ImpalaBlock, ResNetBlock, expected_positions
from srl_bench.nets.encoder import EncoderNetwork
from srl_bench.pretrain import pretrain
from srl_bench.registry import BODIES

CONVOLUTIONAL = ["nature", "impala", "spatial_softmax", "resnet18"]


def make(name, shape, seed=0):
    torch.manual_seed(seed)
    return BODIES[name](shape)


@pytest.mark.parametrize("size", [48, 64, 84, 128, 224])
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_images_of_all_sizes_become_features(name, size):
    """Channels last in memory gives what channels first gives."""
    body, images = make(name, (size, size, 3)), torch.rand(2, 3, size, size)
    with torch.no_grad():
        features = body(images)
        last = body.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    assert features.shape == (2, body.width)
    assert torch.isfinite(features).all()
    torch.testing.assert_close(last, features, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_images_need_not_be_square_or_coloured(name):
    body = make(name, (56, 72, 1))
    assert body(torch.rand(2, 1, 56, 72)).shape == (2, body.width)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_convolutional_bodies_refuse_vectors_and_small_images(name):
    for shape in ((4,), (32, 64, 3)):
        with pytest.raises(ConfigError, match=f"'{name}' takes images"):
            BODIES[name](shape)


@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [
        # Convolutions 97,600 and a layer from 2,048 to 256.
        ("impala", (64, 64, 3), 97_600 + 2_048 * 256 + 256),
        ("spatial_softmax", (64, 64, 3), 75 * 32 + 32 + 288 * 32 + 32 + 288 * 16 + 1),
        # He et al.'s network as torchvision has it: 11,689,512, less its classifier of 513,000.
        ("resnet18", (64, 64, 3), 11_689_512 - 513_000),
        ("mlp", (7,), 7 * 256 + 256 + 256 * 256 + 256),
    ],
)
def test_the_number_of_parameters_is_the_stated_one(name, shape, count):
    assert sum(p.numel() for p in make(name, shape).parameters()) == count


@pytest.mark.parametrize(
    ("name", "shape"), [*((name, (64, 64, 3)) for name in CONVOLUTIONAL), ("mlp", (5,)), ("mlp", (8, 8, 3))]
)
def test_a_gradient_reaches_every_parameter(name, shape):
    torch.manual_seed(0)
    network = EncoderNetwork(shape, 6, name)
    observations = torch.randn(4, *shape)
    if len(shape) == 3:
        observations = observations.permute(0, 3, 1, 2)
    network(observations)[0].square().sum().backward()
    assert [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_a_frame_depends_on_no_other_frame(name):
    """Also in training mode: nothing is normalised over the batch."""
    body, images = make(name, (48, 48, 3)), torch.rand(3, 3, 48, 48)
    assert body.training
    torch.testing.assert_close(body(images)[:1], body(images[:1]), atol=1e-5, rtol=1e-5)


def test_expected_positions_by_hand():
    """Nine cells of weight 1 but one of weight 7 at the left of the last row: 6 / 15 from the centre each way."""
    maps = torch.zeros(1, 2, 3, 3)
    maps[0, 0, 2, 0] = math.log(7)
    torch.testing.assert_close(expected_positions(maps, 1.0), torch.tensor([[-0.4, 0.4, 0.0, 0.0]]))
    # At half the temperature the cell weighs 49, and lies 48 / 57 from the centre.
    torch.testing.assert_close(expected_positions(maps, 0.5)[0, :2], torch.tensor([-48 / 57, 48 / 57]))


def test_expected_positions_follow_a_peak():
    """Oracle: the place where the peak was put, in a map wider than high."""
    maps = torch.zeros(1, 1, 5, 9)
    maps[0, 0, 1, 6] = 50.0
    torch.testing.assert_close(expected_positions(maps, 1.0), torch.tensor([[0.5, -0.5]]))


def test_spatial_softmax_starts_at_temperature_one():
    body, images = make("spatial_softmax", (48, 48, 3)), torch.rand(2, 3, 48, 48)
    torch.testing.assert_close(body(images), expected_positions(body.maps(images), 1.0))


def test_residual_blocks_are_the_identity_without_residual():
    x = torch.rand(2, 32, 6, 6)
    impala, resnet = ImpalaBlock(32), ResNetBlock(32, 32)
    for last in (impala.second, resnet.residual[-1]):
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    torch.testing.assert_close(impala(x), x)
    torch.testing.assert_close(resnet(x), x)
    assert ResNetBlock(32, 64)(x).shape == (2, 64, 3, 3)


@pytest.mark.parametrize("name", CONVOLUTIONAL[1:])
def test_bodies_train_and_survive_the_disk_bit_by_bit(name, blobs, tmp_path):
    encoder = pretrain("autoencoder", blobs, out=tmp_path, body=name, latent_dim=4, steps=4, batch_size=8)
    states = encoder.encode(blobs.observations[:5])
    assert np.isfinite(states).all()
    np.testing.assert_array_equal(load_encoder(tmp_path / "encoder").encode(blobs.observations[:5]), states)


def test_mlp_trains_on_small_images_and_survives_the_disk_bit_by_bit(tiny, tmp_path):
    encoder = pretrain("autoencoder", tiny, out=tmp_path, body="mlp", latent_dim=4, steps=4, batch_size=8)
    states = encoder.encode(tiny.observations[:5])
    np.testing.assert_array_equal(load_encoder(tmp_path / "encoder").encode(tiny.observations[:5]), states)
