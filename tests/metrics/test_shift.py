"""Oracles: identity, independent redraw, a constant offset, and classifiers by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srl_bench.errors import DataError
from srl_bench.metrics import (
    paired_ratio,
    proxy_a_distance,
    retrieval,
    retrieval_error,
    ridge_r2,
    shifted_ridge_r2,
)

random = np.random.default_rng(0)
FACTORS = random.normal(size=(900, 2))
STATES = FACTORS @ random.normal(size=(2, 4)) + 0.1 * random.normal(size=(900, 4))
SPLIT = np.arange(900) * 3 // 900


def test_the_same_look_changes_nothing():
    assert paired_ratio(STATES, shifted_states=STATES) == 0
    assert retrieval(STATES, shifted_states=STATES, split=SPLIT) == 1
    assert proxy_a_distance(STATES, shifted_states=STATES, split=SPLIT) == pytest.approx(0, abs=1e-12)
    scores = shifted_ridge_r2(STATES, FACTORS, shifted_states=STATES, split=SPLIT)
    assert scores.pop("drop") == 0
    assert scores == ridge_r2(STATES, FACTORS, split=SPLIT)


def test_an_independent_redraw_is_as_far_as_another_state():
    redraw = np.random.default_rng(1).permutation(STATES)
    assert paired_ratio(STATES, shifted_states=redraw) == pytest.approx(1, abs=0.05)
    assert retrieval(STATES, shifted_states=redraw, split=SPLIT) < 0.02


def test_the_error_of_retrieval_is_a_distance_in_the_world():
    """One row takes the code of the next, all others keep their own; then the median row is moved to the other end."""
    line, still = np.arange(9.0)[:, None], np.arange(9.0)[:, None]
    still[3] = 4
    assert retrieval(line, shifted_states=still) == pytest.approx(8 / 9)
    assert retrieval_error(line, line, shifted_states=still) == 0
    reverse = retrieval_error(line, line, shifted_states=line[::-1])
    assert reverse == pytest.approx(np.median(np.abs(2 * line - 8)) / line.std())
    with pytest.warns(UserWarning, match="retrieval_error is undefined: the representation is constant"):
        assert np.isnan(retrieval_error(np.ones((9, 2)), line, shifted_states=np.ones((9, 2))))


def test_an_offset_is_seen_by_the_classifier_and_breaks_the_probe():
    moved = STATES + np.array([100, 0, 0, 0])
    for classifier in ("linear", "boosting"):
        assert proxy_a_distance(STATES, shifted_states=moved, split=SPLIT, classifier=classifier) == 2
    scores = shifted_ridge_r2(STATES, FACTORS, shifted_states=moved, split=SPLIT)
    assert scores["mean"] == 0
    assert scores["drop"] == pytest.approx(ridge_r2(STATES, FACTORS, split=SPLIT)["mean"])
    assert scores["factor_0"] < 0


def test_only_task_factors_count_in_the_mean():
    moved = STATES + 0.2
    scores = shifted_ridge_r2(STATES, FACTORS, shifted_states=moved, split=SPLIT, roles=["task", "distractor"])
    assert scores["mean"] == pytest.approx(max(0, scores["factor_0"]))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_rotation_and_scale_of_both_looks_do_not_matter(seed):
    draw = np.random.default_rng(seed)
    moved = STATES + 0.3 * draw.normal(size=STATES.shape)
    turn = 3 * np.linalg.qr(draw.normal(size=(4, 4)))[0]
    for score in (paired_ratio, retrieval):
        assert score(STATES @ turn, shifted_states=moved @ turn) == pytest.approx(score(STATES, shifted_states=moved))


def test_constant_latents_and_bad_input():
    flat = np.full((900, 4), 0.3)
    assert np.isnan(paired_ratio(flat, shifted_states=STATES))
    assert proxy_a_distance(flat, shifted_states=STATES, split=SPLIT) == 0
    assert retrieval(flat, shifted_states=STATES) == 1 / 900
    with pytest.raises(DataError, match="must be pairs"):
        paired_ratio(STATES, shifted_states=STATES[:, :3])
    with pytest.raises(DataError, match="must match"):
        retrieval(STATES, shifted_states=STATES[:-1])
    with pytest.raises(DataError, match="classifier 'svm'"):
        proxy_a_distance(STATES, shifted_states=STATES, split=SPLIT, classifier="svm")
