"""Write meshes with a normal for every triangle that stays what it is when the renderer normalises it.

TinyRenderer normalises the normals of a mesh in place, anew in every picture. In single precision many vectors never
settle but go back and forth between two neighbours, and with them, at a pixel in a thousand pictures, a colour: what is
seen would depend on how many pictures were drawn before. Without normals in the file, PyBullet computes such ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def write_mesh(file: Path, corners: Sequence[Sequence[float]], faces: Sequence[Sequence[int]]) -> None:
    """Write a .obj file of triangles: corners (n, 3), faces (m, 3) as numbers of corners from 0."""
    vertices = np.round(np.asarray(corners, float), 5)
    lines = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in vertices.tolist()]
    a, b, c = (vertices[np.asarray(faces)[:, i]] for i in range(3))
    normals = [steady(normal) for normal in np.cross(b - a, c - a)]
    lines += ["vn " + " ".join(np.format_float_positional(x, trim="0") for x in normal) for normal in normals]
    lines += [f"f {i + 1}//{n} {j + 1}//{n} {k + 1}//{n}" for n, (i, j, k) in enumerate(faces, 1)]
    file.write_text("\n".join(lines) + "\n")


def steady(vector: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the direction of a vector (3,) as float32 whose length is 1 in whatever order it is computed."""
    length = np.linalg.norm(vector)
    if length == 0:  # a triangle without an area is not seen
        return np.array([0, 0, 1], np.float32)
    return next(candidate for candidate in _near(vector / length) if _is_steady(candidate))


def _near(vector: NDArray[np.float64]) -> Iterator[NDArray[np.float32]]:
    """Yield vectors of length 1, the first one as near as float32 allows, ever further away."""
    rng = np.random.default_rng(0)
    largest = np.abs(vector).argmax()
    for distance in [0.0, *np.geomspace(1e-7, 1e-4, 1000)]:
        near = np.where(vector == 0, 0.0, vector + distance * rng.uniform(-1, 1, 3)).astype(np.float32)
        near[largest] = 0
        near[largest] = np.copysign(np.sqrt(1 - (near.astype(np.float64) ** 2).sum()), vector[largest])
        yield near


def _is_steady(vector: NDArray[np.float32]) -> bool:
    x, y, z = squares = vector * vector
    exact = vector.astype(np.float64) ** 2
    sums = (x + y + z, z + y + x, y + z + x, np.float32(exact.sum()), squares.sum())
    # a sum one step of float32 away from 1 still has the root 1; the exact one is nearer: machines may fuse operations
    return all(np.sqrt(np.float32(s)) == 1 for s in sums) and abs(exact.sum() - 1) < 3e-8
