"""A film of an agent: what it does, where its states go, what it would rather do, and what they look like to it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from PIL import Image
from sklearn.decomposition import PCA

from srl_bench.config import RLConfig, options
from srl_bench.encoder import encode_rows
from srl_bench.errors import ConfigError
from srl_bench.rl import load_run
from srl_bench.rollouts import Rollouts, open_rollouts
from srl_bench.segments import actor
from srl_bench.sources import Source

FRAME_MILLISECONDS = 80
TRAINING_ROWS = 2_000


@dataclass(frozen=True)
class Step:
    """One moment of an episode."""

    picture: NDArray[np.uint8]
    state: NDArray[np.float32]
    preference: NDArray[np.float64]
    total: float
    """Return before the step, at the last one that of the episode."""


def enjoy(run: Path, out: Path, *, episode: int = 0, data: Path | None = None) -> Path:
    """Write a film of one evaluation episode of a trained agent.

    Args:
        run: folder of `train_agent`.
        out: a .gif, or an .mp4 (pip install 'srl-bench[formats]').
        episode: number of the episode; all differ.
        data: rollouts that the encoder was trained on, whose nearest frame is shown; by default those of the suite
            that the agent belongs to, if it does to one.

    Raises:
        ConfigError: the film has another ending.
        DataError: the folder holds no finished agent.
    """
    if out.suffix not in (".gif", ".mp4"):
        raise ConfigError(f"a film is written as .gif or .mp4, not as {out.name!r}.")
    agent, venv, source, about = load_run(run, render_mode="rgb_array")
    steps, label = episode_of(agent, venv, source, episode, options(RLConfig, about["rl"]))
    venv.close()
    rollouts = _training_data(run, data) if source.encoder is not None else None
    films = frames(steps, label, source, rollouts)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".gif":
        images = [Image.fromarray(frame) for frame in films]
        images[0].save(out, save_all=True, append_images=images[1:], duration=FRAME_MILLISECONDS, loop=0)
        return out
    from srl_bench.convert.video import VideoWriter

    writer = VideoWriter(out, 1000 // FRAME_MILLISECONDS, films[0].shape[:2], "h264")
    writer.write(np.stack(films))
    writer.close()
    return out


def episode_of(agent: Any, venv: Any, source: Source, episode: int, config: RLConfig) -> tuple[list[Step], str]:
    """Play an evaluation episode with the agent's most likely actions; return its steps and what preferences are."""
    venv.unwrapped.indices = [episode]
    venv.seed(config.eval_seed)
    observations, starts, total = venv.reset(), np.array([True]), 0.0
    act, steps, label = actor(agent, venv), [], ""
    while True:
        actions = act(observations, starts)
        label, preference = preferences(agent, observations, actions)
        state = _state(agent, source, observations, config.frame_stack)
        steps.append(Step(venv.get_images()[0], state, preference, total))
        observations, rewards, starts, _ = venv.step(actions)
        total += float(rewards[0])
        if starts[0]:
            steps[-1] = replace(steps[-1], total=total)
            return steps, label


def preferences(agent: Any, observations: Any, actions: NDArray) -> tuple[str, NDArray[np.float64]]:
    """Return what the agent would rather do: probabilities or values of actions where it has them, or its action."""
    space, policy = agent.action_space, agent.policy
    with torch.no_grad():
        if isinstance(space, spaces.Discrete) and hasattr(policy, "obs_to_tensor"):
            inputs = policy.obs_to_tensor(observations)[0]
            if hasattr(policy, "q_net"):
                return "action values", policy.q_net(inputs)[0].double().numpy(force=True)
            if hasattr(policy, "quantile_net"):
                return "action values", policy.quantile_net(inputs)[0].mean(0).double().numpy(force=True)
            if hasattr(policy, "get_distribution") and not hasattr(policy, "lstm_actor"):
                probabilities = policy.get_distribution(inputs).distribution.probs
                return "action probabilities", probabilities[0].double().numpy(force=True)
    if isinstance(space, spaces.Discrete):
        return "action", np.eye(int(space.n))[int(actions[0] - space.start)]
    return "action", np.asarray(actions[0], dtype=np.float64)


