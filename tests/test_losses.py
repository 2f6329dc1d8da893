"""Every loss term against hand values, `torch.distributions`, or a second implementation in loops."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn, tensor
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence
from torch.nn import functional

from srl_bench.errors import ConfigError, DataError
from srl_bench.losses import (
    causality,
    e2c_kl,
    gaussian_kl,
    intrinsic_reward,
    pixel_mse,
    pixel_nll,
    proportionality,
    repeatability,
    reward_correlation,
    temporal_coherence,
    triplet,
    variability,
)
from srl_bench.losses.autoencoding import Deviation, Reconstruction
from srl_bench.losses.contrastive import Triplet
from srl_bench.losses.denoising import Denoising, corrupt
from srl_bench.losses.dynamics import Forward, Inverse
from srl_bench.losses.e2c import (
    E2CTransition,
    GlobalTransition,
    LocalTransition,
    NextReconstruction,
    dense_kl_per_sample,
)
from srl_bench.losses.episodes import EpisodeIndependence, reverse_gradient, standardised
from srl_bench.losses.moments import below, far, near
from srl_bench.losses.priors import Causality, Proportionality, Repeatability
from srl_bench.losses.rewards import Reward, RewardCorrelation
from srl_bench.losses.slowness import TemporalCoherence, Variability
from srl_bench.losses.supervised import Supervised
from srl_bench.losses.variational import KL
from srl_bench.objective import Spec

# The worked example of Jonschkowski & Brock's four priors: pairs (0, 1) and (2, 3) share an action.
S = tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
NEXT = tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [3.0, -2.0]])
A = tensor([0, 0, 1, 1])
R = tensor([0.0, 1.0, 0.0, 1.0])


class Fixed(nn.Module):
    """A head that returns what it is told and remembers what it was asked."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x):
        self.seen = x
        return self.output


class FakeBatch(SimpleNamespace):
    def __len__(self):
        return len(self.state)


def fake(n=6, d=3, continuous=False, seed=0):
    torch.manual_seed(seed)
    action = torch.rand(n, 2) * 2 - 1 if continuous else torch.arange(n) % 4
    return FakeBatch(
        state=torch.randn(n, d),
        next_state=torch.randn(n, d),
        mean=torch.randn(n, d),
        next_mean=torch.randn(n, d),
        logvar=0.3 * torch.randn(n, d),
        next_logvar=0.3 * torch.randn(n, d),
        obs=torch.rand(n, 3, 8, 8),
        next_obs=torch.rand(n, 3, 8, 8),
        action=action,
        action_vector=action if continuous else functional.one_hot(action, 4).float(),
        reward=(torch.arange(n) % 3 - 1.0),
        factors=torch.randn(n, d),
        device=torch.device("cpu"),
        precision=torch.float32,
    )


def spec(d=3, continuous=False, rewards=(-1.0, 0.0, 1.0)):
    return Spec(
        state_dim=d,
        pixel_mean=torch.full((3, 8, 8), 0.5),
        pixel_std=0.2,
        n_actions=0 if continuous else 4,
        action_dim=2 if continuous else 4,
        reward_values=rewards,
        reward_mean=4.0,
        reward_std=2.5,
        factor_mean=(0.5,) * d,
        factor_std=(2.0,) * d,
    )


def built(loss, **kwargs):
    torch.manual_seed(0)
    loss.build(spec(**kwargs))
    return loss


# Gaussians


@pytest.mark.parametrize(
    ("mean", "logvar", "expected"),
    [((1.0, 0.0), (0.0, 0.0), 0.5), ((0.0, 2.0), (math.log(0.25), 0.0), 2.318147), ((0.0, 0.0), (0.0, 0.0), 0.0)],
)
def test_gaussian_kl_to_the_unit_gaussian_by_hand(mean, logvar, expected):
    zero = torch.zeros(1, 2)
    assert gaussian_kl(tensor([mean]), tensor([logvar]), zero, zero).item() == pytest.approx(expected, abs=1e-6)


def test_gaussian_kl_sums_dimensions_and_averages_the_batch():
    """By hand: rows of 0.5 and 2.0 nats."""
    mean, zero = tensor([[1.0, 0.0], [2.0, 0.0]]), torch.zeros(2, 2)
    assert gaussian_kl(mean, zero, zero, zero).item() == pytest.approx(1.25)


def test_gaussian_kl_equals_torch_distributions():
    torch.manual_seed(0)
    p, lp, q, lq = torch.randn(4, 7, 5, dtype=torch.float64)
    normals = [Independent(Normal(m, (0.5 * logvar).exp()), 1) for m, logvar in ((p, lp), (q, lq))]
    assert gaussian_kl(p, lp, q, lq).item() == pytest.approx(kl_divergence(*normals).mean().item(), rel=1e-12)


def test_kl_loss_is_per_sample_and_reads_mean_and_logvar():
    """Oracle: torch.distributions."""
    batch = fake()
    posterior = Independent(Normal(batch.mean, (0.5 * batch.logvar).exp()), 1)
    prior = Independent(Normal(torch.zeros(3), torch.ones(3)), 1)
    torch.testing.assert_close(KL()(batch), kl_divergence(posterior, prior))


