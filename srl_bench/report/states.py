"""What an encoder makes of test frames: their places in state space, their neighbours, walks along components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from srl_bench.decoder import Decoder
from srl_bench.encoder import Encoder, encode_rows, observations_for
from srl_bench.errors import DataError
from srl_bench.metrics.search import nearest, search
from srl_bench.rollouts import SPLITS, Rollouts

POOL, SHOWN, QUERIES = 1_000, 400, 5
NEIGHBOURS, WALK_STEPS, COMPONENTS = 6, 7, 3
TRAVERSED = 5
EXTENT = 1_000


@dataclass(frozen=True)
class Sample:
    """Test frames that all encoders of an environment are shown with.

    Attributes:
        rollouts: the data.
        pool: (P,) rows among which neighbours are looked for.
        shown: places in `pool` of the frames of the state-space plot.
        queries: places in `pool` of the frames whose neighbours are shown, each of another episode.
    """

    rollouts: Rollouts
    pool: NDArray[np.int64]
    shown: NDArray[np.int64]
    queries: NDArray[np.int64]

    @property
    def episodes(self) -> NDArray[np.int64]:
        """(P,) the episode of each frame of the pool."""
        return self.rollouts.episode_ids[self.pool]


@dataclass(frozen=True)
class View:
    """What is shown of one encoder.

    Attributes:
        points: (n, 3) coordinates of the shown frames on the leading principal components, integers up to `EXTENT`.
        shares: (3,) of the variance of the pool's states that the components explain.
        neighbours: (Q, k) rows of the nearest frames of other episodes.
        distances: (Q, k) Euclidean, between standardised states.
        walks: (C, T) rows of the frames nearest to equally spaced points along each component.
        states: (P, d) of the pool.
    """

    points: NDArray[np.int64]
    shares: NDArray[np.float64]
    neighbours: NDArray[np.int64]
    distances: NDArray[np.float64]
    walks: NDArray[np.int64]
    states: NDArray[np.float64]

    @property
    def is_constant(self) -> bool:
        """Whether all frames have the same state."""
        return not self.shares.any()


def sample(rollouts: Rollouts, pool: int = POOL, shown: int = SHOWN) -> Sample:
    """Choose test frames, evenly spaced in the test episodes.

    Raises:
        DataError: fewer than two test episodes.
    """
    test = np.flatnonzero(rollouts.split == SPLITS.index("test"))
    n_episodes = len(np.unique(rollouts.episode_ids[test]))
    if n_episodes < 2:
        raise DataError(f"{rollouts.path} has {n_episodes} test episode(s); neighbours of other episodes need two.")
    rows = test[_spread(len(test), pool)]
    episodes = rollouts.episode_ids[rows]
    chosen = np.unique(episodes)
    queries = []
    for place, episode in enumerate(chosen[_spread(len(chosen), QUERIES)]):
        inside = np.flatnonzero(episodes == episode)
        # One early in its episode, the next one later, and so on.
        queries.append(inside[int((place + 0.5) / QUERIES * len(inside))])
    return Sample(rollouts, rows, _spread(len(rows), shown), np.array(queries))


def look(encoder: Encoder, chosen: Sample) -> View:
    """Encode the frames of a sample and find what is shown of them."""
    states = states_of(encoder, chosen.rollouts, chosen.pool).astype(np.float64)
    n_components = min(COMPONENTS, states.shape[1])
    centred = states - states.mean(axis=0)
    if (np.abs(centred) < 1e-9).all():
        pca_axes, shares = np.eye(n_components, states.shape[1]), np.zeros(COMPONENTS)
    else:
        pca = PCA(n_components, svd_solver="full").fit(states)
        pca_axes, shares = pca.components_, np.pad(pca.explained_variance_ratio_, (0, COMPONENTS - n_components))
    projected = np.pad(centred @ pca_axes.T, ((0, 0), (0, COMPONENTS - n_components)))
    extent = max(float(np.abs(projected[chosen.shown]).max()), 1e-12)
    points = (projected[chosen.shown] * (EXTENT / extent)).round().astype(np.int64)
    k = min(NEIGHBOURS, _fewest_others(chosen.episodes))
    index, distances = nearest(states, k, chosen.episodes, queries=chosen.queries)
    walks = _walks(centred, pca_axes)
    return View(points, shares, chosen.pool[index], distances, chosen.pool[walks], states)


def states_of(encoder: Encoder, rollouts: Rollouts, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the states (n, d) of rows; a recurrent encoder reads the episodes that they are of, and no others."""
    if encoder.network.memory is None:
        return encode_rows(encoder, rollouts, rows)
    needed = np.flatnonzero(np.isin(rollouts.episode_ids, rollouts.episode_ids[rows]))
    lengths = np.unique(rollouts.episode_ids[needed], return_counts=True)[1]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    observations = observations_for(encoder, rollouts)[needed]
    states = encoder.encode_episodes(observations, rollouts.actions[needed], offsets)
    return states[np.searchsorted(needed, rows)]


def traversals(decoder: Decoder, states: NDArray, start: NDArray) -> dict[int, NDArray[np.uint8]]:
    """Return pictures (T, H, W, C) of the state `start` (d,) with one dimension changed, by dimension.

    It goes from the 2nd to the 98th percentile of the states (n, d). The dimensions are those that change the picture
    most, in mean square, the first of them first.
    """
    stops = np.tile(start, (states.shape[1], WALK_STEPS, 1))
    low, high = np.quantile(states, [0.02, 0.98], axis=0)
    each = np.arange(states.shape[1])
    stops[each, :, each] = np.linspace(low, high, WALK_STEPS).T
    pictures = decoder.decode(stops.reshape(-1, states.shape[1])).reshape(*stops.shape[:2], *decoder.image_shape)
    change = pictures.astype(np.float32).var(axis=1).reshape(len(each), -1).mean(axis=1)
    return {int(dimension): pictures[dimension] for dimension in np.argsort(-change, kind="stable")[:TRAVERSED]}


def _walks(centred: NDArray, axes: NDArray) -> NDArray[np.int64]:
    """Return (C, T) states nearest to points on lines through the mean, from the 2nd to the 98th percentile."""
    low, high = np.quantile(centred @ axes.T, [0.02, 0.98], axis=0)
    stops = np.linspace(low, high, WALK_STEPS)[:, :, None] * axes  # (T, C, d)
    found, _ = search(stops.swapaxes(0, 1).reshape(-1, centred.shape[1]), centred, 1)
    return found.reshape(len(axes), WALK_STEPS)


def _fewest_others(episodes: NDArray) -> int:
    """Return the number of frames of other episodes that the longest episode has."""
    return int(len(episodes) - np.unique(episodes, return_counts=True)[1].max())


def _spread(length: int, count: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(np.int64))
