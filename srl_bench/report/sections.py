"""The parts of a report that are about one environment or one method."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from numpy.typing import NDArray

from srl_bench.config import RAW_PIXELS, TrainConfig, options
from srl_bench.decoder import load_decoder
from srl_bench.encoder import Encoder, load_encoder
from srl_bench.errors import SrlBenchError, UnknownNameError
from srl_bench.factors import Factor
from srl_bench.report.charts import equation, loss_curves
from srl_bench.report.explain import facts
from srl_bench.report.sheet import Sheet
from srl_bench.report.states import Sample, View, look, sample, traversals
from srl_bench.rollouts import Rollouts, open_rollouts
from srl_bench.status import CellState

GALLERY = 8


@dataclass
class Scene:
    """The data set of an environment.

    Attributes:
        index: number of the environment in the report.
        problem: why there are no pictures, "" if there are.
        chosen: the test frames that all encoders are shown with.
        sheet: where all pictures of the environment are.
    """

    index: int
    environment: str
    problem: str = ""
    chosen: Sample | None = None
    sheet: Sheet | None = None

    @property
    def rollouts(self) -> Rollouts | None:
        """The data set, None if it is not there."""
        return None if self.chosen is None else self.chosen.rollouts


@dataclass(frozen=True)
class Frame:
    """A picture: where it is on its sheet, and what a pointer resting on it is told."""

    x: int
    y: int
    title: str


def open_scene(index: int, environment: str, cells: Sequence[CellState]) -> Scene:
    """Open the data set that the cells of an environment read, if it is still there and still the same."""
    about = next(cell.about for cell in cells if cell.environment == environment)
    try:
        rollouts = open_rollouts(about["rollouts"])
        if rollouts.data_hash != about["data_hash"]:
            return Scene(index, environment, f"{about['rollouts']} now holds another data set.")
        chosen = sample(rollouts)
    except SrlBenchError as error:
        return Scene(index, environment, str(error))
    return Scene(index, environment, "", chosen, Sheet(rollouts))


def frame(scene: Scene, row: int, distance: float | None = None) -> Frame:
    """Put a row's observation on the sheet of its scene."""
    assert scene.sheet is not None
    rollouts = scene.sheet.rollouts
    x, y = scene.sheet.add(row)
    where = f"episode {rollouts.episode_ids[row]}, step {rollouts.steps[row]}"
    return Frame(x, y, where if distance is None else f"{where}, distance {distance:.3g}")


