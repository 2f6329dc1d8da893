"""The page of an encoder on the Hugging Face Hub: what it is, told by its own objects."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from srl_bench.encoder import Encoder
from srl_bench.environments import factor_table, make_environment
from srl_bench.errors import ConfigError, DataError, SrlBenchError
from srl_bench.factors import Factor
from srl_bench.hub import address_of
from srl_bench.method import Composed, resolve
from srl_bench.rollouts import Rollouts

PAGE = Path(__file__).parent / "page"
TAGS = ("srl-bench", "state-representation-learning")
# Whatever Markdown, its tables and formulas, HTML, or automatic links could read something into.
MARKS = re.compile(r"([\\`*_{}\[\]<>#|!&~$@]|:(?=//))")


class Trained(TypedDict, total=False):
    """The settings of a training that a card shows."""

    steps: int
    batch_size: int
    learning_rate: float | None
    keep: str
    seed: int


class Origin(TypedDict, total=False):
    """The provenance that a card shows."""

    method: str
    objective: str | None
    latex: str | None
    train: Trained
    environment: str
    environment_kwargs: dict[str, Any]
    data_hash: str
    training_episodes: list[int]
    code_version: str
    versions: dict[str, str | None]
    machine: str
    seconds: float


class Score(TypedDict, total=False):
    """The part of a record of `score_records` that a card shows."""

    value: float | None
    low: float | None
    high: float | None
    ceiling: float | None
    floor: float | None
    noise: float | None
    better: str
    n_rows: int
    n_episodes: int
    warnings: list[str]


def model_card(
    encoder: Encoder,
    repo_id: str,
    *,
    scores: Mapping[str, Any] | None = None,
    rollouts: Rollouts | None = None,
    license: str | None = None,
) -> str:
    """Return the Markdown of a model card.

    Args:
        encoder: what it is about.
        repo_id: "user/name" of its repository.
        scores: records by name, as `score_records` returns them and `scores.json` holds them.
        rollouts: the data that it was trained on, for how they were recorded.
        license: an identifier of the Hub, such as "mit".

    Raises:
        ConfigError: the name of the repository is malformed.
        DataError: provenance or scores have other types than a card shows, or the encoder was trained on other data.
    """
    origin: dict[str, Any] = dict.fromkeys(Origin.__annotations__)
    origin |= _validated(Origin, encoder.provenance, "the provenance of the encoder")
    rated = _validated(dict[str, Score], dict(scores or {}), "the scores")
    if rollouts is not None and rollouts.data_hash != origin["data_hash"]:
        raise DataError(f"the encoder was not trained on {rollouts.path}; give the data set that it was trained on.")
    factors = rollouts.factor_table if rollouts is not None else _factors(origin)
    env = Environment(
        loader=FileSystemLoader(PAGE), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    return env.get_template("card.md").render(
        front=Markup(_front_matter(origin, license)),
        address=Markup(address_of(repo_id)),
        encoder=encoder,
        network=encoder.network.config,
        parameters=sum(parameter.numel() for parameter in encoder.network.parameters()),
        size=" x ".join(map(str, encoder.observation_shape)),
        shape=Markup("(N, {})".format(", ".join(map(str, encoder.observation_shape)))),
        origin=origin,
        train=dict.fromkeys(Trained.__annotations__) | (origin["train"] or {}),
        formula=_formula(origin["latex"]) if origin["latex"] else None,
        about=_about(origin["method"] or ""),
        installed=origin["environment"] in gymnasium.registry,
        call=_call(origin, encoder.observation),
        factors=factors,
        data=_data(rollouts),
        tables=_tables(rated, factors),
        warnings=sorted({note for record in rated.values() for note in record.get("warnings", ())}),
    )


def markdown(text: str) -> str:
    """Return a text on one line, without characters that do not show, and with the marks of Markdown escaped."""
    shown = "".join(sign for sign in " ".join(text.split()) if sign.isprintable())
    return MARKS.sub(r"\\\1", shown)


def _shown(value: Any) -> Any:
    if isinstance(value, Markup):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return markdown(f"{value:.4g}" if isinstance(value, float) else str(value))


def _validated(kind: Any, value: Any, what: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        fault = error.errors()[0]
        raise DataError(f"{what} cannot be shown: {'.'.join(map(str, fault['loc']))}: {fault['msg']}.") from error


def _front_matter(origin: dict[str, Any], license: str | None) -> str:
    named = [origin[key] for key in ("environment", "method") if origin[key]]
    front = {"library_name": "srl-bench", "tags": [*TAGS, *named], **({"license": license} if license else {})}
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True)


def _formula(latex: str) -> Markup:
    """Return an equation that cannot end its own block."""
    for sign, replaced in (("$", r"\$"), ("<", r"\lt "), (">", r"\gt "), ("`", "'")):
        latex = latex.replace(sign, replaced)
    return Markup("$$\n" + " ".join(latex.split()) + "\n$$")


def _about(name: str) -> list[Markup]:
    """Return the paragraphs of what a method says of itself: assumptions and source; none where it is not known."""
    try:
        method = resolve(name)
    except SrlBenchError:
        return []
    text = "" if isinstance(method, Composed) else (sys.modules[type(method).__module__].__doc__ or "").strip()
    blocks = re.split(r"\n\s*\n", text) if text else []
    return [_formula(block) if block.startswith("    ") else _linked(block) for block in blocks]


def _linked(text: str) -> Markup:
    link = r"[\1](https://arxiv.org/abs/\1)"
    return Markup(re.sub(r"\b(\d{4}\.\d{4,5})\b", link, markdown(text)))


def _call(origin: dict[str, Any], observation: str) -> Markup:
    """Return the arguments that make the environment: as Python spells them, they stay on the line of their block."""
    kwargs = (origin["environment_kwargs"] or {}) | ({"obs_type": "state"} if observation == "state" else {})
    named = [f"{name}={value!r}" for name, value in kwargs.items() if name.isidentifier()]
    return Markup(", ".join([repr(origin["environment"]), *named]))


def _factors(origin: dict[str, Any]) -> tuple[Factor, ...]:
    """Return the factors that the environment names; none where it is not installed."""
    try:
        env = make_environment(origin["environment"] or "", origin["environment_kwargs"] or {})
        table = factor_table(env)
    except ConfigError:
        return ()
    env.close()
    return table


def _data(rollouts: Rollouts | None) -> dict[str, Any]:
    """Return how data were recorded, by name; nothing where they are not at hand."""
    if rollouts is None:
        return {}
    settings = {k: v for k, v in rollouts.info["recording"].items() if k not in ("environment", "environment_kwargs")}
    parts = ", ".join(f"{len(part)} {name}" for name, part in rollouts.info["split"].items())
    return {"observations": len(rollouts), "episodes": f"{rollouts.n_episodes} ({parts})", **settings}


def _tables(scores: dict[str, Score], factors: tuple[Factor, ...]) -> dict[str, dict[str, Any]]:
    """Return scores by title of their table: those of all factors together, and those of single ones."""
    names = {factor.name for factor in factors}
    tables: dict[str, dict[str, Any]] = {"Over all factors": {}, "Of single factors": {}}
    for name, record in scores.items():
        low, high = record.get("low"), record.get("high")
        known = low is not None and high is not None and math.isfinite(low) and math.isfinite(high)
        row = dict.fromkeys(Score.__annotations__) | record
        row["interval"] = f"{low:.4g} to {high:.4g}" if known else None
        tables["Of single factors" if name.partition(".")[2] in names else "Over all factors"][name] = row
    return {title: rows for title, rows in tables.items() if rows}
