"""Looks: what is drawn, and what lens, sensor, lamp and camera do to a picture."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import stats

from srl_bench.environments.drawing import Camera
from srl_bench.environments.looks import LEVELS, RANGES, SIM, TEXTURES, TWIN, Look, draw_look, look_factors
from srl_bench.environments.mobile_robot import MobileRobot

PICTURE = np.arange(64 * 64 * 3, dtype=np.uint32).reshape(64, 64, 3).astype(np.uint8)
CAMERA = Camera((0.0, -2.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 40.0, 0.1, 10.0)


@pytest.mark.parametrize("level", LEVELS[1:])
def test_draws_are_uniform_over_the_stated_ranges(level):
    """Chi-square of 500 draws in 10 parts, at one in ten thousand per factor."""
    table = look_factors(level)
    rng = np.random.default_rng(0)
    looks = [draw_look(SIM, table, rng) for _ in range(500)]
    for factor in table:
        values = np.array([getattr(look, factor.name) for look in looks])
        parts = int(factor.high - factor.low) + 1 if factor.kind == "categorical" else 10
        width = 0.5 if factor.kind == "categorical" else 0.0
        counts, _ = np.histogram(values, parts, (factor.low - width, factor.high + width))
        assert counts.sum() == 500, factor.name
        assert stats.chisquare(counts).pvalue > 1e-4, factor.name


def test_everything_that_a_look_has_can_be_drawn():
    names = {field.name for field in fields(Look)}
    assert set(RANGES) == names
    assert {factor.name for factor in look_factors("strong")} == names
    assert {factor.name for factor in look_factors("mild")} == names - {"texture"}
    assert look_factors("none") == ()


def test_the_twin_is_never_drawn():
    strong = {factor.name: factor for factor in look_factors("strong")}
    outside = [name for name, factor in strong.items() if not factor.low <= getattr(TWIN, name) <= factor.high]
    assert {"texture", "gamma", "noise", "lens", "scenery_blue"} <= set(outside)
    assert TWIN.texture == len(TEXTURES) == 5


def test_the_simulators_look_changes_nothing():
    assert SIM.move(CAMERA) == CAMERA
    np.testing.assert_array_equal(SIM.develop(PICTURE, 3), PICTURE)


def test_a_camera_turns_about_what_it_looks_at():
    turned = replace(SIM, camera_yaw=90.0).move(CAMERA)
    np.testing.assert_allclose(turned.eye, (2.0, 0.0, 0.0), atol=1e-12)
    raised = replace(SIM, camera_pitch=30.0).move(CAMERA)
    assert math.dist(raised.eye, raised.look_at) == pytest.approx(2.0)
    assert abs(raised.eye[2]) == pytest.approx(1.0)
    moved = replace(SIM, camera_x=0.1, camera_zoom=1.1).move(CAMERA)
    np.testing.assert_allclose([*moved.eye, *moved.look_at], [0.1, -2.0, 0.0, 0.1, 0.0, 0.0])
    assert moved.field_of_view == pytest.approx(44.0)


def test_gamma_by_hand():
    image = np.array([[[0, 64, 255]]], np.uint8)
    np.testing.assert_array_equal(replace(SIM, gamma=2.0).develop(image, 0), [[[0, 16, 255]]])


def test_noise_has_its_deviation_and_is_of_the_moment():
    grey = np.full((64, 64, 3), 128, np.uint8)
    look = replace(SIM, noise=0.02)
    first = look.develop(grey, 5).astype(float)
    assert first.std() == pytest.approx(255 * 0.02, rel=0.05)
    assert first.mean() == pytest.approx(127.5, abs=0.3)
    np.testing.assert_array_equal(look.develop(grey, 5), first)
    assert (look.develop(grey, 6) != first).mean() > 0.5


@pytest.mark.parametrize("coefficient", [-0.1, 0.12])
def test_a_lens_keeps_the_centre_and_bends_the_rest(coefficient):
    rows = np.repeat(np.arange(64, dtype=np.uint8)[:, None, None], 64, axis=1).repeat(3, axis=2)
    bent = replace(SIM, lens=coefficient).develop(rows, 0).astype(int)
    assert abs(bent[32, 32, 0] - 32) <= 1
    assert abs(bent[31, 0, 0] - 31) <= 1  # the horizontal through the centre stays straight
    assert len(np.unique(bent[8, :, 0])) > 1  # others bend
    # by hand: the middle of the upper edge shows what lies 5 % further in; a barrel's corner itself, a cushion's 10 %
    assert bent[0, 32, 0] == pytest.approx(2, abs=1)
    assert bent[0, 0, 0] == (0 if coefficient > 0 else 3)


def test_a_brighter_lamp_makes_a_brighter_picture():
    pictures = []
    for ambient in (0.45, 0.75):
        env = MobileRobot(domain="randomised")
        state = env.reset(seed=0)[1]["state"]
        names = [factor.name for factor in env.factors]
        values = dict(zip(names, state, strict=True)) | {"light_ambient": ambient}
        pictures.append(env.observe([values[name] for name in names]).mean())
    assert pictures[1] > 1.15 * pictures[0]
