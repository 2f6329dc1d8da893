"""Meshes: what the renderer does to their normals may not change what is seen."""

import numpy as np
import pytest

from srl_bench.environments import make_environment
from srl_bench.environments.simulator import ASSETS

MESHES = sorted(ASSETS.rglob("*.obj"))
# seen from the top, an edge of the arm had one of two colours, by turns
ALTERNATING = [
    *(0.6378635764122009, 0.35678526759147644, 0.05026399716734886, 0.273574313790488, 1.1701119486480118),
    *(0.1552485645844383, -1.040869304326743, 0.39638956231464606, 0.9274627111173046, -0.036674507280741064),
    *(0.7604403305086489, 0.08058515361009272, 0.6177213220274931, 0.414266202989998, 0.5106351028494296),
    *(-0.20238062425153164, 2.0),
]


def rows(file, kind):
    return [line.split()[1:] for line in file.read_text().splitlines() if line.startswith(f"{kind} ")]


@pytest.mark.parametrize("file", MESHES, ids=lambda file: file.stem)
def test_normals_are_at_right_angles_and_stay_when_they_are_normalised(file):
    """In single precision, whatever the order; and they are those of the triangles."""
    corners = np.array(rows(file, "v"), float)
    normals = np.array(rows(file, "vn"), np.float32)
    faces = np.array([[corner.split("//") for corner in row] for row in rows(file, "f")], int) - 1
    assert len(faces) > 7
    assert (faces[:, :, 1] == faces[:, :1, 1]).all()
    own = normals[faces[:, 0, 1]]
    squares = own * own
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        length = np.sqrt((squares[:, order[0]] + squares[:, order[1]]) + squares[:, order[2]])
        np.testing.assert_array_equal(own * (np.float32(1) / length)[:, None], own)
    a, b, c = (corners[faces[:, i, 0]] for i in range(3))
    exact = np.cross(b - a, c - a)
    area = np.linalg.norm(exact, axis=1)
    seen = area > 0
    np.testing.assert_allclose(own[seen], exact[seen] / area[seen, None], atol=2e-4)


def test_a_picture_does_not_depend_on_how_many_were_drawn_before():
    env = make_environment("srl_bench/KukaPush-v0", {"image_size": 97, "views": ("top",)}).unwrapped
    env.reset(seed=1)
    first = env.observe(ALTERNATING)
    for _ in range(4):
        np.testing.assert_array_equal(env.observe(ALTERNATING), first)
    env.close()