# Embed to control


def test_e2c_kl_by_hand():
    def row(*values):
        return tensor([values], dtype=torch.float64)

    logvar, next_logvar = row(0.5, 0.2, 0.8).log() * 2, row(0.7, 0.9, 0.4).log() * 2
    args = (row(0.1, 0.2, 0.3), logvar, row(0.3, -0.2, 0.5), row(0.4, 0.1, -0.6), row(0.0, 0.5, -0.1), next_logvar)
    assert e2c_kl(*args).item() == pytest.approx(1.819454, abs=5e-6)


@pytest.mark.parametrize("seed", range(5))
def test_e2c_kl_equals_the_dense_gaussian_divergence_of_torch(seed):
    torch.manual_seed(seed)
    n, d = 6, 4
    mean, logvar, v, r, next_mean, next_logvar = torch.randn(6, n, d, dtype=torch.float64)
    matrix = torch.eye(d) + v[:, :, None] * r[:, None, :]
    predicted = MultivariateNormal(mean, matrix @ torch.diag_embed(logvar.exp()) @ matrix.mT)
    encoded = MultivariateNormal(next_mean, torch.diag_embed(next_logvar.exp()))
    expected = kl_divergence(predicted, encoded).mean().item()
    assert e2c_kl(mean, logvar, v, r, next_mean, next_logvar).item() == pytest.approx(expected, rel=1e-4)


def test_e2c_kl_is_finite_where_the_transition_is_singular():
    v, zero = tensor([[1.0, 0.0]]), torch.zeros(1, 2)
    assert math.isfinite(e2c_kl(zero, zero, v, -v, zero, zero).item())


def test_local_transition_is_a_s_plus_b_a_plus_c():
    """Oracle: dense matrices, sample by sample."""
    torch.manual_seed(0)
    transition, state, at, action = LocalTransition(3, 2), torch.randn(5, 3), torch.randn(5, 3), torch.randn(5, 2)
    predicted = transition.predict(state, at, action)
    v, r, c, matrix = transition.coefficients(at)
    for i in range(5):
        expected = (torch.eye(3) + torch.outer(v[i], r[i])) @ state[i] + matrix[i] @ action[i] + c[i]
        torch.testing.assert_close(predicted[i], expected)
    assert (v[0] != v[1]).any()


def test_global_transition_is_one_linear_system():
    torch.manual_seed(0)
    transition, state, action = GlobalTransition(3, 2), torch.randn(5, 3), torch.randn(5, 2)
    for i in range(5):
        expected = transition.a @ state[i] + transition.b.weight @ action[i] + transition.b.bias
        torch.testing.assert_close(transition.predict(state, state, action)[i], expected)
    # A starts near the identity, as far as 0.01 times a normal draw leads.
    assert (transition.a - torch.eye(3)).abs().max() < 0.05


@pytest.mark.parametrize("seed", range(3))
def test_dense_divergence_equals_that_of_torch(seed):
    torch.manual_seed(seed)
    mean, next_mean, logvar, next_logvar = torch.randn(4, 6, 3)
    a = torch.eye(3) + 0.5 * torch.randn(3, 3)
    predicted = MultivariateNormal(mean, a @ torch.diag_embed(logvar.exp()) @ a.mT)
    encoded = MultivariateNormal(next_mean, torch.diag_embed(next_logvar.exp()))
    value = dense_kl_per_sample(mean, logvar, a, next_mean, next_logvar)
    torch.testing.assert_close(value, kl_divergence(predicted, encoded), rtol=1e-3, atol=1e-3)


def test_next_reconstruction_decodes_the_predicted_state_against_the_next_image():
    batch = fake()
    loss = built(NextReconstruction())
    loss.decoder = Fixed(torch.full((6, 3, 8, 8), 0.25))
    value = loss(batch)
    expected = loss.model.predict(batch.state, batch.state, batch.action_vector)
    torch.testing.assert_close(loss.decoder.seen, expected)
    torch.testing.assert_close(value, (batch.next_obs - 0.25).square().mean((1, 2, 3)) / 0.2**2)


def test_e2c_transition_propagates_the_mean_linearised_at_the_sample():
    """Oracle: `e2c_kl`, itself checked above."""
    batch = fake()
    loss = built(E2CTransition())
    mean = loss.model.predict(batch.mean, batch.state, batch.action_vector)
    v, r, _, _ = loss.model.coefficients(batch.state)
    expected = e2c_kl(mean, batch.logvar, v, r, batch.next_mean, batch.next_logvar)
    torch.testing.assert_close(loss(batch).mean(), expected)


# Robotic priors


def test_robotic_priors_by_hand():
    assert temporal_coherence(S, NEXT).item() == pytest.approx(1.75)
    assert causality(S, A, R).item() == pytest.approx(0.183941, abs=1e-6)
    assert proportionality(S, NEXT, A).item() == pytest.approx(0.5)
    assert repeatability(S, NEXT, A).item() == pytest.approx(1.01715e-5, rel=1e-5)


