"""Checkpoints of agents as plain tensors and JSON: nothing that is read can execute code.

(The files of Stable-Baselines3 itself are pickles.) A checkpoint is written between episodes, so that it need not hold
the environments: see `srl_bench.rl`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize

from srl_bench.agents import ARS, CMAES
from srl_bench.curiosity import CuriousVecEnv
from srl_bench.errors import DataError
from srl_bench.rollouts import atomic_folder

# What algorithms count, besides what their networks and optimisers hold.
COUNTERS = (
    "num_timesteps",
    "_n_updates",
    "_episode_num",
    "_n_calls",
    "exploration_rate",
    "_current_progress_remaining",
)
REPLAY = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def save_checkpoint(folder: Path, agent: BaseAlgorithm, facts: dict[str, Any]) -> None:
    """Write a checkpoint; one that is there is replaced in one step.

    Args:
        folder: where to.
        agent: with its environments, whose running statistics and curiosity are stored as well.
        facts: anything that JSON can hold.
    """
    tensors: dict[str, torch.Tensor] = {}
    state = {
        "facts": facts,
        "counters": {name: getattr(agent, name) for name in COUNTERS if hasattr(agent, name)},
        "parameters": {name: _pack(f"parameters/{name}", value, tensors) for name, value in _learned(agent).items()},
        "wrappers": _pack("wrappers", _wrapper_states(agent.get_env()), tensors),
    }
    with atomic_folder(folder, replace=True) as path:
        buffer = getattr(agent, "replay_buffer", None)
        if buffer is not None:
            state["replay"] = {"pos": buffer.pos, "full": buffer.full}
            for name in REPLAY:
                if hasattr(buffer, name):
                    rows = getattr(buffer, name)
                    np.save(path / f"replay_{name}.npy", rows if buffer.full else rows[: buffer.pos])
        save_file(tensors, path / "state.safetensors")
        (path / "state.json").write_text(json.dumps(state))


def load_checkpoint(folder: Path, agent: BaseAlgorithm) -> dict[str, Any]:
    """Bring an agent that was made from the same configuration to where another one was; return the facts.

    Raises:
        DataError: a file is missing or damaged, or is of another agent.
    """
    try:
        state = json.loads((folder / "state.json").read_text())
        tensors = load_file(folder / "state.safetensors")
        for name in _learned(agent):
            _restore(agent, name, _unpack(state["parameters"][name], tensors))
        for wrapper, value in zip(_stateful(agent.get_env()), _unpack(state["wrappers"], tensors), strict=True):
            _import(wrapper, value)
        for name in COUNTERS:
            if hasattr(agent, name):
                setattr(agent, name, state["counters"][name])
        buffer = getattr(agent, "replay_buffer", None)
        if buffer is not None:
            buffer.pos, buffer.full = int(state["replay"]["pos"]), bool(state["replay"]["full"])
            for name in REPLAY:
                if hasattr(buffer, name):
                    rows = np.load(folder / f"replay_{name}.npy", allow_pickle=False)
                    getattr(buffer, name)[: len(rows)] = rows
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise DataError(
            f"the checkpoint {folder} is damaged or of another agent ({error}); delete it to start anew."
        ) from error
    return state["facts"]


def save_policy(folder: Path, agent: BaseAlgorithm) -> None:
    """Write what acting needs: `agent.safetensors`, and `normalisation.safetensors` if observations are normalised."""
    weights = {name: value.detach().cpu().clone().contiguous() for name, value in agent.policy.state_dict().items()}
    save_file(weights, folder / "agent.safetensors")
    normaliser = agent.get_vec_normalize_env()
    if normaliser is not None:
        tensors: dict[str, torch.Tensor] = {}
        state = _pack("normalisation", _export(normaliser), tensors)
        save_file(tensors, folder / "normalisation.safetensors")
        (folder / "normalisation.json").write_text(json.dumps(state))


def load_policy(folder: Path, agent: BaseAlgorithm) -> None:
    """Read what `save_policy` wrote into an agent made from the same configuration.

    Raises:
        DataError: a file is missing or damaged, or is of another agent.
    """
    try:
        agent.policy.load_state_dict(load_file(folder / "agent.safetensors"))
        normaliser = agent.get_vec_normalize_env()
        if normaliser is not None:
            state = json.loads((folder / "normalisation.json").read_text())
            _import(normaliser, _unpack(state, load_file(folder / "normalisation.safetensors")))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise DataError(f"{folder} holds no agent that fits its config.json: {error}") from error


def _learned(agent: BaseAlgorithm) -> dict[str, Any]:
    """Return the state of networks and optimisers, and single variables, by name."""
    _, variables = agent._get_torch_save_params()
    found: dict[str, Any] = {**agent.get_parameters(), **{name: getattr(agent, name).detach() for name in variables}}
    if isinstance(agent, CMAES):
        found["told"] = np.array(agent.told)
    return found


def _restore(agent: BaseAlgorithm, name: str, value: Any) -> None:
    if name == "told":
        assert isinstance(agent, CMAES)
        agent.repeat(value.numpy())
    elif isinstance(value, torch.Tensor):
        getattr(agent, name).data.copy_(value)
    else:
        attrgetter(name)(agent).load_state_dict(value)
        if isinstance(agent, ARS):
            agent.weights = torch.nn.utils.parameters_to_vector(agent.policy.parameters()).detach()  # type: ignore[assignment]


def _stateful(venv: VecEnv | None) -> Iterator[VecNormalize | CuriousVecEnv]:
    while isinstance(venv, VecEnvWrapper):
        if isinstance(venv, VecNormalize | CuriousVecEnv):
            yield venv
        venv = venv.venv


def _wrapper_states(venv: VecEnv | None) -> list[dict[str, Any]]:
    return [_export(wrapper) for wrapper in _stateful(venv)]


def _export(wrapper: VecNormalize | CuriousVecEnv) -> dict[str, Any]:
    if isinstance(wrapper, CuriousVecEnv):
        return wrapper.export_state()
    running = {"obs": getattr(wrapper, "obs_rms", None), "ret": wrapper.ret_rms}
    return {
        name: {key: np.asarray(getattr(rms, key), np.float64) for key in ("mean", "var", "count")}
        for name, rms in running.items()
        if rms is not None
    }


def _import(wrapper: VecNormalize | CuriousVecEnv, state: dict[str, Any]) -> None:
    if isinstance(wrapper, CuriousVecEnv):
        wrapper.import_state(state)
        return
    for name, values in state.items():
        rms = getattr(wrapper, f"{name}_rms")
        rms.mean, rms.var, rms.count = values["mean"].numpy(), values["var"].numpy(), float(values["count"])


def _pack(name: str, value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Return a tree of dictionaries and lists for JSON; its arrays go to `tensors`, under their place in it."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if isinstance(value, torch.Tensor):
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(value, dict):  # as pairs, because the keys of optimisers are numbers
        return {"items": [[key, _pack(f"{name}/{key}", item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_pack(f"{name}/{index}", item, tensors) for index, item in enumerate(value)]}
    return {"value": value}


def _unpack(value: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Any:
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "items" in value:
        return {key: _unpack(item, tensors) for key, item in value["items"]}
    return [_unpack(item, tensors) for item in value["list"]] if "list" in value else value["value"]
