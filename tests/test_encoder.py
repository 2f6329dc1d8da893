"""The frozen encoder: what it stores, what it accepts, and that damaged files are refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import srl_bench as srl
from srl_bench.encoder import Encoder, load_encoder, observations_for
from srl_bench.errors import ConfigError, DataError, SrlBenchError, UnknownNameError
from srl_bench.nets.encoder import EncoderNetwork

PROVENANCE = {"method": "example", "training_episodes": [0, 2]}


def make(shape=(48, 48, 3), body="nature", variational=False, observation="pixels", seed=0):
    torch.manual_seed(seed)
    network = EncoderNetwork(shape, 5, body, variational)
    encoder = Encoder(network, observation, dict(PROVENANCE))
    encoder.standardise_on(np.random.default_rng(seed).normal(1, 2, (50, 5)).astype(np.float32))
    return encoder


def images(*leading, shape=(48, 48, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*leading, *shape), dtype=np.uint8)


@pytest.fixture
def saved(tmp_path):
    make().save(tmp_path / "encoder")
    return tmp_path / "encoder"


# Encoding


@pytest.mark.parametrize("variational", [False, True])
def test_encoding_is_the_standardised_mean_of_the_network(variational):
    """Oracle: the formula (network(x / 255) - mean) / std in plain torch."""
    encoder, batch = make(variational=variational), images(4)
    mean, logvar = encoder.network(torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255)
    expected = (mean - encoder.mean) / encoder.std
    states = encoder.encode(batch)
    np.testing.assert_allclose(states, expected, atol=1e-5)
    assert states.dtype == np.float32
    assert (logvar is None) != variational


def test_channels_first_is_the_same_picture():
    encoder, batch = make(), images(4)
    np.testing.assert_array_equal(encoder.encode(batch.transpose(0, 3, 1, 2)), encoder.encode(batch))


@pytest.mark.parametrize("leading", [(), (1,), (6,), (2, 3), (1, 3, 2), (0,), (2, 0)])
def test_leading_dimensions_are_kept(leading):
    encoder, batch = make(), images(*leading)
    states = encoder.encode(batch)
    assert states.shape == (*leading, 5)
    flat = encoder.encode(batch.reshape(-1, 48, 48, 3))
    np.testing.assert_array_equal(states.reshape(-1, 5), flat)
    np.testing.assert_array_equal(encoder.encode(np.moveaxis(batch, -1, -3)), states)


def test_long_inputs_are_encoded_in_chunks_without_a_seam():
    encoder, batch = make((8, 8, 3), "flatten"), images(1100, shape=(8, 8, 3))
    single = np.concatenate([encoder.encode(batch[i : i + 1]) for i in (0, 511, 512, 1023, 1024, 1099)])
    np.testing.assert_allclose(encoder.encode(batch)[[0, 511, 512, 1023, 1024, 1099]], single, atol=1e-4)


def test_vectors():
    """Oracle: numpy."""
    encoder = make((4,), "flatten", observation="state")
    vectors = np.random.default_rng(0).normal(size=(2, 3, 4))
    weight, bias = (p.numpy() for p in encoder.network.head.parameters())
    expected = (vectors @ weight.T + bias - encoder.mean.numpy()) / encoder.std.numpy()
    np.testing.assert_allclose(encoder.encode(vectors), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("observations", "message"),
    [
        (images(2, shape=(64, 64, 3)), r"shape \(48, 48, 3\), not \(64, 64, 3\).*image_size=48"),
        (images(2, shape=(48, 48, 4)), "48, 48, 4"),
        (images(2, shape=(48, 48)), "not"),
        (images(shape=(48, 48)), "not"),
        (images(shape=()), "not"),
        (images(2).astype(np.float32), "uint8 images, not float32"),
        (images(2).astype(np.int64), "uint8 images, not int64"),
        ([[1, 2], [3, 4]], "uint8"),
    ],
)
def test_wrong_observations_are_refused(observations, message):
    with pytest.raises(DataError, match=f"(?s){message}"):
        make().encode(observations)


def test_wrong_vectors_are_refused():
    with pytest.raises(DataError, match=r"\(4,\), not \(5,\)"):
        make((4,), "flatten", observation="state").encode(np.zeros((2, 5)))


def test_the_encoder_reads_what_it_was_trained_on(tiny):
    assert observations_for(make((8, 8, 3), "flatten"), tiny) is tiny.observations
    vectors = observations_for(make((4,), "flatten", observation="state"), tiny)
    np.testing.assert_allclose(vectors, tiny.factors, atol=1e-6)


# Frozen


def test_it_is_frozen():
    encoder = make()
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not encoder(torch.zeros(1, 3, 48, 48)).requires_grad
    for change in (encoder.train, lambda: torch.nn.Sequential(encoder).train()):
        change()
        assert not any(module.training for module in encoder.modules())


def test_encoding_changes_nothing_and_does_not_write_into_its_input():
    encoder, batch = make(), images(3)
    before, state = batch.copy(), {name: value.clone() for name, value in encoder.state_dict().items()}
    first = encoder.encode(batch)
    np.testing.assert_array_equal(encoder.encode(batch), first)
    np.testing.assert_array_equal(batch, before)
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())


def test_standardised_training_states_have_mean_zero_and_deviation_one():
    encoder, batch = make(), images(200)
    encoder.mean.zero_()
    encoder.std.fill_(1)
    encoder.standardise_on(encoder.encode(batch))
    states = encoder.encode(batch)
    np.testing.assert_allclose(states.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(states.std(0), 1, atol=1e-3)


def test_dimensions_that_do_not_vary_are_not_divided():
    """By hand: deviation 1 instead of 0 or 1e-8; the mean is removed all the same."""
    encoder, states = make(), np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32)
    states[:, 1], states[:, 3] = 7.0, 7.0 + 1e-8 * states[:, 3]
    encoder.standardise_on(states)
    assert encoder.std[[1, 3]].tolist() == [1.0, 1.0]
    assert encoder.mean[1].item() == 7.0
    np.testing.assert_allclose(encoder.std[[0, 2, 4]], states.std(0)[[0, 2, 4]], rtol=1e-5)


# Files


@pytest.mark.parametrize(
    ("shape", "body", "variational"),
    [
        ((48, 48, 3), "nature", False),
        ((64, 64, 3), "nature", True),
        ((56, 72, 1), "nature", False),
        ((4,), "flatten", False),
    ],
)
def test_save_load_encode_is_bit_equal(tmp_path, shape, body, variational):
    observation = "pixels" if len(shape) == 3 else "state"
    encoder = make(shape, body, variational, observation)
    encoder.save(tmp_path / "encoder")
    loaded = srl.load_encoder(tmp_path / "encoder")
    batch = images(3, shape=shape) if len(shape) == 3 else np.random.default_rng(0).normal(size=(3, *shape))
    np.testing.assert_array_equal(loaded.encode(batch), encoder.encode(batch))
    assert (loaded.state_dim, loaded.observation_shape, loaded.observation) == (5, shape, observation)
    assert loaded.provenance == PROVENANCE
    assert not any(p.requires_grad for p in loaded.parameters())
    assert sorted(p.name for p in (tmp_path / "encoder").iterdir()) == ["config.json", "model.safetensors"]


def test_saving_again_replaces(saved):
    other = make(seed=1)
    other.save(saved)
    np.testing.assert_array_equal(load_encoder(saved).encode(images(2)), other.encode(images(2)))
    assert [p.name for p in saved.parent.iterdir()] == ["encoder"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(DataError, match=name):
        load_encoder(saved)
    with pytest.raises(DataError, match=r"config\.json is missing"):
        load_encoder(saved / "nowhere")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"null", b'"x"', b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_of_nonsense_is_named(saved, name, content):
    (saved / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        load_encoder(saved)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["format"], 2),
        (["network", "state_dim"], 6),
        (["network", "state_dim"], 0),
        (["network", "state_dim"], -1),
        (["network", "state_dim"], 10**12),
        (["network", "state_dim"], 10**30),
        (["network", "state_dim"], "5"),
        (["network", "state_dim"], 5.5),
        (["network", "state_dim"], None),
        (["network", "observation_shape"], [64, 64]),
        (["network", "observation_shape"], [64, 64, 4]),
        (["network", "observation_shape"], [10**9, 10**9, 3]),
        (["network", "observation_shape"], [8, 8, 3]),
        (["network", "observation_shape"], ["48", 48, 3]),
        (["network", "observation_shape"], 3),
        (["network", "observation_shape"], []),
        (["network", "body"], "flatten"),
        (["network", "body"], 3),
        (["network", "body"], ["nature"]),
        (["network", "variational"], True),
        (["network", "extra"], 1),
        (["network"], None),
        (["observation"], "smell"),
        (["provenance"], "none"),
        (["provenance", "training_hashes"], 3),
        (["provenance", "training_hashes"], [3]),
        (["provenance", "training_hashes"], [["x"]]),
        (["provenance", "training_episodes"], [[0]]),
        (["provenance", "training_episodes"], None),
    ],
    ids=str,
)
def test_an_edited_config_is_refused(saved, path, value):
    config = json.loads((saved / "config.json").read_text())
    inner = config
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises((DataError, ConfigError)):
        load_encoder(saved)


def test_an_unknown_body_is_named(saved):
    config = json.loads((saved / "config.json").read_text())
    config["network"]["body"] = "resnet"
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnknownNameError, match=r"network body 'resnet'.*nature"):
        load_encoder(saved)


@pytest.mark.parametrize(
    "edit",
    [
        lambda w: w.pop("std"),
        lambda w: w.update(extra=torch.zeros(1)),
        lambda w: w.update({"std": torch.ones(6)}),
        lambda w: w.update({"std": torch.ones(5, dtype=torch.float64)}),
        lambda w: w.update({"network.head.weight": w["network.head.weight"].to(torch.int32)}),
        lambda w: w.update({"network.head.weight": w["network.head.weight"].T.contiguous()}),
    ],
    ids=["missing", "extra", "shape", "float64", "integer", "transposed"],
)
def test_weights_that_do_not_fit_are_refused(saved, edit):
    weights = load_file(saved / "model.safetensors")
    edit(weights)
    save_file(weights, saved / "model.safetensors")
    with pytest.raises(DataError, match="does not fit"):
        load_encoder(saved)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_damage_at_random_places_is_refused_or_harmless(saved, name, damage):
    """30 places, half of them in the first 2,000 bytes, where the structure is."""
    random, whole = np.random.default_rng(0), (saved / name).read_bytes()
    for trial in range(30):
        content = bytearray(whole)
        place = int(random.integers(min(2_000, len(whole)) if trial % 2 else len(whole)))
        if damage == "truncate":
            content = content[:place]
        else:
            content[place] ^= 1 << int(random.integers(8))
        (saved / name).unlink()
        (saved / name).write_bytes(content)
        try:
            encoder = load_encoder(saved)
        except SrlBenchError:
            continue
        assert damage == "flip"
        assert encoder.encode(images(1)).shape == (1, 5)


def test_loading_executes_no_code(saved, tmp_path):
    """A pickle in place of the weights is data that does not fit, and stays closed."""

    class Bomb:
        def __reduce__(self):
            return (shutil.os.mkdir, (str(tmp_path / "boom"),))

    torch.save({"x": Bomb()}, saved / "model.safetensors")
    with pytest.raises(DataError, match="damaged"):
        load_encoder(saved)
    assert not (tmp_path / "boom").exists()


def test_saving_never_deletes_other_files(tiny, tmp_path):
    encoder = srl.pretrain("random", tiny, latent_dim=4, body="flatten")
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match=r"thesis\.tex"):
        encoder.save(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    encoder.save(tmp_path / "encoder")
    encoder.save(tmp_path / "encoder")
    assert sorted(path.name for path in (tmp_path / "encoder").iterdir()) == ["config.json", "model.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder", "thesis.tex"]