def test_robotic_priors_as_losses_read_the_right_fields():
    """By hand, as above."""
    batch = FakeBatch(state=S, next_state=NEXT, action=A, reward=R)
    values = [loss(batch).item() for loss in (TemporalCoherence(), Causality(), Proportionality(), Repeatability())]
    assert values == pytest.approx([1.75, 0.183941, 0.5, 1.01715e-5], rel=1e-5)


def loop_over_pairs(s, s2, a, r, weight):
    """Return the three pair priors in plain loops."""
    delta, sums = s2 - s, np.zeros((3, 2))
    for i in range(len(s)):
        for j in range(i + 1, len(s)):
            w, near = weight(a[i], a[j]), np.exp(-((s[i] - s[j]) ** 2).sum())
            lengths = np.linalg.norm(delta[i]) - np.linalg.norm(delta[j])
            sums[0] += [w * (r[i] != r[j]) * near, w * (r[i] != r[j])]
            sums[1] += [w * lengths**2, w]
            sums[2] += [w * near * ((delta[i] - delta[j]) ** 2).sum(), w]
    return sums[:, 0] / sums[:, 1]


@pytest.mark.parametrize("continuous", [False, True])
def test_pair_priors_equal_loops_over_pairs(continuous):
    batch = fake(12, 3, continuous)
    expected = loop_over_pairs(
        *(getattr(batch, name).double().numpy() for name in ("state", "next_state", "action", "reward")),
        (lambda a, b: np.exp(-((a - b) ** 2).sum() / 0.4**2)) if continuous else (lambda a, b: float(a == b)),
    )
    values = [
        causality(batch.state, batch.action, batch.reward),
        proportionality(batch.state, batch.next_state, batch.action),
        repeatability(batch.state, batch.next_state, batch.action),
    ]
    assert [value.item() for value in values] == pytest.approx(expected.tolist(), rel=1e-5)


def test_continuous_proportionality_by_hand():
    """Steps of length 1, 2, 4; actions 0, 0, 0.4, so that pairs weigh 1, 1/e, 1/e."""
    s, s2, a = torch.zeros(3, 1), tensor([[1.0], [2.0], [4.0]]), tensor([[0.0], [0.0], [0.4]])
    expected = (1 + 9 / math.e + 4 / math.e) / (1 + 2 / math.e)
    assert proportionality(s, s2, a).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("action", "reward"), [(tensor([0, 1, 2]), tensor([0.0, 1.0, 2.0])), (tensor([1, 1, 1]), torch.zeros(3))]
)
def test_causality_without_pairs_is_zero_with_a_finite_gradient(action, reward):
    state = torch.randn(3, 2, requires_grad=True)
    value = causality(state, action, reward)
    value.backward()
    assert value.item() == 0
    assert state.grad.abs().max() == 0


def test_causality_takes_nearly_equal_rewards_as_equal():
    """By hand: only the pair with another reward counts, at distance 1."""
    state = tensor([[0.0], [1.0]])
    assert causality(state, tensor([0, 0]), tensor([0.1, 0.1 + 1e-8])).item() == 0
    assert causality(state, tensor([0, 0]), tensor([0.1, 0.2])).item() == pytest.approx(math.exp(-1))


@pytest.mark.parametrize("prior", [proportionality, repeatability])
def test_pair_priors_have_finite_gradients_where_nothing_moves(prior):
    state = torch.zeros(4, 2, requires_grad=True)
    following = torch.zeros(4, 2, requires_grad=True)
    prior(state, following, tensor([0, 0, 1, 1])).backward()
    assert torch.isfinite(state.grad).all()
    assert torch.isfinite(following.grad).all()


def test_priors_push_the_right_way():
    """Causality drives a pair with unequal rewards apart."""
    state = tensor([[0.0], [1.0]], requires_grad=True)
    causality(state, tensor([0, 0]), tensor([0.0, 1.0])).backward()
    assert state.grad[0] > 0 > state.grad[1]


# Slowness and variability


def test_variability_by_hand():
    """The pairs lie sqrt(1) and sqrt(13) apart."""
    assert variability(S[[0, 2]], S[[1, 3]]).item() == pytest.approx(0.197526, abs=1e-6)
    assert variability(S[[0, 2]], S[[1, 3]]).item() == pytest.approx((math.exp(-1) + math.exp(-math.sqrt(13))) / 2)


def test_variability_of_constant_states_is_exactly_one():
    assert variability(torch.full((5, 3), 7.0), torch.full((5, 3), 7.0)).item() == 1
    assert Variability()(FakeBatch(state=torch.full((5, 3), 7.0))).item() == 1


def test_variability_loss_pairs_different_samples():
    """By hand: points 0, 1, 3 in a ring lie 3, 1 and 2 apart."""
    expected = (math.exp(-3) + math.exp(-1) + math.exp(-2)) / 3
    assert Variability()(FakeBatch(state=tensor([[0.0], [1.0], [3.0]]))).item() == pytest.approx(expected)


