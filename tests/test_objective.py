"""The algebra of losses: weights, slices, order, sharing, names and printed forms."""

import math

import numpy as np
import pytest
import torch

from srl_bench.batch import Batch
from srl_bench.built import BuiltObjective
from srl_bench.errors import ConfigError, DataError
from srl_bench.grammar import parse
from srl_bench.losses.autoencoding import Reconstruction
from srl_bench.losses.dynamics import Forward, Inverse
from srl_bench.losses.rewards import Reward
from srl_bench.losses.slowness import TemporalCoherence, Variability
from srl_bench.losses.variational import KL
from srl_bench.method import Composed, as_objective, describe, resolve
from srl_bench.nets.encoder import EncoderNetwork
from srl_bench.objective import Loss, Objective, Spec, Term, Warmup, snake_case
from srl_bench.resident import ResidentData

D = 6


class ExampleMean(Loss):
    """Half the squared state, with a heading of its own."""

    scale: float = 1.0
    symbol = r"\tfrac12 s^2"

    def forward(self, batch):
        return self.scale * 0.5 * batch.state.square().sum(-1)


class ExampleVector(Loss):
    """The state times a vector: a gradient that is known in closed form."""

    needs = ("obs",)

    def forward(self, batch):
        return batch.state @ torch.arange(1.0, 1.0 + batch.state.shape[1])


@pytest.fixture
def make_batch(tiny):
    def make(variational=False):
        torch.manual_seed(0)
        network = EncoderNetwork((8, 8, 3), D, "flatten", variational)
        network.centre_on(tiny.observations[:])
        rows = torch.from_numpy(tiny.transitions("train")[::4])
        return Batch(ResidentData(tiny, torch.device("cpu")), rows, network, horizon=2)

    return make


def build(objective, seed=0):
    torch.manual_seed(seed)
    objective = parse(objective, D) if isinstance(objective, str) else objective
    return BuiltObjective(
        objective,
        Spec(
            state_dim=D,
            pixel_mean=torch.full((3, 8, 8), 0.3),
            pixel_std=0.2,
            n_actions=4,
            action_dim=4,
            reward_values=(-1.0, 0.0, 1.0),
        ),
    )


def state_gradient(built, batch, value=None):
    """Return the gradient of a value, by default the total, on the encoder's output (2B, d)."""
    total = built(batch)[0] if value is None else value
    return torch.autograd.grad(total, batch.encoded[0], retain_graph=True)[0]


# Weights


def test_the_total_is_the_weighted_sum_of_the_values(make_batch):
    total, values = build("2*inverse - 0.5*forward + temporal_coherence")(make_batch())
    expected = 2 * values["inverse"] - 0.5 * values["forward"] + values["temporal_coherence"]
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("changed", ["inverse", "forward", "temporal_coherence"])
def test_a_weight_scales_exactly_its_own_term(make_batch, changed):
    """Five times the weight adds four times the term, to the value and to the gradient."""
    weights = {"inverse": 1.0, "forward": 1.0, "temporal_coherence": 1.0}
    text = " + ".join(f"{weight}*{name}" for name, weight in weights.items())
    batch, before, after = make_batch(), build(text), build(text.replace(f"1.0*{changed}", f"5.0*{changed}"))
    (total, values), (other, raw) = before(batch), after(batch)
    assert {name: value.item() for name, value in raw.items()} == {name: v.item() for name, v in values.items()}
    assert (other - total).item() == pytest.approx(4 * values[changed].item(), rel=1e-5)
    added = state_gradient(after, batch) - state_gradient(before, batch)
    torch.testing.assert_close(added, 4 * state_gradient(before, batch, values[changed]), atol=1e-7, rtol=1e-5)


def test_a_weight_of_zero_is_the_same_as_dropping_the_term(make_batch):
    batch = make_batch()
    kept, dropped = build("reconstruction + 2*inverse + 0*forward"), build("reconstruction + 2*inverse")
    assert torch.equal(state_gradient(kept, batch), state_gradient(dropped, batch))
    for built in (kept, dropped):
        built(batch)[0].backward(retain_graph=True)
    gradients = {name: p.grad for name, p in kept.named_parameters()}
    for name, parameter in dropped.named_parameters():
        assert torch.equal(gradients[name], parameter.grad), name
    assert all(not g.any() for name, g in gradients.items() if name.startswith("losses.2."))


