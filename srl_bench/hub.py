"""Encoders on the Hugging Face Hub: hf://user/name[@revision].

Only the files of an encoder are ever fetched, none larger than one can be, and nothing of them is executed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from srl_bench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SCHEME = "hf://"
FORMS = "give a folder that holds one, or hf://user/name[@revision]"
CARD = "README.md"
LIMITS = {"config.json": 2**26, "model.safetensors": 2**31, CARD: 2**24}
"""The files of a repository, and the most bytes that each may have."""
# No two dots or dashes in a row: names become folders of the cache.
NAME = r"[A-Za-z0-9_]+(?:[.-][A-Za-z0-9_]+)*"


def is_hub_address(text: object) -> TypeGuard[str]:
    """Return whether a text is meant to be an address on the Hub; whether it is a good one, `fetch_encoder` tells."""
    return isinstance(text, str) and text.startswith(SCHEME)


def address_of(repo_id: str, revision: str | None = None) -> str:
    """Return the address of a repository.

    Raises:
        ConfigError: name or revision are malformed.
    """
    address = f"{SCHEME}{repo_id}" + (f"@{revision}" if revision is not None else "")
    if not re.fullmatch(f"{NAME}/{NAME}", repo_id) or len(repo_id) > 96 or repo_id.endswith(".git"):
        raise ConfigError(f"{address!r} does not name a repository; write hf://user/name or hf://user/name@revision.")
    if revision is not None and not re.fullmatch(f"{NAME}(?:/{NAME})*", revision):
        raise ConfigError(f"{address!r} does not name a revision; write a branch, a tag or a commit behind the @.")
    return address


def local_folder(place: str | Path) -> Path:
    """Return the folder of an encoder, which is fetched first if it is given as hf://user/name[@revision]."""
    if not is_hub_address(place):
        return Path(place)
    repo_id, at, revision = place.removeprefix(SCHEME).partition("@")
    return fetch_encoder(repo_id, revision if at else None)


def fetch_encoder(repo_id: str, revision: str | None = None, *, token: str | None = None) -> Path:
    """Fetch the files of an encoder, unless they are in the cache already, and return their folder.

    Under HF_HUB_OFFLINE=1 it is the one that was fetched last.

    Args:
        repo_id: "user/name".
        revision: branch, tag or commit (default: the newest commit).
        token: of the Hub (default: the one of `hf auth login`).

    Raises:
        ConfigError: the name or the revision is malformed, or huggingface_hub is not installed.
        DataError: the repository does not exist, cannot be reached, or holds no encoder.
    """
    address = address_of(repo_id, revision)
    api = _api(token)
    from huggingface_hub.errors import DryRunError, OfflineModeIsEnabled

    names = list(LIMITS)
    with _explained(address):
        try:
            files = api.snapshot_download(repo_id, revision=revision, allow_patterns=names, dry_run=True)
        except DryRunError as error:
            if not isinstance(error.__cause__, OfflineModeIsEnabled):
                raise
            return Path(api.snapshot_download(repo_id, revision=revision, allow_patterns=names, local_files_only=True))
        _check_sizes({file.filename: file.file_size for file in files}, address)
        # the commit whose sizes were checked, whatever the branch points to by now
        return Path(api.snapshot_download(repo_id, revision=files[0].commit_hash, allow_patterns=names))


def push_folder(folder: Path, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
    """Upload the files of an encoder and its card in one commit, to a repository that is made if it is not there.

    Args:
        folder: holds `config.json`, `model.safetensors` and `README.md`.
        repo_id: "user/name".
        private: whether only the user may see the repository.
        token: of the Hub, with the right to write (default: the one of `hf auth login`).

    Returns:
        The page of the repository.

    Raises:
        ConfigError: the name is malformed, huggingface_hub is not installed, or the repository holds other files, or
            is public where a private one was asked for.
        DataError: the Hub refuses, or cannot be reached.
    """
    address = address_of(repo_id)
    api = _api(token)
    from huggingface_hub import CommitOperationAdd

    with _explained(address):
        page = api.create_repo(repo_id, private=private or None, exist_ok=True)
        found = api.model_info(repo_id)
        others = {file.rfilename for file in found.siblings or ()} - {*LIMITS, ".gitattributes"}
        if others:
            listed = ", ".join(sorted(others)[:3])
            raise ConfigError(f"{address} holds other files ({listed}); give the encoder a repository of its own.")
        if private and not found.private:
            raise ConfigError(f"{address} is there already, and public; nothing was uploaded. Give another name.")
        additions = [CommitOperationAdd(name, folder / name) for name in LIMITS]
        api.create_commit(repo_id, additions, commit_message="Upload an encoder of srl_bench")
    return str(page)


def _check_sizes(sizes: dict[str, int | None], address: str) -> None:
    for name, limit in LIMITS.items():
        if name not in sizes:
            if name == CARD:
                continue
            raise DataError(f"{address} is no encoder: {name} is missing.")
        size = sizes[name]
        if size is None or size > limit:
            raise DataError(f"{address} is no encoder: its {name} has {size} bytes; at most {limit} are read.")


def _api(token: str | None) -> HfApi:
    try:
        from huggingface_hub import HfApi
    except ModuleNotFoundError as error:
        raise ConfigError('huggingface_hub is not installed; run pip install "srl-bench[hub]".') from error
    return HfApi(token=token)


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Turn errors of huggingface_hub into ours."""
    # `HTTPError` is that of the HTTP client, of which the failure to connect is one
    from huggingface_hub.errors import (
        DryRunError,
        HfHubHTTPError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except (HTTPError, OSError) as raised:
        # two that stand for another, unless nothing was asked because of HF_HUB_OFFLINE
        error = raised.__cause__ or raised if isinstance(raised, DryRunError | LocalEntryNotFoundError) else raised
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        if isinstance(error, RevisionNotFoundError):
            reason = "has no such revision"
        elif isinstance(error, RepositoryNotFoundError):
            reason = "does not exist, or is private: then log in with `hf auth login`, or set HF_TOKEN"
        elif status in (401, 403):
            reason = "is not yours to write or read: log in with `hf auth login`, or set HF_TOKEN to a token that may"
        elif isinstance(error, LocalEntryNotFoundError):
            reason = "has not been fetched before, and HF_HUB_OFFLINE is set"
        else:
            reason = f"cannot be reached: {' '.join(str(error).split())}"
        raise DataError(f"{address} {reason}.") from raised
