"""Put an encoder on the Hugging Face Hub, with a page that says what it is."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from srl_bench.encoder import Encoder, load_encoder
from srl_bench.errors import DataError, SrlBenchError
from srl_bench.hub import address_of, push_folder
from srl_bench.report.card import model_card
from srl_bench.rollouts import Rollouts, open_rollouts


def push_encoder(
    encoder: Encoder | str | Path,
    repo_id: str,
    *,
    private: bool = False,
    scores: Mapping[str, Any] | None = None,
    rollouts: Rollouts | None = None,
    license: str | None = None,
    token: str | None = None,
) -> str:
    """Upload an encoder and its model card; `load_encoder("hf://user/name")` reads it anywhere.

    Args:
        encoder: an encoder, or the folder of one. Beside the encoder of a suite's cell its scores and data are found.
        repo_id: "user/name" of a repository, which is made if it is not there.
        private: whether only the user may see the repository.
        scores: records by name, as `score_records` returns them.
        rollouts: the data that it was trained on, whose recording the card describes.
        license: an identifier of the Hub, such as "mit" (default: the card names none).
        token: of the Hub, with the right to write (default: the one of `hf auth login`).

    Returns:
        The page of the repository.

    Raises:
        ConfigError, DataError: as `push_folder`, `load_encoder` and `model_card`.
    """
    address_of(repo_id)
    if not isinstance(encoder, Encoder):
        folder = Path(encoder)
        scores = _scores_beside(folder) if scores is None else scores
        rollouts = _rollouts_beside(folder) if rollouts is None else rollouts
        encoder = load_encoder(encoder)
    with tempfile.TemporaryDirectory() as temporary:
        prepared = Path(temporary) / "encoder"
        write_repository(encoder, prepared, repo_id, scores=scores, rollouts=rollouts, license=license)
        return push_folder(prepared, repo_id, private=private, token=token)


def write_repository(encoder: Encoder, folder: Path, repo_id: str, **shown: Any) -> None:
    """Write to a new folder the files of an encoder's repository; `shown` are the options of `model_card`."""
    card = model_card(encoder, repo_id, **shown)
    encoder.save(folder)
    (folder / "README.md").write_text(card, encoding="utf-8")


def read_scores(file: Path) -> dict[str, Any]:
    """Read the scores of a cell.

    Raises:
        DataError: the file holds none.
    """
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{file} holds no scores: {error}.") from error
    if not isinstance(found, dict):
        raise DataError(f"{file} holds no scores by name.")
    return found


def _scores_beside(folder: Path) -> dict[str, Any] | None:
    file = folder.parent / "scores.json"
    return read_scores(file) if folder.name == "encoder" and file.is_file() else None


def _rollouts_beside(folder: Path) -> Rollouts | None:
    """Return the data of a cell; None where they are gone or others by now, which the card then says."""
    file = folder.parent / "cell.json"
    if folder.name != "encoder" or not file.is_file():
        return None
    try:
        about = json.loads(file.read_text())
        rollouts = open_rollouts(about["rollouts"])
        return rollouts if rollouts.data_hash == about["data_hash"] else None
    except SrlBenchError:
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file} is damaged: {error!r}.") from error