def test_gradient_norms_are_of_the_weighted_terms(make_batch):
    """By hand: the gradient of the mean of s . (1..6) is (1..6) / B on each of B rows."""
    batch = make_batch()
    built = build(-3 * ExampleVector() + Warmup(2.0, 0.5) * ExampleVector()[:2])
    _, values = built(batch)
    norms = built.gradient_norms(values, batch.encoded[0], progress=0.25)
    assert norms["example_vector_1"] == pytest.approx(3 * math.sqrt(91 / len(batch)), rel=1e-5)
    assert norms["example_vector_2"] == pytest.approx(1 * math.sqrt(5 / len(batch)), rel=1e-5)


@pytest.mark.parametrize(("progress", "weight"), [(0.0, 0.0), (0.1, 2.0), (0.2, 4.0), (0.7, 4.0), (1.0, 4.0)])
def test_a_warmup_rises_linearly(make_batch, progress, weight):
    """By hand: 4 after a fifth of training."""
    built, batch = build("warmup(4, 0.2)*temporal_coherence"), make_batch()
    assert Warmup(4.0, 0.2).at(progress) == pytest.approx(weight)
    assert built.weights(progress) == {"temporal_coherence": pytest.approx(weight)}
    total, values = built(batch, progress)
    assert total.item() == pytest.approx(weight * values["temporal_coherence"].item())


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1, float("nan")])
def test_a_warmup_takes_a_share_of_training(fraction):
    with pytest.raises(ConfigError, match=r"\(0, 1\]"):
        Warmup(1.0, fraction)


@pytest.mark.parametrize("weight", [float("inf"), float("nan")])
def test_weights_are_finite(weight):
    with pytest.raises(ConfigError, match="finite"):
        weight * Inverse()


# Slices


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_term_has_no_gradient_outside_its_slice(make_batch, order):
    """A21: d(loss)/d(foreign dimensions) is exactly zero, and not zero on its own ones."""
    batch = make_batch()
    terms = [Reconstruction()[:2], Reward()[2:4], 2 * Inverse()[4:]]
    built = build(sum((terms[i] for i in order[1:]), terms[order[0]]))
    _, values = built(batch)
    for name, own in {"reconstruction": slice(0, 2), "reward": slice(2, 4), "inverse": slice(4, 6)}.items():
        gradient = state_gradient(built, batch, values[name])
        assert (gradient[:, own].abs().sum(0) > 0).all()
        gradient[:, own] = 0
        assert not gradient.any()


def test_a_sliced_term_reads_its_dimensions(make_batch):
    """By hand: the mean of s_2 + 2 s_3 over the batch."""
    batch = make_batch()
    _, values = build(ExampleVector()[2:4] + ExampleMean()[-1:])(batch)
    state = batch.state
    torch.testing.assert_close(values["example_vector"], (state[:, 2] + 2 * state[:, 3]).mean())
    torch.testing.assert_close(values["example_mean"], state[:, 5].square().mean() / 2)


def test_a_slice_leaves_everything_but_the_state_whole(make_batch):
    batch = make_batch(variational=True)
    part = batch.of_state(1, 3)
    for name in ("state", "next_state", "mean", "next_mean", "logvar", "next_logvar"):
        assert torch.equal(getattr(part, name), getattr(batch, name)[:, 1:3])
    for name in ("obs", "next_obs", "action", "action_vector", "reward", "factors", "episode"):
        assert torch.equal(getattr(part, name), getattr(batch, name))
    assert len(part) == len(batch)


