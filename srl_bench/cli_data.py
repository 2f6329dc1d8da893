"""The commands about data sets, and what all commands share."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from srl_bench.config import RecordConfig

if TYPE_CHECKING:
    from srl_bench.rollouts import Rollouts

Settings = Annotated[tuple[str, ...], arg(metavar="KEY=VALUE")]
Plugins = Annotated[tuple[str, ...], arg(metavar="FILE|MODULE")]
Formats = Literal["minari", "lerobot", "srl_zoo"]


def record(
    config: Annotated[RecordConfig, arg(name="")],
    out: Path | None = None,
    workers: int | None = None,
    set: Settings = (),
    plugin: Plugins = (),
) -> None:
    """Record rollouts of an environment.

    Example: srl-bench record --environment srl_bench/KukaButton-v0 --frames 20000 --out data/kuka

    Args:
        config: what to record.
        out: folder of the data set (default: data/<environment>-<hash>).
        workers: processes that run episodes, this one included (default: one per core); the data do not depend on it.
        set: arguments of the environment, such as --set image_size=96 action_type=continuous.
        plugin: Python files or modules with plug-ins.
    """
    from srl_bench.record import record
    from srl_bench.report.dataset import print_summary

    config = replace(config, environment_kwargs=settings(set))
    rollouts = record(out=out, workers=workers, plugins=plugin, **asdict(config))
    print_summary(rollouts)
    print(rollouts.path)


def info(data: Positional[str], preview: bool = True, out: Path | None = None) -> None:
    """Describe a data set or a saved encoder; of a data set, also write a contact sheet, a film and histograms.

    Example: srl-bench info data/kuka --out figures/kuka

    Args:
        data: folder that `record` wrote; folder of a saved encoder, or hf://user/name[@revision].
        preview: whether to write pictures.
        out: folder for the pictures (default: preview/ in the data set's folder).
    """
    import json

    from srl_bench.hub import is_hub_address
    from srl_bench.report.dataset import print_summary, write_preview

    if is_hub_address(data) or (Path(data) / "config.json").is_file():
        from srl_bench.encoder import load_encoder

        encoder = load_encoder(data)
        print(f"encoder of {encoder.observation_shape} {encoder.observation}, state of {encoder.state_dim} dimensions")
        print(json.dumps(encoder.provenance, indent=1))
        return
    rollouts = open_data(Path(data))
    print_summary(rollouts)
    if preview:
        print(*write_preview(rollouts, out or rollouts.path / "preview"), sep="\n")


def pack(data: Positional[Path], file: Positional[Path]) -> None:
    """Compress a data set into one file, without loss.

    Example: srl-bench pack data/kuka kuka.zip

    Args:
        data: folder that `record` wrote.
        file: zip file to write.
    """
    from srl_bench.archive import pack

    written = pack(open_data(data), file)
    raw = sum(part.stat().st_size for part in data.glob("*.npy"))
    print(f"{written}: {written.stat().st_size / 1e6:,.1f} MB, {written.stat().st_size / raw:.1%} of the folder")


def unpack(file: Positional[Path], out: Positional[Path]) -> None:
    """Read a data set from a file that `pack` wrote.

    Example: srl-bench unpack kuka.zip data/kuka

    Args:
        file: packed data set.
        out: folder to write.
    """
    from srl_bench.archive import unpack

    print(unpack(file, out).path)


def export(data: Positional[Path], format: Positional[Formats], out: Positional[str]) -> None:
    """Write a data set in another toolbox's format (pip install 'srl-bench[formats]').

    Example: srl-bench export data/kuka lerobot exported/kuka

    Example: srl-bench export data/kuka minari kuka/button-v0

    Args:
        data: folder that `record` wrote.
        format: minari and lerobot lose nothing, srl_zoo stores JPEG images.
        out: folder to write, or the id of a Minari data set.
    """
    from srl_bench import convert

    getattr(convert, f"to_{format}")(open_data(data), out)
    print(out)


def import_(
    format: Positional[Formats],
    source: Positional[str],
    out: Positional[Path],
    state: str | None = "",
    views: tuple[str, ...] = (),
    image_size: int | None = None,
    n_actions: int | None = None,
    action_low: tuple[float, ...] = (),
    action_high: tuple[float, ...] = (),
    seed: int | None = None,
) -> None:
    """Read a data set of another toolbox (pip install 'srl-bench[formats]').

    Example: srl-bench import srl_zoo baxter/record data/baxter --image-size 64

    Example: srl-bench import minari arm/push-v0 data/push --state joints --views front top

    Example: srl-bench import lerobot robot/films data/films --state None --views wrist

    Args:
        format: minari, lerobot (v3), or srl_zoo, the folders of the S-RL Toolbox.
        source: its folder, or the id of a Minari data set.
        out: folder to write.
        state: the ground truth: a key of the infos or the observations of minari, a feature of lerobot, an array of
            srl_zoo; None for data that only pretrain (default: state, observation.state, ground_truth_states).
        views: keys of the observations of minari, or cameras of lerobot (default: all images).
        image_size: height and width of the images (default: as they are).
        n_actions: number of discrete actions of lerobot and srl_zoo (default: one more than the largest).
        action_low: lowest continuous action, a number per dimension (default: as the data say).
        action_high: highest continuous action, a number per dimension (default: as the data say).
        seed: of the split into training, validation and test episodes (default: that of the set, or 0).
    """
    from srl_bench import convert
    from srl_bench.errors import ConfigError

    if len(action_low) != len(action_high):
        raise ConfigError(f"--action-low has {len(action_low)} numbers, but --action-high {len(action_high)}.")
    if views and format == "srl_zoo":
        raise ConfigError("--views is for minari and lerobot; of srl_zoo all images are read.")
    if n_actions is not None and format == "minari":
        raise ConfigError("--n-actions is for lerobot and srl_zoo; the action space of minari says how many there are.")
    options = {
        "observations" if format == "minari" else "cameras": views or None,
        "image_size": image_size,
        "n_actions": n_actions,
        "action_bounds": (action_low, action_high) if action_low else None,
        "seed": seed,
    }
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    given |= {"state": state} if state != "" else {}
    place = Path(source) if Path(source).is_dir() else source
    print(getattr(convert, f"from_{format}")(place, out, **given).path)


def play(environment: Positional[str], set: Settings = (), plugin: Plugins = ()) -> None:
    """Drive an environment by keyboard, in a window that needs a display, and watch its factors.

    Of up to ten actions, the digits are 0 to 9 and the arrows right, left, up and down the first four. Of more, up and
    down choose one, shown above the factors, and right takes it; the digits take 0 to 9 at once. Of continuous
    actions, the keys q w e r t y u i move one number each up, and a s d f g h j k down. Held keys repeat; n starts a
    new episode, x ends.

    Example: srl-bench play srl_bench/KukaButton-v0 --set button=moving

    Args:
        environment: Gymnasium id.
        set: arguments of the environment, such as --set domain=twin distractors=3.
        plugin: Python files or modules with plug-ins.
    """
    from srl_bench.play import play

    load_plugins(plugin)
    play(environment, settings(set))


def open_data(path: Path) -> Rollouts:
    """Open a data set."""
    from srl_bench.rollouts import open_rollouts

    return open_rollouts(path)


def settings(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Return KEY=VALUE pairs as a dictionary; a value that is no Python literal is a string."""
    import ast

    from srl_bench.errors import ConfigError

    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise ConfigError(f"settings are given as KEY=VALUE, such as image_size=96, not {pair!r}.")
        try:
            found[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[key] = value
    return found


def load_plugins(plugins: tuple[str, ...]) -> None:
    """Import plug-ins."""
    from srl_bench.registry import load_plugin

    for plugin in plugins:
        load_plugin(plugin)
