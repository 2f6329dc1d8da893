"""Simulated robots behind the Gymnasium interface; importing this package registers their ids."""

if __name__ == "environments":
    raise ImportError("this folder is the package srl_bench.environments; import it by that name")

from srl_bench.registry import import_room

import_room(__name__)