def test_the_order_of_terms_changes_nothing(make_batch):
    """The same heads in another order give the same values, total and gradient."""
    batch = make_batch()
    first = build("reconstruction[:2] + 2*inverse[4:] + reward[2:4]")
    second = build("2*inverse[4:] + reward[2:4] + reconstruction[:2]", seed=1)
    for term in second.terms:
        twin = next(other for other in first.terms if other.loss.name == term.loss.name)
        term.loss.load_state_dict(twin.loss.state_dict())
    (total, values), (other, reordered) = first(batch), second(batch)
    assert {name: v.item() for name, v in values.items()} == {name: v.item() for name, v in reordered.items()}
    assert other.item() == pytest.approx(total.item(), rel=1e-6)
    torch.testing.assert_close(state_gradient(second, batch), state_gradient(first, batch), atol=1e-8, rtol=1e-5)


@pytest.mark.parametrize("text", ["inverse[:7]", "inverse[3:3]", "inverse[6:]", "inverse[4:2]", "inverse[:-6]"])
def test_a_slice_must_be_inside_the_state_and_not_empty(text):
    with pytest.raises(ConfigError, match="non-empty and inside"):
        build(text)


def test_a_slice_may_count_from_the_end():
    assert build("inverse[-2:] + forward[:-2]").bounds == [(4, 6), (0, 4)]


@pytest.mark.parametrize("index", [3, slice(0, 4, 2), (slice(0, 2), slice(3, 4)), "a"])
def test_only_plain_slices(index):
    with pytest.raises(ConfigError, match=r"such as \[:12\]"):
        Inverse()[index]


def test_slices_do_not_nest():
    with pytest.raises(ConfigError, match="cannot be nested"):
        (Inverse()[:4] + Forward())[1:]


# Sharing


def test_e2c_shares_decoder_deviation_and_transition():
    built = build("e2c")
    here, there, _, transition = built.losses
    assert here.decoder is there.decoder
    assert here.deviation is there.deviation
    assert there.model is transition.model
    ids = [id(p) for p in built.parameters()]
    assert len(ids) == len(set(ids))


def test_losses_on_different_slices_share_nothing():
    built = build("reconstruction[:3] + next_reconstruction[3:]")
    assert built.losses[0].decoder is not built.losses[1].decoder
    assert built.losses[0].decoder.project.in_features == 3


def test_the_step_of_one_term_moves_the_shared_decoder(make_batch):
    built, batch = build("e2c"), make_batch(variational=True)
    _, values = built(batch)
    values["next_reconstruction"].backward()
    assert built.losses[0].decoder.project.weight.grad.abs().sum() > 0


def test_a_built_objective_owns_copies(make_batch):
    """Two runs of one objective do not share heads."""
    objective = 1.0 * Inverse()
    first, second = build(objective), build(objective, seed=1)
    assert first.losses[0] is not second.losses[0]
    assert not hasattr(objective.terms[0].loss, "model")
    assert not torch.equal(first.losses[0].model[0].weight, second.losses[0].model[0].weight)


# The batch


def test_the_encoder_runs_once_for_all_terms(make_batch):
    batch, calls = make_batch(), []
    batch._network.register_forward_hook(lambda *_: calls.append(1))
    build("reconstruction[:2] + inverse[2:] + forward[2:] + temporal_coherence")(batch)
    assert len(calls) == 1


def test_a_sample_of_the_gaussian_has_its_mean_and_deviation(tiny):
    """Oracle: 4,000 standardised samples have mean 0 and deviation 1, in training as in evaluation."""
    network = EncoderNetwork((8, 8, 3), D, "flatten", variational=True)
    torch.nn.init.constant_(network.head.bias[D:], -3.0)
    rows = torch.from_numpy(np.resize(tiny.transitions("train"), 700))
    for mode in (True, False):
        torch.manual_seed(0)
        network.train(mode)
        batch = Batch(ResidentData(tiny, torch.device("cpu")), rows, network)
        noise = ((batch.state - batch.mean) / (0.5 * batch.logvar).exp()).flatten()
        assert noise.mean().item() == pytest.approx(0, abs=0.07)
        assert noise.std().item() == pytest.approx(1, abs=0.05)


