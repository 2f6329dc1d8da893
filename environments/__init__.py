"""Simulated robots behind the Gymnasium interface; importing this package registers their ids."""

if __name__ == "environments":
    raise ImportError("this folder is the package srl_bench.environments; import it by that name")

import os

from srl_bench.registry import import_room


def _import_pybullet_silently() -> None:
    """PyBullet prints its build time to the file descriptor of stderr when it is imported."""
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import pybullet  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


_import_pybullet_silently()
import_room(__name__)