def gallery(scene: Scene) -> dict[str, Any]:
    """Return frames of an environment, counts and its factor table."""
    chosen = scene.chosen
    if chosen is None:
        return {"frames": [], "factors": [], "counts": ""}
    rollouts = chosen.rollouts
    rows = chosen.pool[:: max(1, len(chosen.pool) // GALLERY)][:GALLERY]
    size = " x ".join(map(str, rollouts.observations.shape[1:]))
    counts = ", ".join(f"{len(part)} {name}" for name, part in rollouts.info["split"].items())
    return {
        "frames": [frame(scene, row) for row in rows],
        "factors": list(zip(rollouts.factor_table, rollouts.coverage(), strict=True)),
        "counts": f"{len(rollouts):,} observations of {size}; {rollouts.n_episodes} episodes ({counts})",
    }


def plot_data(scene: Scene) -> dict[str, Any] | None:
    """Return what the state-space plots of a scene share: the crop, moment and factors of every shown frame."""
    if scene.chosen is None:
        return None
    rollouts, rows = scene.chosen.rollouts, scene.chosen.pool[scene.chosen.shown]
    frames = [frame(scene, row) for row in rows]

    def described(place: int, factor: Factor) -> dict[str, Any]:
        values = [float(f"{value:.4g}") for value in rollouts.factors[rows, place]]
        return {"name": factor.name, "unit": factor.unit, "kind": factor.kind, "values": values}

    return {
        "frames": [[item.x, item.y] for item in frames],
        "moments": [item.title for item in frames],
        "factors": [described(place, factor) for place, factor in enumerate(rollouts.factor_table)],
    }


def encoder_view(scene: Scene, cell: CellState) -> dict[str, Any]:
    """Return what is shown of a cell's encoder: points, neighbours and walks, or the "problem" why there is nothing."""
    if scene.chosen is None:
        return {"problem": scene.problem}
    if cell.about["data_hash"] != scene.chosen.rollouts.data_hash:
        return {"problem": "trained on another data set than the first cell of this environment."}
    try:
        encoder: Encoder = load_encoder(cell.folder / "encoder")
        view = look(encoder, scene.chosen)
    except SrlBenchError as error:
        return {"problem": str(error)}
    strips = [
        [frame(scene, query), *(frame(scene, *found) for found in zip(rows, distances, strict=True))]
        for query, rows, distances in zip(
            scene.chosen.pool[scene.chosen.queries], view.neighbours, view.distances, strict=True
        )
    ]
    return {
        "problem": "",
        "constant": view.is_constant,
        "points": view.points.tolist(),
        "shares": [round(100 * float(share)) for share in view.shares],
        "strips": strips,
        "walks": [[frame(scene, row) for row in walk] for walk in view.walks],
        "decoded": _decoded(scene, cell, view),
    }


def _decoded(scene: Scene, cell: CellState, view: View) -> dict[str, Any] | None:
    """Return what the method's own decoder makes of states: queries with their reconstructions, and traversals."""
    chosen, folder = scene.chosen, cell.folder / "decoder"
    if chosen is None or not folder.exists():
        return None
    shown = view.states[chosen.queries]
    try:
        decoder = load_decoder(folder)
        images, lines = decoder.decode(shown), traversals(decoder, view.states, shown[0])
    except SrlBenchError as error:
        return {"problem": str(error)}

    def drawn(picture: NDArray[np.uint8], title: str) -> Frame:
        assert scene.sheet is not None
        return Frame(*scene.sheet.add_picture(picture), title)

    return {
        "problem": "",
        "frames": [frame(scene, row) for row in chosen.pool[chosen.queries]],
        "reconstructions": [drawn(image, "reconstruction") for image in images],
        "traversals": [[drawn(image, f"dimension {dimension}") for image in line] for dimension, line in lines.items()],
    }


def training_curves(cells: Sequence[CellState]) -> list[tuple[str, Markup]]:
    """Return name and figure of each loss term of the cells of one environment and method; none if nothing trained."""
    logs = {cell.about["seed"]: cell.folder / "train.csv" for cell in cells}
    return loss_curves({seed: pd.read_csv(log) for seed, log in logs.items() if log.is_file()})


def explanation(method: str, cell: CellState, n_factors: int) -> dict[str, Any]:
    """Return what is known of a method: paragraphs about it, its equation, facts by title, and what is not known why.

    Where a plug-in is missing, objective and equation are those that a trained encoder carries.
    """
    if method == RAW_PIXELS:
        return _explained({}, "An agent that learns from images end to end: there is no encoder.")
    known = {name: value for name, value in cell.about["train"].items() if name in TrainConfig.__dataclass_fields__}
    try:
        return _explained(facts(method, options(TrainConfig, known), n_factors))
    except SrlBenchError as error:
        config = cell.folder / "encoder" / "config.json"
        stored = json.loads(config.read_text())["provenance"] if config.is_file() else {}
        found = {"Objective": stored.get("objective"), "LaTeX": stored.get("latex")}
        advice = " Give its plug-in with --plugin." if isinstance(error, UnknownNameError) else ""
        return _explained({title: text for title, text in found.items() if text}, f"{error}{advice}")


def _explained(found: dict[str, str], problem: str = "") -> dict[str, Any]:
    latex = found.pop("LaTeX", "")
    return {
        "problem": problem,
        "about": paragraphs(found.pop("About", "")),
        "facts": found,
        "latex": latex,
        "equation": equation(latex) if latex else None,
    }


def paragraphs(text: str) -> list[tuple[str, Markup]]:
    """Return the paragraphs of a docstring, each with its kind: "text", "equation" or "tex", which could not be drawn.

    Indented paragraphs are equations; arXiv numbers become links.
    """
    found = []
    for block in re.split(r"\n\s*\n", text) if text else []:
        if not block.startswith("    "):
            found.append(("text", linked(block)))
            continue
        drawn = equation(" ".join(block.split()))
        found.append(("tex", escape(block.strip())) if drawn is None else ("equation", drawn))
    return found


def linked(text: str) -> Markup:
    """Escape a text and link the arXiv numbers in it."""
    link = r'<a href="https://arxiv.org/abs/\1">\1</a>'
    return Markup(re.sub(r"\b(\d{4}\.\d{4,5})\b", link, str(escape(text))))