def test_a_batch_holds_the_recorded_transitions(tiny, make_batch):
    """Oracle: the arrays on disk."""
    batch, rows = make_batch(), tiny.transitions("train")[::4]
    np.testing.assert_allclose(batch.obs.permute(0, 2, 3, 1), tiny.observations[rows] / 255, atol=1e-6)
    np.testing.assert_allclose(batch.next_obs.permute(0, 2, 3, 1), tiny.observations[rows + 1] / 255, atol=1e-6)
    np.testing.assert_array_equal(batch.action, tiny.actions[rows])
    np.testing.assert_array_equal(batch.reward, tiny.rewards[rows])
    np.testing.assert_array_equal(batch.episode, tiny.episode_ids[rows])
    np.testing.assert_array_equal(batch.step, tiny.steps[rows])
    np.testing.assert_allclose(batch.factors, tiny.factors[rows], atol=1e-6)
    np.testing.assert_array_equal(batch.action_vector, np.eye(4)[tiny.actions[rows]])


@pytest.mark.parametrize(("field", "message"), [("velocity", "'velocity'.*next_obs"), ("logvar", "variational = True")])
def test_a_field_that_does_not_exist_is_named(make_batch, field, message):
    with pytest.raises(DataError, match=message):
        getattr(make_batch(), field)


# Algebra and names


def test_arithmetic():
    """By hand."""
    a, b, c = Inverse(), Forward(), KL()
    objective = 2 * (a - b[:3]) - (c * 3 - a)
    assert [(t.loss.name, t.weight, t.stop) for t in objective] == [
        ("inverse", 2.0, None),
        ("forward", -2.0, 3),
        ("kl", -3.0, None),
        ("inverse", 1.0, None),
    ]
    assert str(-a) == "-1.0*inverse"
    assert str(a * Warmup(2.0, 0.5)) == str(Warmup(2.0, 0.5) * a) == "warmup(2.0, 0.5)*inverse"


def test_operations_leave_their_operands_alone():
    objective = Inverse() + Forward()
    before = str(objective)
    _ = (2 * objective, objective[:3], objective + KL(), -objective, objective.drop("inverse"))
    assert str(objective) == before


def test_drop_and_replace():
    objective = parse("2*inverse[:4] + kl + 3*inverse")
    assert str(objective.drop("inverse")) == "kl"
    assert (
        str(objective.replace("inverse", Forward(kind="mlp")))
        == "2.0*forward(kind='mlp')[:4] + kl + 3.0*forward(kind='mlp')"
    )
    for change in (lambda: objective.drop("reward"), lambda: objective.replace("reward", KL())):
        with pytest.raises(ConfigError, match="has no term 'reward'"):
            change()


def test_a_sum_takes_losses_only():
    for wrong in (2, "inverse", None, Inverse):
        with pytest.raises(ConfigError, match="only losses and objectives"):
            Inverse() + wrong


def test_labels_are_numbered_where_a_loss_occurs_twice():
    assert build("inverse[:2] + kl + inverse[2:]").labels == ["inverse_1", "kl", "inverse_2"]


def test_needs_and_variational_are_those_of_the_terms():
    assert parse("reconstruction + causality").needs == {"obs", "action", "reward"}
    assert "next_obs" in parse("reconstruction + inverse").needs
    assert not parse("reconstruction + inverse").variational
    assert parse("reconstruction + 0*kl").variational


@pytest.mark.parametrize(
    ("name", "snake"),
    [("Slowness", "slowness"), ("TemporalCoherence", "temporal_coherence"), ("KL", "kl"), ("MyKLLoss", "my_kl_loss")],
)
def test_snake_case(name, snake):
    assert snake_case(name) == snake


def test_a_loss_is_a_dataclass_registered_by_name():
    loss = ExampleMean(scale=2.0)
    assert (loss.name, loss.options(), repr(loss)) == ("example_mean", {"scale": 2.0}, "example_mean(scale=2.0)")
    assert str(parse("example_mean(scale=3)")) == "example_mean(scale=3)"
    with pytest.raises(TypeError):
        ExampleMean(size=1)


def test_a_loss_without_forward_says_so(make_batch):
    class ExampleEmpty(Loss):
        pass

    with pytest.raises(NotImplementedError, match="ExampleEmpty"):
        build(1.0 * ExampleEmpty())(make_batch())