def _state(agent: Any, source: Source, observations: NDArray, stack: int) -> NDArray[np.float32]:
    """Return the state that the agent sees now: of the encoder or its factors, or its own network's features."""
    if observations.ndim > 2:
        policy = agent.policy
        own = next(
            network.features_extractor
            for network in (policy, *(getattr(policy, name, None) for name in ("actor", "q_net", "quantile_net")))
            if getattr(network, "features_extractor", None) is not None
        )
        with torch.no_grad():
            return policy.extract_features(policy.obs_to_tensor(observations)[0], own)[0].numpy(force=True)
    normaliser = agent.get_vec_normalize_env()
    plain = observations if normaliser is None else normaliser.get_original_obs()
    if source.encoder is None:
        return plain[0]
    # stacked observations end with the present one, which begins with the encoder's state
    width = source.encoder.state_dim
    return plain[0].reshape(stack, -1)[-1, :width]


def _training_data(run: Path, data: Path | None) -> Rollouts | None:
    cell = run.parent / "cell.json"
    if data is None and cell.exists():
        data = Path(json.loads(cell.read_text())["rollouts"])
    return open_rollouts(data) if data is not None and data.exists() else None


def frames(steps: list[Step], label: str, source: Source, rollouts: Rollouts | None) -> list[NDArray[np.uint8]]:
    """Draw every step; return pictures of equal size (H, W, 3)."""
    states = np.stack([step.state for step in steps])
    known, images = states, None
    if rollouts is not None and source.encoder is not None and source.encoder.state_dim == states.shape[1]:
        train = np.flatnonzero(rollouts.split == 0)
        rows = train[:: max(1, len(train) // TRAINING_ROWS)]
        known, images = encode_rows(source.encoder, rollouts, rows), rollouts.observations[rows]
    axes_of = PCA(min(2, states.shape[1], len(known))).fit(known)
    path, cloud = _planar(axes_of.transform(states)), _planar(axes_of.transform(known))
    figure, axes = plt.subplots(1, 3 if images is None else 4, figsize=(9.6 if images is None else 12.8, 3.2), dpi=75)
    shown = axes[0].imshow(steps[0].picture)
    axes[1].scatter(*cloud.T, s=2, color="0.8", linewidths=0)
    (line,), (point,) = axes[1].plot([], [], color="#2a78b5"), axes[1].plot([], [], "o", color="crimson")
    axes[1].set(title="states, two principal components", xticks=[], yticks=[])
    axes[1].set_xlim(*_limits(np.concatenate([path, cloud])[:, 0]))
    axes[1].set_ylim(*_limits(np.concatenate([path, cloud])[:, 1]))
    all_preferences = np.stack([step.preference for step in steps])
    bars = axes[2].bar(np.arange(all_preferences.shape[1]), all_preferences[0], color="#2a78b5")
    axes[2].set(title=label, ylim=_limits(np.append(all_preferences, 0)), xticks=np.arange(all_preferences.shape[1]))
    if images is not None:
        nearest = axes[3].imshow(images[0])
        axes[3].set(title="nearest training frame", xticks=[], yticks=[])
    axes[0].set(xticks=[], yticks=[])
    figure.tight_layout()
    drawn = []
    for index, step in enumerate(steps):
        shown.set_data(step.picture)
        axes[0].set_title(f"step {index}, return {step.total:.1f}")
        line.set_data(*path[: index + 1].T)
        point.set_data(*path[index : index + 1].T)
        for bar, height in zip(bars, step.preference, strict=True):
            bar.set_height(height)
        if images is not None:
            nearest.set_data(images[np.square(known - step.state).sum(axis=1).argmin()])
        figure.canvas.draw()
        drawn.append(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())  # type: ignore[attr-defined]
    plt.close(figure)
    return drawn


def _planar(points: NDArray) -> NDArray:
    """Return points (n, 2); those of one dimension lie on a line."""
    return np.hstack([points, np.zeros((len(points), 2 - points.shape[1]))])


def _limits(values: NDArray) -> tuple[float, float]:
    margin = 0.05 * float(np.ptp(values)) or 1.0
    return float(values.min()) - margin, float(values.max()) + margin
