"""Write the meshes of `shapes/`: few triangles, 1 m wide and high, centred. Run: python make_shapes.py"""

from __future__ import annotations

import math
from itertools import pairwise, product
from pathlib import Path

from write_mesh import write_mesh  # type: ignore[import-not-found]

FOLDER = Path(__file__).resolve().parent / "shapes"
SIDES = 10
Mesh = tuple[list[list[float]], list[list[int]]]


def ring(sides: int, height: float) -> list[list[float]]:
    """Return the corners of an upright regular polygon of diameter 1."""
    angles = [2 * math.pi * (i + 0.5) / sides for i in range(sides)]
    return [[math.cos(a) / 2, math.sin(a) / 2, height] for a in angles]


def fan(corners: list[int]) -> list[list[int]]:
    """Return the triangles of a convex polygon."""
    return [[corners[0], a, b] for a, b in pairwise(corners[1:])]


def cylinder() -> Mesh:
    """Return a prism of ten sides."""
    n = SIDES
    faces = fan(list(range(n - 1, -1, -1))) + fan(list(range(n, 2 * n)))
    for i in range(n):
        j = (i + 1) % n
        faces += [[i, j, n + j], [i, n + j, n + i]]
    return ring(n, -0.5) + ring(n, 0.5), faces


def cone() -> Mesh:
    """Return a pyramid of ten sides."""
    n = SIDES
    faces = fan(list(range(n - 1, -1, -1))) + [[i, (i + 1) % n, n] for i in range(n)]
    return [*ring(n, -0.5), [0.0, 0.0, 0.5]], faces


def wedge() -> Mesh:
    """Return a roof: a prism of three sides, its ridge along y."""
    corners = [[x, y, -0.5] for y in (-0.5, 0.5) for x in (-0.5, 0.5)] + [[0.0, y, 0.5] for y in (-0.5, 0.5)]
    return corners, [*fan([0, 2, 3, 1]), [0, 1, 4], [3, 2, 5], *fan([1, 3, 5, 4]), *fan([2, 0, 4, 5])]


def ball() -> Mesh:
    """Return an octahedron with each face divided into four, its corners moved onto a sphere."""
    corners = [[sign * (axis == i) / 2 for i in range(3)] for axis in range(3) for sign in (1.0, -1.0)]
    numbers: dict[frozenset[int], int] = {}

    def middle(a: int, b: int) -> int:
        if frozenset((a, b)) not in numbers:
            numbers[frozenset((a, b))] = len(corners)
            corners.append([(p + q) / math.sqrt(2) for p, q in zip(corners[a], corners[b], strict=True)])
        return numbers[frozenset((a, b))]

    faces = []
    for x, y, z in product((0, 1), repeat=3):
        a, b, c = (x, 2 + y, 4 + z) if (x + y + z) % 2 == 0 else (x, 4 + z, 2 + y)
        ab, bc, ca = middle(a, b), middle(b, c), middle(c, a)
        faces += [[a, ab, ca], [b, bc, ab], [c, ca, bc], [ab, bc, ca]]
    return corners, faces


def main() -> None:
    """Write four meshes."""
    FOLDER.mkdir(exist_ok=True)
    for make in (ball, cone, cylinder, wedge):
        corners, faces = make()
        write_mesh(FOLDER / f"{make.__name__}.obj", corners, faces)
        print(f"{make.__name__}: {len(faces)} triangles")


if __name__ == "__main__":
    main()