def test_variability_of_a_collapsed_state_has_a_finite_gradient():
    state = torch.zeros(4, 2, requires_grad=True)
    Variability()(FakeBatch(state=state)).backward()
    assert torch.isfinite(state.grad).all()


# Reconstruction


def test_pixel_mse_by_hand():
    prediction = torch.zeros(2, 3, 2, 2)
    target = torch.stack([torch.full((3, 2, 2), 0.5), torch.zeros(3, 2, 2)])
    target[1, 0, 0, 0] = 6.0
    assert pixel_mse(prediction, target).tolist() == [0.25, 3.0]


@pytest.mark.parametrize("sigma", [0.1, 1.0, tensor(0.37)])
def test_pixel_nll_equals_the_normal_density_of_torch(sigma):
    torch.manual_seed(0)
    prediction, target = torch.rand(2, 4, 3, 5, 5)
    expected = -Normal(prediction, sigma).log_prob(target).sum((1, 2, 3))
    torch.testing.assert_close(pixel_nll(prediction, target, sigma), expected)


@pytest.mark.parametrize(("likelihood", "sigma"), [("mse", 0.0), ("gaussian", 0.1), ("gaussian", 0.0)])
def test_reconstruction_compares_the_decoded_state_with_the_image(likelihood, sigma):
    """Oracles: mean squared error over the pixels' variance, and Normal.log_prob, at the pixels' deviation of 0.2."""
    batch, loss = fake(), built(Reconstruction(likelihood=likelihood, sigma=sigma))
    decoded = loss.decoder(batch.state)
    if likelihood == "mse":
        expected = functional.mse_loss(decoded, batch.obs, reduction="none").mean((1, 2, 3)) / 0.2**2
    else:
        expected = -Normal(decoded, sigma or 0.2).log_prob(batch.obs).sum((1, 2, 3))
    torch.testing.assert_close(loss(batch), expected)


def test_the_learned_deviation_settles_at_the_residual():
    """Oracle: the maximum-likelihood deviation is the root mean square error, here 0.05."""
    deviation = Deviation(0.3)
    optimizer = torch.optim.Adam(deviation.parameters(), lr=0.02)
    prediction, target = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.05)
    for _ in range(400):
        optimizer.zero_grad()
        pixel_nll(prediction, target, deviation()).mean().backward()
        optimizer.step()
    assert deviation().item() == pytest.approx(0.05, rel=0.02)


def test_a_faint_data_set_starts_at_its_own_deviation():
    """Pixels that deviate by 0.005 from the mean image are not worth encoding at a larger deviation."""
    deviation = Deviation(0.005)
    assert deviation().item() == pytest.approx(0.005, rel=1e-5)
    deviation().backward()
    assert deviation.log_sigma.grad != 0


@pytest.mark.parametrize("options", [{"likelihood": "bernoulli"}, {"sigma": -1.0}])
def test_reconstruction_refuses_wrong_options(options):
    with pytest.raises(ConfigError, match=str(next(iter(options)))):
        Reconstruction(**options)


# Denoising


@pytest.mark.parametrize("corruption", ["rectangle", "noise", "dropout"])
def test_denoising_decodes_the_corrupted_image_against_the_clean_one(corruption):
    """A spy sees what is encoded and what the error compares: bit for bit the clean image."""
    batch, loss = fake(), built(Denoising(corruption=corruption))
    clean, seen = batch.obs.clone(), {}

    def encode(images):
        seen["encoded"] = images
        return batch.state

    def error(prediction, target):
        seen["target"] = target
        return Reconstruction.error(loss, prediction, target)

    batch.encode, loss.error = encode, error
    value = loss(batch)
    assert torch.equal(seen["target"], clean)
    assert not torch.equal(seen["encoded"], clean)
    torch.testing.assert_close(value, (loss.decoder(batch.state) - clean).square().mean((1, 2, 3)) / 0.2**2)


def hidden_by(corruption, amount, n=3000, height=12, width=20):
    """Return (n, height, width), where images of ones show their mean image of twos; all channels agree."""
    torch.manual_seed(0)
    mean = torch.full((3, height, width), 2.0)
    images = corrupt(torch.ones(n, 3, height, width), mean, corruption, amount)
    assert set(images.unique().tolist()) == {1.0, 2.0}
    hidden = images == 2
    assert (hidden == hidden[:, :1]).all()
    return hidden[:, 0]


def test_hidden_rectangles_are_full_boxes_of_at_most_half_the_image():
    """Both sides have all lengths from 0 to half, and every pixel has its turn."""
    hidden = hidden_by("rectangle", 0.5)
    heights, widths = hidden.any(2).sum(1), hidden.any(1).sum(1)
    assert (hidden.sum((1, 2)) == heights * widths).all()
    assert set(heights.tolist()) == set(range(7))
    assert set(widths.tolist()) == set(range(11))
    for axis in (1, 2):  # without gaps
        line = hidden.any(axis).int()
        assert (line.diff(dim=1).abs().sum(1) + line[:, 0] + line[:, -1] <= 2).all()
    assert hidden.any(0).all()


