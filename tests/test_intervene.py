"""Oracles: the ground truth as encoder, whose dimensions are the factors themselves."""

import gymnasium
import numpy as np
import pytest

import srl_bench as srl
from srl_bench.errors import ConfigError
from srl_bench.intervene import Simulator, distractor_curve, intervention_scores
from srl_bench.metrics import mig

FEW = {"groups": 6, "size": 16}


@pytest.fixture(scope="module")
def truth(mobile):
    return srl.pretrain("ground_truth", mobile)


@pytest.fixture(scope="module")
def pixels(mobile):
    return srl.pretrain("random", mobile, latent_dim=6, seed=0)


def test_the_ground_truth_is_disentangled_and_random_features_are_not(truth, pixels):
    best = intervention_scores(truth, **FEW)
    assert best["beta_vae"] == best["factor_vae"] == 1
    assert np.isnan(best["distractor_ratio"])
    assert best["rejected"] == 0
    poor = intervention_scores(pixels, **FEW)
    assert poor["factor_vae"] < 0.7
    again, other = (intervention_scores(pixels, **FEW, seed=seed)["beta_vae"] for seed in (0, 1))
    assert again == poor["beta_vae"] != other


def test_what_is_fixed_is_not_intervened_on(truth):
    kwargs = {**truth.provenance["environment_kwargs"], "random_target": False}
    found = intervention_scores(truth, environment_kwargs=kwargs, **FEW)
    assert found["beta_vae"] == found["factor_vae"] == 1


def test_impossible_states_are_drawn_again(truth):
    simulator = Simulator(truth, "srl_bench/MobileRobot2Target-v0", {})
    simulator.encode = lambda factors: factors
    found = simulator.interventions(**FEW)
    assert 0 < found.rejected < 0.9
    assert all(simulator.env.possible(row) for row in found.states)
    simulator.close()


def test_independent_states_have_independent_factors(truth, pixels):
    simulator = Simulator(truth)
    states, factors = simulator.independent(3_000, seed=3)
    assert states.shape == factors.shape == (3_000, 4)
    assert np.abs(np.corrcoef(factors.T) - np.eye(4)).max() < 0.06
    assert mig(states, factors) > 0.9
    simulator.close()
    seen = Simulator(pixels)
    assert seen.independent(5)[0].shape == (5, 6)
    seen.close()


def test_distractors_move_only_the_states_that_hold_them(truth):
    env = gymnasium.make("srl_bench/MobileRobot-v0", distractors=2).unwrapped
    task = np.array([factor.role == "task" for factor in env.factors])
    env.close()
    simulator = Simulator(truth, "srl_bench/MobileRobot-v0", {"distractors": 2})
    span = np.array([factor.high - factor.low for factor in simulator.env.factors])
    for columns, ratio in ((task, 0), (~task, 1)):
        simulator.encode = lambda factors, columns=columns: (factors / span)[:, columns]
        assert simulator.distractor_ratio() == pytest.approx(ratio, abs=0.07)
    simulator.close()


def test_environments_that_cannot_be_set_are_refused(pixels, monkeypatch):
    with pytest.raises(ConfigError, match="CartPole-v1 cannot be put into a state"):
        Simulator(pixels, "CartPole-v1", {})
    monkeypatch.setattr(pixels, "provenance", {})
    with pytest.raises(ConfigError, match="belongs to no environment"):
        intervention_scores(pixels)


def test_distractors_cost_an_encoder_that_sees_all_pixels(mobile, truth):
    pixels = srl.pretrain("random", mobile, latent_dim=32, body="spatial_softmax", seed=0)
    found = distractor_curve(pixels, levels=(0, 2, 8), n_rows=400)
    curve = [found[f"level_{level}"] for level in (0, 2, 8)]
    assert curve[0] > 0.9 > curve[1] > curve[2] + 0.1
    assert found["area"] == pytest.approx((curve[0] + curve[1] + 3 * (curve[1] + curve[2])) / 8)
    assert found["slope"] == pytest.approx(np.polyfit([0, 2, 8], curve, 1)[0])
    assert found == distractor_curve(pixels, levels=(0, 2, 8), n_rows=400)
    for encoder, levels in ((truth, (0, 1)), (pixels, (1,)), (pixels, (2, 1))):
        with pytest.raises(ConfigError, match="ascending levels"):
            distractor_curve(encoder, levels=levels)
