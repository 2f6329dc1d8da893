"""The pages of environments: task, pictures, factors, actions, options, recording policy."""

from __future__ import annotations

import inspect
import io
from typing import Any, NamedTuple

import docstring_parser
import numpy as np
from PIL import Image
from writing import code, commands, default, described, prose, table, value_range

from srl_bench.config import RecordConfig
from srl_bench.environments import environment_class, environment_ids, make_environment
from srl_bench.environments.simulator import DOMAINS, SimulatorEnv
from srl_bench.factors import Factor

SIZE = 224
INTRO = (
    "Pictures are of the default camera. The knobs that all environments share, recording and other data formats are "
    "in [Environments and data](../../environments.md)."
)
LEGEND = (
    "*Scope*: changes at every step, or once per episode. *Role*: part of the task, a distractor, or a nuisance of the "
    "look. *Shown by*: one frame, a stack of several, or never. *Own*: the robot knows it of itself (proprioception)."
)


class Environment(NamedTuple):
    """What a page needs beyond the class: the factors with default options, and PNG files by camera or domain."""

    name: str
    cls: Any
    factors: tuple[Factor, ...]
    pictures: dict[str, bytes]


def environment_pages() -> dict[str, str | bytes]:
    """Return pages and pictures by their path."""
    ours = [name for name in environment_ids() if name.startswith("srl_bench/")]
    known = {name.removeprefix("srl_bench/").removesuffix("-v0"): looked_at(name) for name in ours}
    made: dict[str, str | bytes] = {"index.md": index(known)}
    for short, environment in known.items():
        made[f"{short}.md"] = page(short, environment, list(known))
        made |= {f"{short}-{label}.png": png for label, png in environment.pictures.items()}
    return made


def looked_at(name: str) -> Environment:
    """Return an environment with the first observation of each camera, and of the first one in each other domain."""
    cls = environment_class(name)
    pictures: dict[str, bytes] = {}
    for domain in reversed(DOMAINS):
        views = tuple(cls.cameras) if domain == "sim" else tuple(cls.cameras)[:1]
        env = make_environment(name, {"image_size": SIZE, "views": views, "domain": domain})
        observation, _ = env.reset(seed=0)
        factors = env.unwrapped.factors  # type: ignore[attr-defined]
        env.close()
        shots = observation if isinstance(observation, dict) else {views[0]: observation}
        pictures = {view if domain == "sim" else domain: png(shot) for view, shot in shots.items()} | pictures
    return Environment(name, cls, factors, pictures)


def png(picture: np.ndarray) -> bytes:
    """Return an image (H, W, 3) as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return file.getvalue()


def index(known: dict[str, Environment]) -> str:
    """Return the table of all environments."""
    rows = [
        [
            f"[![{short}]({short}-{next(iter(it.pictures))}.png){{ width=96 }}]({short}.md)",
            f"[`{short}`]({short}.md)",
            prose((inspect.getdoc(it.cls) or "").splitlines()[0]),
            task_factors(it.factors),
            actions(it.cls),
        ]
        for short, it in known.items()
    ]
    return f"# Environments\n\n{INTRO}\n\n{table(['', 'environment', 'task', 'task factors', 'actions'], rows)}\n"


def task_factors(factors: tuple[Factor, ...]) -> str:
    """Return the names of the task's factors; those that the robot knows of itself are only counted."""
    named = [code(factor.name) for factor in factors if factor.role == "task" and not factor.proprioceptive]
    own = sum(factor.proprioceptive for factor in factors)
    return ", ".join([*named, f"{own} of the robot itself"] if own else named)


def page(short: str, environment: Environment, known: list[str]) -> str:
    """Return the page of an environment."""
    name, cls, factors, pictures = environment
    others = set(known) - {short}
    # the class, and those that it builds on and that say what they are
    lineage = [base for base in cls.__mro__ if issubclass(base, SimulatorEnv) and "__doc__" in vars(base)]
    docs = [docstring_parser.google.parse(inspect.getdoc(base) or "") for base in lineage]
    parts = [f"# {short}", f"`{name}`", described(docs[0].description or "", others)]
    for base, doc in zip(lineage[1:-1], docs[1:-1], strict=True):
        if base.__name__ not in known:
            parts.append(f"`{base.__name__}`: {described(doc.description or '', others)}")
    figures = (
        f"<figure markdown>\n![{label}]({short}-{label}.png){{ width={SIZE} }}\n"
        f"<figcaption>{label}</figcaption>\n</figure>"
        for label in pictures
    )
    parts += ["## Pictures", "\n".join(['<div class="pictures" markdown>', *figures, "</div>"])]
    parts.append(
        f"The start of the episode with seed 0, {SIZE} x {SIZE} pixels. Cameras (`views`): "
        f"{', '.join(map(code, cls.cameras))}; the first one is the default, which also shows the domains "
        f"{' and '.join(map(code, DOMAINS[1:]))}."
    )
    rows = [
        [
            code(factor.name),
            factor.unit or "–",
            value_range(factor.low, factor.high),
            factor.kind,
            factor.scope,
            factor.role,
            factor.observable,
            "yes" if factor.proprioceptive else "",
        ]
        for factor in factors
    ]
    titles = ["factor", "unit", "range", "kind", "scope", "role", "shown by", "own"]
    parts += ["## Factors", f"With default options, in the order of `info['state']`.\n\n{table(titles, rows)}", LEGEND]
    facts = [
        ["actions (`action_type`)", actions(cls)],
        ["longest episode (`max_steps`)", f"{cls.default_max_steps} steps; in recordings {RecordConfig.max_steps}"],
        ["recording policy", f"`{cls.recording_policy}`"],
    ]
    parts += ["## Actions and recording", table(["", ""], facts)]
    explained = {param.arg_name: param.description or "" for doc in reversed(docs) for param in doc.params}
    options = [
        [code(key), default(option), prose(explained.get(key, "see above"), others)]
        for key, option in accepted_options(lineage).items()
    ]
    parts += ["## Options", table(["option", "default", "what it is"], options)]
    used = commands(f"srl-bench record --environment {name} --out data/{short.lower()}", f"srl-bench play {name}")
    return "\n\n".join([*parts, "## Use", used, f"Source: `environments/{cls.__module__.split('.')[-1]}.py`"]) + "\n"


def accepted_options(lineage: list[type]) -> dict[str, inspect.Parameter]:
    """Return the keyword arguments of a class and of those that it hands the others on to."""
    found: dict[str, inspect.Parameter] = {}
    for base in lineage:
        for option in inspect.signature(base).parameters.values():
            if option.kind is option.KEYWORD_ONLY:
                found.setdefault(option.name, option)
    return found


def actions(cls: Any) -> str:
    """Return the kinds of actions of an environment's class."""
    sizes = cls.action_sizes.items()
    return ", ".join(f"`{kind}`: {n if kind == 'discrete' else f'{n} in [−1, 1]'}" for kind, n in sizes)