def test_dropout_hides_a_fifth_of_the_pixels():
    """One binomial deviation of the share is .0005."""
    assert hidden_by("dropout", 0.2).float().mean().item() == pytest.approx(0.2, abs=0.003)


def test_noise_has_the_deviation_asked_for():
    torch.manual_seed(0)
    images = torch.rand(50, 3, 16, 16)
    noise = corrupt(images, images.mean(0), "noise", 0.1) - images
    assert noise.std().item() == pytest.approx(0.1, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize("options", [{"corruption": "rain"}, {"amount": -0.1}, {"amount": 1.5}])
def test_denoising_refuses_wrong_options(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Denoising(**options)


# Dynamics


def test_linear_forward_model_is_residual_by_hand():
    """With W = 0 and b = 0 it predicts s, so the loss is |s - s'|^2 / d; with W = [0 | I] it predicts s + a."""
    loss = built(Forward(), d=2, continuous=True)
    batch = FakeBatch(state=S, next_state=NEXT, action_vector=NEXT - S)
    with torch.no_grad():
        loss.model[0].weight.zero_()
        loss.model[0].bias.zero_()
        assert loss(batch).tolist() == [0.5, 0.5, 0.5, 2.0]
        loss.model[0].weight[:, 2:] = torch.eye(2)
        assert loss(batch).tolist() == [0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("target", ["gradient", "detach"])
def test_forward_gradient_reaches_the_next_state_unless_detached(target):
    """By hand: d/ds' of |s - s'|^2 / d averaged over B is 2 (s' - s) / (B d)."""
    loss = built(Forward(target=target), d=2)
    nn.init.zeros_(loss.model[0].weight)
    nn.init.zeros_(loss.model[0].bias)
    state, following = S.clone().requires_grad_(), NEXT.clone().requires_grad_()
    loss(FakeBatch(state=state, next_state=following, action_vector=torch.eye(4))).mean().backward()
    assert state.grad.abs().sum() > 0
    if target == "detach":
        assert following.grad is None
    else:
        torch.testing.assert_close(following.grad, 2 * (NEXT - S) / 8)


def test_mlp_forward_model_adds_its_output_to_the_state():
    loss = built(Forward(kind="mlp"), d=2)
    batch = FakeBatch(state=S, next_state=NEXT, action_vector=torch.eye(4))
    expected = (S + loss.model(torch.cat([S, torch.eye(4)], 1)) - NEXT).square().mean(1)
    torch.testing.assert_close(loss(batch), expected)
    assert len(loss.model) == 5


@pytest.mark.parametrize(
    ("norm", "expected"),
    [("l2", [0.5, 0.5, 0.5, 2.0]), ("l1", [0.5, 0.5, 0.5, 1.0]), ("gaussian", [0.5, 0.5, 0.5, 2.0])],
)
def test_norms_of_the_forward_error_by_hand(norm, expected):
    """With W = 0 and b = 0 the errors of the two dimensions are (1, 0), (1, 0), (0, 1) and (0, 2)."""
    loss = built(Forward(norm=norm), d=2)
    nn.init.zeros_(loss.model[0].weight)
    nn.init.zeros_(loss.model[0].bias)
    assert loss(FakeBatch(state=S, next_state=NEXT, action_vector=torch.eye(4))).tolist() == expected


def test_the_gaussian_forward_error_is_a_sum_and_the_others_are_means():
    """Three equal dimensions are three times the error of one."""
    batch = FakeBatch(state=torch.zeros(2, 3), next_state=torch.full((2, 3), 2.0), action_vector=torch.zeros(2, 4))
    for norm, expected in {"l2": 4.0, "l1": 2.0, "gaussian": 6.0}.items():
        loss = built(Forward(norm=norm))
        loss.model = Fixed(torch.zeros(2, 3))
        assert loss(batch).tolist() == [expected, expected]


def test_a_forward_model_without_residual_predicts_the_next_state_itself():
    """And half the summed square of its error is the bonus of a curious agent at eta 1."""
    loss, batch = built(Forward(kind="mlp", norm="gaussian", residual=False)), fake()
    prediction = loss.model(torch.cat([batch.state, batch.action_vector], 1))
    torch.testing.assert_close(loss(batch), 0.5 * (prediction - batch.next_state).square().sum(1))
    bonus = intrinsic_reward(batch.state, batch.action_vector, batch.next_state, loss.model, eta=1.0)
    torch.testing.assert_close(bonus, loss(batch))
    assert not bonus.requires_grad


def test_a_detached_source_receives_no_gradient():
    loss = built(Forward(source="detach"), d=2)
    state, following = S.clone().requires_grad_(), NEXT.clone().requires_grad_()
    loss(FakeBatch(state=state, next_state=following, action_vector=torch.eye(4))).mean().backward()
    assert state.grad is None
    assert following.grad.abs().sum() > 0


@pytest.mark.parametrize("options", [{"norm": "l3"}, {"source": "stop"}, {"target": "stop"}])
def test_forward_refuses_wrong_options(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Forward(**options)


def test_inverse_at_chance_is_log_4():
    loss = built(Inverse(kind="linear"))
    nn.init.zeros_(loss.model[0].weight)
    nn.init.zeros_(loss.model[0].bias)
    torch.testing.assert_close(loss(fake()), torch.full((6,), math.log(4)))


def test_discrete_inverse_is_the_cross_entropy_of_torch():
    batch, loss = fake(), built(Inverse())
    logits = loss.model(torch.cat([batch.state, batch.next_state], 1))
    expected = -torch.distributions.Categorical(logits=logits).log_prob(batch.action)
    torch.testing.assert_close(loss(batch), expected)


def test_continuous_inverse_is_the_squared_error_by_hand():
    loss = built(Inverse(), continuous=True)
    loss.model = Fixed(tensor([[1.0, 0.0], [0.0, 0.0]]))
    batch = fake(2, 3, continuous=True)
    batch.action = tensor([[0.0, 0.0], [0.5, -0.5]])
    assert loss(batch).tolist() == [0.5, 0.25]
    torch.testing.assert_close(loss.model.seen, torch.cat([batch.state, batch.next_state], 1))


@pytest.mark.parametrize("loss", [Forward, Inverse])
def test_dynamics_refuse_unknown_kinds(loss):
    with pytest.raises(ConfigError, match="'cubic'"):
        loss(kind="cubic")


# Reward


def test_reward_classes_are_balanced():
    """Oracle: torch's cross-entropy with class weights 1 / count, normalised by their sum."""
    torch.manual_seed(0)
    logits, batch = torch.randn(8, 3), fake(8)
    batch.reward = tensor([0.0, 0.0, 0.0, 0.0, 0.0, 1.0, -1.0, -1.0])
    loss = built(Reward())
    loss.model = Fixed(logits)
    labels = tensor([1, 1, 1, 1, 1, 2, 0, 0])
    expected = functional.cross_entropy(logits, labels, weight=tensor([1 / 2, 1 / 5, 1.0]))
    assert loss(batch).mean().item() == pytest.approx(expected.item(), rel=1e-6)


def test_reward_classes_that_a_batch_lacks_do_not_count():
    """By hand: a head at chance among 3 classes gives log 3, whatever the batch holds."""
    loss = built(Reward())
    loss.model = Fixed(torch.zeros(4, 3))
    batch = fake(4)
    for reward in ([0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [-1.0, 0.0, 0.0, 1.0]):
        batch.reward = tensor(reward)
        assert loss(batch).mean().item() == pytest.approx(math.log(3), rel=1e-6)


def test_many_rewards_are_standardised_and_regressed():
    """Oracle: torch's Huber loss of rewards standardised by hand; 4.0 and 2.5 are those of the spec."""
    values = tuple(float(v) for v in range(10))
    loss, batch = built(Reward(), rewards=values), fake(3)
    batch.reward = tensor([9.0, 4.5, 5.0])
    loss.model = Fixed(tensor([[0.0], [0.0], [2.0]]))
    expected = functional.huber_loss(tensor([0.0, 0.0, 2.0]), tensor([2.0, 0.2, 0.4]), reduction="none")
    torch.testing.assert_close(loss(batch), expected)


def test_reward_correlation_by_hand():
    """The dimensions correlate by 1 and -.447214 with the reward."""
    state, reward = tensor([[0.0, 1.0], [1.0, -1.0], [2.0, 1.0], [3.0, -1.0]]), tensor([0.0, 1.0, 2.0, 3.0])
    assert reward_correlation(state, reward).item() == pytest.approx(0.276393, abs=1e-6)
    assert RewardCorrelation()(FakeBatch(state=state, reward=reward)).item() == pytest.approx(0.276393, abs=1e-6)


def test_reward_correlation_equals_numpy():
    batch = fake(20, 4)
    table = np.corrcoef(np.column_stack([batch.state.numpy(), batch.reward.numpy()]).T)
    expected = 1 - np.abs(table[-1, :-1]).mean()
    assert reward_correlation(batch.state, batch.reward).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_batch_of_equal_rewards_adds_nothing(value):
    state = torch.randn(7, 2, requires_grad=True)
    loss = reward_correlation(state, torch.full((7,), value))
    loss.backward()
    assert loss.item() == 0
    assert not state.grad.any()


def test_a_constant_dimension_has_correlation_zero_and_a_finite_gradient():
    state = torch.ones(4, 1, requires_grad=True)
    loss = reward_correlation(state, tensor([0.0, 1.0, 0.0, 1.0]))
    loss.backward()
    assert loss.item() == 1
    assert torch.isfinite(state.grad).all()


@pytest.mark.parametrize("loss", [Reward, Causality, RewardCorrelation])
def test_a_constant_reward_teaches_nothing(loss):
    with pytest.raises(DataError, match="rewards"):
        built(loss(), rewards=(0.0,))


# Moments of an episode

FIRST, LAST = 10, 19  # an episode of ten rows


def drawn(draw, row, distance, first=FIRST, last=LAST):
    torch.manual_seed(0)
    size = (2000,)
    rows, exists = draw(*(torch.full(size, value) for value in (row, first, last)), distance)
    assert exists.all() or not exists.any()
    return set(rows.tolist()) if exists.any() else None


def test_moments_are_drawn_from_all_that_fit():
    """Oracle: sets in plain Python."""
    for row in range(FIRST, LAST + 1):
        others = set(range(FIRST, LAST + 1)) - {row}
        for distance in (1, 2, 30):
            assert drawn(near, row, distance) == {other for other in others if abs(other - row) <= distance}
        for distance in (0, 4, 6):
            assert drawn(far, row, distance) == ({other for other in others if abs(other - row) > distance} or None)
    assert drawn(near, 5, 3, first=5, last=5) is None


def test_moments_that_do_not_exist_are_the_row_itself():
    rows, exists = far(tensor([3, 12]), tensor([0, 10]), tensor([5, 19]), 4)
    assert exists.tolist() == [False, True]
    assert rows[0] == 3


def test_random_integers_are_uniform_below_each_count():
    """One binomial deviation of a share is .005."""
    torch.manual_seed(0)
    values = below(tensor([4]).expand(8000))
    assert (torch.bincount(values, minlength=4) / 8000).tolist() == pytest.approx([0.25] * 4, abs=0.02)
    assert below(tensor([0, -3, 1])).tolist() == [0, 0, 0]


def episodes(n=8, length=10, d=3, seed=0):
    """Return a batch whose sample i is in the middle of episode i; states of other rows are those of a table."""
    torch.manual_seed(seed)
    table, row = torch.randn(n * length, d), torch.arange(n) * length + length // 2
    first = torch.arange(n) * length
    batch = FakeBatch(state=table[row], row=row, episode=torch.arange(n), episode_rows=(first, first + length - 1))
    batch.asked = []

    def encode_rows(rows):
        batch.asked.append(rows)
        return table[rows]

    batch.encode_rows = encode_rows
    return batch


# Triplets


def test_triplet_by_hand():
    """1 - .25 + .2; a negative that is far enough costs nothing."""
    anchor, positive = tensor([[0.0, 0.0]] * 2), tensor([[1.0, 0.0]] * 2)
    assert triplet(anchor, positive, tensor([[0.0, 0.5], [0.0, 2.0]])).tolist() == pytest.approx([0.95, 0.0])


@pytest.mark.parametrize("normalize", [True, False])
def test_the_triplet_loss_draws_near_and_far_moments_of_the_episode(normalize):
    """Oracle: the pure function on the rows that it asked for."""
    batch, loss = episodes(length=12), Triplet(margin=0.5, window=2, normalize=normalize)
    value = loss(batch)
    positive, negative = batch.asked[0].chunk(2)
    assert (positive // 12 == batch.episode).all()
    assert (negative // 12 == batch.episode).all()
    assert ((positive - batch.row).abs() <= 2).all()
    assert ((positive - batch.row).abs() >= 1).all()
    assert ((negative - batch.row).abs() > 4).all()
    states = [batch.state, batch.encode_rows(positive), batch.encode_rows(negative)]
    if normalize:
        states = [state / state.norm(dim=1, keepdim=True) for state in states]
    torch.testing.assert_close(value, triplet(*states, margin=0.5))


def test_a_constant_state_has_the_margin_as_its_loss():
    batch = episodes(length=12)
    batch.state, batch.encode_rows = torch.ones(8, 3), lambda rows: torch.ones(len(rows), 3)
    torch.testing.assert_close(Triplet()(batch), torch.full((8,), 0.2))


def test_episodes_too_short_for_a_triplet_count_nothing():
    """In the middle of 9 rows nothing is more than 4 steps away; of 10 rows one is."""
    assert Triplet()(episodes(length=9)).tolist() == [0.0] * 8
    assert Triplet(margin=50.0)(episodes(length=10)).min() > 0


@pytest.mark.parametrize("options", [{"margin": 0.0}, {"window": 0}])
def test_triplet_refuses_wrong_options(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Triplet(**options)


# Episodes


def test_standardised_states_by_hand():
    """The scale of a dimension makes no difference, and a constant one is 0 with a finite gradient."""
    states = tensor([[1.0, 7.0, 100.0], [3.0, 7.0, 300.0]], requires_grad=True)
    values = standardised(states)
    torch.testing.assert_close(values, tensor([[-1.0, 0.0, -1.0], [1.0, 0.0, 1.0]]))
    values.square().sum().backward()
    assert torch.isfinite(states.grad).all()


def test_the_gradient_is_reversed():
    """By hand: d/dx of 3 x is 3, and comes back as -6."""
    x = tensor([5.0], requires_grad=True)
    y = reverse_gradient(x, 2.0)
    assert y.item() == 5
    (3 * y).sum().backward()
    assert x.grad.item() == -6


def test_episode_independence_compares_pairs_of_one_episode_and_of_two():
    """Oracle: torch's binary cross-entropy; at chance it is log 2."""
    batch, loss = episodes(), built(EpisodeIndependence())
    value = loss(batch)
    (partners,) = batch.asked
    assert (partners // 10 == batch.episode).all()
    assert (partners != batch.row).all()
    state, partner = standardised(torch.cat([batch.state, batch.encode_rows(partners)])).chunk(2)
    pairs = torch.cat([torch.cat([state, partner], 1), torch.cat([state, state.roll(1, dims=0)], 1)])
    labels = torch.cat([torch.ones(8), torch.zeros(8)])
    expected = functional.binary_cross_entropy_with_logits(loss.discriminator(pairs)[:, 0], labels)
    torch.testing.assert_close(value, expected)
    loss.discriminator = nn.Sequential(Fixed(torch.zeros(8, 1)))
    assert loss(batch).item() == pytest.approx(math.log(2))


def test_neighbours_of_one_episode_are_no_strangers():
    """By hand: of three samples in episodes 0, 0, 1 the second is no pair, and a logit of 1 costs softplus(+-1)."""
    batch, loss = episodes(3), built(EpisodeIndependence())
    batch.episode = tensor([0, 0, 1])
    loss.discriminator = Fixed(tensor([[1.0], [100.0], [1.0]]))
    same = (2 * math.log1p(math.exp(-1)) + 0.0) / 3
    different = math.log1p(math.e)
    assert loss(batch).item() == pytest.approx(0.5 * (same + different), rel=1e-5)


def test_the_encoder_gets_the_discriminators_gradient_with_the_other_sign():
    def gradients(reversal):
        batch, loss = episodes(), built(EpisodeIndependence(reversal=reversal))
        batch.state.requires_grad_()
        loss(batch).backward()
        return batch.state.grad, loss.discriminator[0].weight.grad

    (state, head), (doubled, same_head) = gradients(1.0), gradients(2.0)
    torch.testing.assert_close(doubled, 2 * state)
    torch.testing.assert_close(same_head, head)
    assert gradients(0.0)[0].abs().max() == 0
    # A step along the gradient that the encoder gets makes the discriminator worse.
    batch, loss = episodes(), built(EpisodeIndependence())
    torch.manual_seed(1)
    before = loss(batch).item()
    batch.state = batch.state - 0.1 * state / state.norm()
    batch.encode_rows = lambda rows, partners=batch.asked[0], encode=batch.encode_rows: encode(partners)
    assert loss(batch).item() > before


@pytest.mark.parametrize("options", [{"reversal": -1.0}, {"hidden": 0}])
def test_episode_independence_refuses_wrong_options(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        EpisodeIndependence(**options)


# Supervised


def test_supervised_by_hand():
    """Factors are standardised with mean 0.5 and deviation 2: (2.5, 0.5) is (1, 0)."""
    loss = built(Supervised(), d=2)
    batch = FakeBatch(state=tensor([[1.0, 0.0], [0.0, 2.0]]), factors=tensor([[2.5, 0.5], [2.5, 0.5]]))
    assert loss(batch).tolist() == [0.0, 2.5]


def test_supervised_wants_one_dimension_per_factor():
    loss = Supervised()
    with pytest.raises(ConfigError, match="3 dimensions"):
        loss.build(Spec(4, torch.zeros(3, 8, 8), 0.1, 4, 4, factor_mean=(0.0,) * 3, factor_std=(1.0,) * 3))


# All of them

PRIORS = [Causality(), Proportionality(), Repeatability(), TemporalCoherence()]
PER_SAMPLE = [
    Reconstruction(),
    Reconstruction(likelihood="gaussian"),
    NextReconstruction(),
    E2CTransition(),
    E2CTransition(transition="global"),
    Forward(),
    Forward(kind="mlp"),
    Forward(kind="mlp", norm="gaussian", residual=False),
    Forward(norm="l1"),
    Inverse(),
    Supervised(),
    KL(),
]


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("loss", [*PER_SAMPLE, *PRIORS, Reward(), RewardCorrelation()], ids=str)
def test_permuting_the_batch_permutes_the_loss(loss, continuous):
    """A value per sample moves with its sample; a scalar stays. (Only Variability pairs by position.)"""
    loss = built(loss, continuous=continuous)
    batch, order = fake(10, continuous=continuous), torch.randperm(10, generator=torch.Generator().manual_seed(1))
    shuffled = FakeBatch(**{k: v[order] if isinstance(v, torch.Tensor) else v for k, v in vars(batch).items()})
    value, permuted = loss(batch), loss(shuffled)
    assert value.shape in ((), (10,))
    torch.testing.assert_close(permuted, value[order] if value.ndim else value, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("loss", PER_SAMPLE, ids=str)
def test_a_sample_depends_on_no_other_sample(loss):
    """All but the priors on pairs and the class weights of the reward ignore the rest of the batch."""
    loss = built(loss)
    batch, other = fake(), fake(seed=1)
    value = loss(batch)
    mixed = FakeBatch(
        **{
            k: torch.cat([v[:2], getattr(other, k)[2:]]) if isinstance(v, torch.Tensor) else v
            for k, v in vars(batch).items()
        }
    )
    torch.testing.assert_close(loss(mixed)[:2], value[:2], atol=1e-5, rtol=1e-5)