# Printed forms


@pytest.mark.parametrize(
    ("method", "text", "latex"),
    [
        (
            "splits",
            "reconstruction[:12] + reward[12:14] + 2.0*inverse[14:]",
            r"\mathcal{L} = \left[\mathbb{E}\,\ell\left(g(s_t),\, o_t\right)\right]_{s^{:12}}"
            r" + \left[\mathbb{E}\left[-\log p(r_t \mid s_t, s_{t+1})\right]\right]_{s^{12:14}}"
            r" + 2\,\left[\mathbb{E}\left[-\log p(a_t \mid s_t, s_{t+1})\right]\right]_{s^{14:}}",
        ),
        (
            "vae(beta=4.0)",
            "reconstruction(likelihood='gaussian') + warmup(4.0, 0.2)*kl",
            r"\mathcal{L} = \mathbb{E}\,\ell\left(g(s_t),\, o_t\right)"
            r" + 4\,D_\mathrm{KL}\left[q(s_t \mid o_t)\,\Vert\,\mathcal{N}(0, I)\right]",
        ),
        (
            "e2c(weight=0.25)",
            "reconstruction(likelihood='gaussian') + next_reconstruction(likelihood='gaussian')"
            " + warmup(1.0, 0.2)*kl + 0.25*e2c_transition",
            r"\mathcal{L} = \mathbb{E}\,\ell\left(g(s_t),\, o_t\right)"
            r" + \mathbb{E}\,\ell\left(g(A s_t + B a_t + c),\, o_{t+1}\right)"
            r" + D_\mathrm{KL}\left[q(s_t \mid o_t)\,\Vert\,\mathcal{N}(0, I)\right]"
            r" + 0.25\,D_\mathrm{KL}\left[\mathcal{N}(A\mu_t + B a_t + c,\, A\Sigma_t A^\top)\,\Vert\,"
            r"q(s_{t+1} \mid o_{t+1})\right]",
        ),
        ("random", None, None),
    ],
)
def test_printed_form_and_equation(method, text, latex):
    """Golden strings."""
    described = {"method": method, "objective": text, "latex": latex, "plugins": ""}
    assert describe(resolve(method), 16, "nature") == described


def test_negative_weights_print_with_a_minus():
    objective = Inverse() - 0.5 * ExampleMean()
    assert str(objective) == "inverse - 0.5*example_mean"
    assert objective.latex().endswith(r"\right] - 0.5\,\tfrac12 s^2")


def test_equality_and_hash_go_by_the_printed_form():
    assert 2 * Inverse() + KL() == parse("2*inverse + kl")
    assert 2 * Inverse() + KL() != parse("kl + 2*inverse")
    assert len({2 * Inverse(), parse("2*inverse"), parse("3*inverse")}) == 2


# Methods


@pytest.mark.parametrize("method", [Inverse(), 1.0 * Inverse(), "1*inverse", Composed("inverse*1")])
def test_everything_that_spells_a_method_resolves_to_it(method):
    assert str(as_objective(resolve(method), 4)) == "inverse"


def test_a_name_resolves_to_the_method_and_not_to_the_loss():
    assert type(resolve("inverse(kind='mlp')")).__name__ == "Inverse"
    assert str(resolve("inverse(kind='mlp')")) == "inverse(kind='mlp')"


@pytest.mark.parametrize("wrong", [3, None, Inverse, ["vae"]])
def test_what_is_no_method_is_refused(wrong):
    with pytest.raises(ConfigError, match="a method is a name"):
        resolve(wrong)


def test_terms_are_plain_values():
    """Objectives compare and print without building anything."""
    term = Term(Variability(), 0.5, None, 4)
    assert str(Objective((term,)) + TemporalCoherence()) == "0.5*variability[:4] + temporal_coherence"


def test_one_loss_in_two_terms_has_two_heads():
    inverse = Inverse()
    built = build(inverse[:2] + inverse[3:6])
    assert [loss.model[0].in_features for loss in built.losses] == [4, 6]
