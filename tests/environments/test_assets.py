"""Meshes: what the renderer does to their normals may not change what is seen."""

import numpy as np
import pytest

from srl_bench.environments import make_environment
from srl_bench.environments.drawing import over, paste, unsure
from srl_bench.environments.simulator import ASSETS

MESHES = sorted(ASSETS.rglob("*.obj"))
# seen from the top, an edge of the arm had one of two colours, by turns
ALTERNATING = """
0.6378635764122009 0.35678526759147644 0.05026399716734886 0.273574313790488 1.1701119486480118 0.1552485645844383
-1.040869304326743 0.39638956231464606 0.9274627111173046 -0.036674507280741064 0.7604403305086489 0.08058515361009272
0.6177213220274931 0.414266202989998 0.5106351028494296 -0.20238062425153164 2.0
"""
# in which a pixel is as far away on the one body as on the other; or further, by the depths that are returned, but seen
TOUCHING = {
    ("KukaButton", "front"): """
0.534492015838623 -0.1550169736146927 0.058777667582035065 0.546013092554603 -0.15015848456095346 -0.2903746439896431
0.835922023869847 0.011377789032565614 -1.6491571872478819 -0.01412391235720313 0.6537037540041515 -0.22023162447206068
""",
    ("KukaButton", "side"): """
0.520408034324646 -0.5340819358825684 0.8087924122810364 0.44687423588513814 0.16409142605181248 -0.6451961598063415
0.6915952577222543 -0.308770498485453 -0.09432368390897405 -0.08640724048562776 1.4863496676342896 0.41622133996341004
""",
    ("KukaClutter", "front"): """
0.7072743773460388 -0.34355875849723816 0.34590309858322144 0.5560740972805529 0.03350917461848946 -0.4439853726964131
1.236614311452711 -0.1653158774093721 -0.04565388784938359 0.1496896875363171 1.8367813466690306 -0.4517991321771343
0.6408581035271064 0.09050060466336379 0.5979791773802007 0.4152889055541064 0.7361374830198795 -0.2716475080570061
0.63223698110863 -0.41229250295294834 0.3979339810185746 0.47039075782607753 1.0187576730274355 0.368048480622245
""",
}


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


def opened(name, view, size):
    env = make_environment(f"srl_bench/{name}-v0", {"image_size": size, "views": (view,)}).unwrapped
    env.reset(seed=1)
    return env


def test_a_picture_does_not_depend_on_how_many_were_drawn_before():
    env, state = opened("KukaPush", "top", 97), np.array(ALTERNATING.split(), float)
    first = env.observe(state)
    for _ in range(4):
        np.testing.assert_array_equal(env.observe(state), first)
    env.close()


@pytest.mark.parametrize(("name", "view"), TOUCHING)
def test_layers_equal_the_plain_picture_where_bodies_touch(name, view):
    env = opened(name, view, 224)
    np.testing.assert_array_equal(env.observe(np.array(TOUCHING[name, view].split(), float)), env.render_plain())
    env.close()


def test_depths_that_are_too_close_are_left_to_the_renderer():
    """Where nothing is drawn, which is not always at exactly 1, nothing is close."""
    colour, green = np.full((2, 2), 0xFF0000FF, np.uint32), np.full((2, 2, 3), (0, 255, 0), np.uint8)
    depth = np.array([[0.5, 0.5], [1.0, 1.0]], np.float32)
    behind = colour, depth
    for ahead, close in ((0.01, False), (2**-21, True), (0.0, True), (-(2**-21), True), (-0.01, False)):
        front = np.ones((2, 2), np.float32)
        front[0, 1] = depth[0, 1] - ahead
        image, merged = paste((colour, front), green, *unsure(depth)), over((colour, front), behind)
        assert (image is None, merged is None) == (close, close)
        if image is not None:
            assert image.tolist() == np.where(front[..., None] < depth[..., None], (255, 0, 0), green).tolist()
            np.testing.assert_array_equal(merged[1], np.minimum(front, depth))
    front = np.array([[1.0, 1.0], [0.9999999, 0.9999]], np.float32)
    assert paste((colour, front), green, *unsure(depth)).tolist()[1] == [[0, 255, 0], [255, 0, 0]]
