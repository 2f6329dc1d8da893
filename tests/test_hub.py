"""Encoders on the Hub: a round trip through a local one, what is refused, and the card against its sources."""

import json
import re
import shutil
import sys

import huggingface_hub
import numpy as np
import pytest
import worlds
import yaml
from hub_server import TOKEN, Hub, Repository
from huggingface_hub import constants

import srl_bench as srl
from srl_bench import cli
from srl_bench.encoder import load_encoder
from srl_bench.errors import ConfigError, DataError
from srl_bench.hub import LIMITS, fetch_encoder
from srl_bench.push import push_encoder, write_repository
from srl_bench.report.card import markdown, model_card
from srl_bench.results import save_scores
from srl_bench.score import score_records
from srl_bench.sources import as_source

ADDRESS = "hf://user/name"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub of this process, an empty cache, and a token."""
    with Hub() as server:
        for name, value in {
            "ENDPOINT": server.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_HUB_DISABLE_XET": True,
            "HF_TOKEN_PATH": str(tmp_path / "no_token"),
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        huggingface_hub.close_session()
        yield server
    huggingface_hub.close_session()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return worlds.write(tmp_path_factory.mktemp("data") / "data", worlds.simulate(30, 15, size=8))


@pytest.fixture(scope="module")
def cell(data, tmp_path_factory):
    """What a cell of a suite leaves: an encoder, its scores, and where its data are."""
    folder = tmp_path_factory.mktemp("cell")
    encoder = srl.pretrain("vae(beta=2.0)", data, out=folder, steps=4, body="flatten", latent_dim=3)
    save_scores(score_records(encoder, data, metrics=["ridge_r2", "knn_mse"]), folder)
    (folder / "cell.json").write_text(json.dumps({"rollouts": str(data.path), "data_hash": data.data_hash}))
    return folder


@pytest.fixture
def pushed(hub, cell):
    push_encoder(cell / "encoder", "user/name")
    return hub


def rows(card):
    """Return the rows of all tables of a card by their first column, with escapes undone."""
    found = {}
    for line in re.findall(r"^\| (.*) \|$", card, re.MULTILINE):
        first, *rest = (re.sub(r"\\(.)", r"\1", part) for part in line.split(" | "))
        found[first] = rest
    return found


# There and back


def test_states_are_the_same_bits_after_push_and_fetch(pushed, cell, data):
    fetched = srl.load_encoder(ADDRESS)
    local = load_encoder(cell / "encoder")
    assert fetched.encode(data.observations[:9]).tobytes() == local.encode(data.observations[:9]).tobytes()
    assert fetched.provenance == local.provenance


def test_a_repository_has_exactly_three_files_and_one_commit(pushed, cell):
    repository = pushed.repositories["user/name"]
    content = repository.commits[repository.refs["main"]]
    assert set(content) == {"config.json", "model.safetensors", "README.md", ".gitattributes"}
    assert len(repository.commits) == 2
    assert not repository.private
    for name in ("config.json", "model.safetensors"):
        assert content[name] == (cell / "encoder" / name).read_bytes()


def test_only_the_three_files_are_fetched(pushed):
    pushed.repositories["user/name"].commit({"modeling.py": b"raise SystemExit", "data/config.json": b"{}"})
    folder = fetch_encoder("user/name")
    assert sorted(file.name for file in folder.rglob("*")) == sorted(LIMITS)
    assert not [line for line in pushed.asked if "modeling" in line or "data/" in line]


def test_a_revision_is_that_commit_tag_or_branch(pushed, cell, data):
    repository = pushed.repositories["user/name"]
    first = repository.refs["v1.0"] = repository.refs["main"]
    push_encoder(srl.pretrain("random", data, body="flatten", latent_dim=5), "user/name")
    assert load_encoder(ADDRESS).state_dim == 5
    assert load_encoder(f"{ADDRESS}@v1.0").state_dim == load_encoder(f"{ADDRESS}@{first}").state_dim == 3


def test_offline_the_last_fetched_one_is_read(pushed, monkeypatch):
    load_encoder(ADDRESS)
    pushed.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_encoder(ADDRESS).state_dim == 3
    with pytest.raises(DataError, match=r"hf://user/other has not been fetched before, and HF_HUB_OFFLINE is set"):
        load_encoder("hf://user/other")
    assert pushed.asked == []


def test_agents_and_commands_take_an_address(pushed, cell, data, monkeypatch, capsys):
    source = as_source(f"{ADDRESS}+proprioception")
    assert (source.name, source.factors) == ("vae(beta=2.0)+proprioception", "proprioception")
    for command in (["info", ADDRESS], ["score", ADDRESS, str(data.path), "--metrics", "ridge_r2", "--no-intervals"]):
        monkeypatch.setattr(sys, "argv", ["srl-bench", *command])
        cli.main()
    out = capsys.readouterr().out
    assert "state of 3 dimensions" in out
    assert "ridge_r2" in out


def test_the_command_pushes(hub, cell, monkeypatch, capsys):
    command = ["push", str(cell / "encoder"), "user/name", "--private", "--license", "mit"]
    monkeypatch.setattr(sys, "argv", ["srl-bench", *command])
    cli.main()
    assert capsys.readouterr().out.splitlines() == [f"{hub.url}/user/name", f"srl.load_encoder('{ADDRESS}')"]
    assert hub.repositories["user/name"].private
    assert (
        "license: mit"
        in hub.repositories["user/name"].commits[hub.repositories["user/name"].refs["main"]]["README.md"].decode()
    )


# What is refused


@pytest.mark.parametrize(
    "address",
    ["hf://", "hf://name", "hf://user/..", "hf://../name", "hf:///etc/passwd", "hf://user/name/more", "hf://user/a b",
     "hf://user/na--me", "hf://user/name.git", "hf://user/name@", "hf://user/name@..", "hf://user/name@../../x",
     "hf://user/name@/etc", "hf://user/name@a//b", "hf://user/name\n", "hf://user/name@main\n", "hf://us?r/name",
     "hf://user/" + "n" * 100],
)  # fmt: skip
def test_malformed_addresses_are_refused_before_any_request(hub, address):
    with pytest.raises(ConfigError, match=r"does not name a (repository|revision); write"):
        load_encoder(address)
    assert hub.asked == []


@pytest.mark.parametrize("name", ["", "name", "../name", "user/..", "hf://user/name", "user/name@main", "/user/name"])
def test_malformed_names_are_not_pushed_to(hub, cell, name):
    with pytest.raises(ConfigError, match="does not name a repository"):
        push_encoder(cell / "encoder", name)
    assert hub.asked == []


def test_what_is_neither_folder_nor_address_names_both_forms(tmp_path):
    for place in ("user/name", tmp_path / "nowhere"):
        with pytest.raises(
            DataError, match=r"is missing; give a folder that holds one, or hf://user/name\[@revision\]"
        ):
            load_encoder(place)


def test_what_is_not_there_is_named(pushed):
    with pytest.raises(DataError, match=r"hf://user/other does not exist, or is private.*hf auth login"):
        load_encoder("hf://user/other")
    with pytest.raises(DataError, match=r"hf://user/name@v9 has no such revision"):
        load_encoder(f"{ADDRESS}@v9")


def test_a_hub_that_does_not_answer_is_named(hub, cell, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for call in (lambda: load_encoder(ADDRESS), lambda: push_encoder(cell / "encoder", "user/name")):
        with pytest.raises(DataError, match=r"hf://user/name cannot be reached: .*refused"):
            call()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_repository_without_a_file_is_no_encoder(pushed, name):
    repository = pushed.repositories["user/name"]
    for files in repository.commits.values():
        files.pop(name, None)
    with pytest.raises(DataError, match=rf"hf://user/name is no encoder: {name} is missing"):
        load_encoder(ADDRESS)


@pytest.mark.parametrize("name", LIMITS)
def test_a_file_that_is_too_large_is_not_fetched(pushed, name):
    pushed.sizes[name] = LIMITS[name] + 1
    with pytest.raises(DataError, match=rf"its {name} has {LIMITS[name] + 1} bytes; at most {LIMITS[name]} are read"):
        load_encoder(ADDRESS)
    assert not [line for line in pushed.asked if line.startswith("GET") and "/resolve/" in line]


def altered(change):
    def config(content):
        value = json.loads(content)
        change(value)
        return json.dumps(value).encode()

    return config


@pytest.mark.parametrize(
    ("name", "tamper", "message"),
    [
        ("model.safetensors", lambda content: content[:-8], "damaged"),
        ("model.safetensors", lambda content: b"\x80\x04cos\nsystem\n", "damaged"),
        ("config.json", lambda content: content[:-9], "damaged"),
        ("config.json", lambda content: b'{"model_type": "bert"}', "damaged"),
        ("config.json", altered(lambda value: value["network"].update(state_dim=4)), "does not fit config.json"),
        ("config.json", altered(lambda value: value["network"].update(state_dim=10**9)), "more than 500,000,000"),
        ("config.json", altered(lambda value: value["network"].update(body="os:system")), "unknown .*body"),
        ("config.json", altered(lambda value: value["provenance"].update(environment=["a"])), "environment.* no str"),
        ("config.json", altered(lambda value: value["provenance"].update(environment_kwargs="a")), "kwargs.* no dict"),
    ],
)
def test_tampered_files_are_refused(pushed, name, tamper, message):
    repository = pushed.repositories["user/name"]
    repository.commit({name: tamper(repository.commits[repository.refs["main"]][name])})
    with pytest.raises((DataError, ConfigError), match=message):
        load_encoder(ADDRESS)


def test_a_repository_of_other_things_is_left_alone(hub, cell):
    hub.repositories["user/name"] = Repository()
    hub.repositories["user/name"].commit({"pytorch_model.bin": b"", "config.json": b"{}"})
    with pytest.raises(ConfigError, match=r"holds other files \(pytorch_model\.bin\); give the encoder a repository"):
        push_encoder(cell / "encoder", "user/name")
    assert len(hub.repositories["user/name"].commits) == 2


def test_what_shall_be_private_does_not_go_into_a_public_repository(hub, cell):
    hub.repositories["user/name"] = Repository()
    with pytest.raises(ConfigError, match="is there already, and public; nothing was uploaded"):
        push_encoder(cell / "encoder", "user/name", private=True)
    assert len(hub.repositories["user/name"].commits) == 1


def test_without_the_right_to_write_the_error_says_how_to_get_it(hub, cell, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(DataError, match=r"not yours to write or read: log in with `hf auth login`"):
        push_encoder(cell / "encoder", "user/name")
    assert push_encoder(cell / "encoder", "user/name", token=TOKEN) == f"{hub.url}/user/name"


def test_without_the_library_the_error_names_the_extra(cell, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: load_encoder(ADDRESS), lambda: push_encoder(cell / "encoder", "user/name")):
        with pytest.raises(ConfigError, match=r'pip install "srl-bench\[hub\]"'):
            call()


# The card


def test_every_number_of_the_card_is_that_of_its_source(cell, data, tmp_path):
    encoder, scores = load_encoder(cell / "encoder"), json.loads((cell / "scores.json").read_text())
    write_repository(encoder, tmp_path / "new", "user/name", scores=scores, rollouts=data, license="mit")
    card = (tmp_path / "new" / "README.md").read_text()
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == sorted(LIMITS)
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "srl-bench",
        "tags": ["srl-bench", "state-representation-learning", data.environment, "vae(beta=2.0)"],
        "license": "mit",
    }
    found, origin = rows(body), encoder.provenance
    for name, record in scores.items():
        expected = [
            None if record[key] is None else f"{record[key]:.4g}" for key in ("value", "ceiling", "floor", "noise")
        ]
        value, interval, ceiling, floor, noise, better, n_rows, n_episodes = found[name]
        assert [value, ceiling, floor, noise] == [item or "–" for item in expected], name
        limits = "–" if record["low"] is None else f"{record['low']:.4g} to {record['high']:.4g}"
        assert (interval, better) == (limits, record["better"])
        assert (int(n_rows), int(n_episodes)) == (record["n_rows"], record["n_episodes"])
    for factor in data.factor_table:
        assert found[factor.name][:3] == [factor.unit, f"{factor.low:.4g}", f"{factor.high:.4g}"]
    assert found["parameters"] == [str(origin["parameters"])]
    assert found["state"] == ["3 dimensions"]
    assert found["reads"] == ["8 x 8 x 3"]
    assert found["training"] == ["4 steps of 64 transitions, weights kept: best"]
    assert found["seed"] == [str(origin["train"]["seed"])] or found["seed"] == [str(data.info["recording"]["seed"])]
    assert found["duration"] == [f"{origin['seconds']:.4g} s on {origin['machine']}"]
    assert found["sha256 of the data"] == [data.data_hash]
    assert found["episodes trained on"] == [str(len(origin["training_episodes"]))]
    assert found["observations"] == [str(len(data))]
    assert found["code"] == [origin["code_version"]]
    assert {name: found[name] for name in origin["versions"]} == {k: [v] for k, v in origin["versions"].items()}
    assert " ".join(origin["latex"].split()) in body
    assert "[1312.6114](https://arxiv.org/abs/1312.6114)" in body


def test_the_code_of_the_card_runs(pushed, mobile):
    encoder = srl.pretrain("random", mobile, latent_dim=4)
    push_encoder(encoder, "user/name")
    card = model_card(encoder, "user/name", rollouts=mobile)
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(code.strip().splitlines()) <= 5
    names = {"observations": mobile.observations[:2]}
    exec(code, names)
    np.testing.assert_array_equal(names["states"], encoder.encode(mobile.observations[:2]))
    assert names["venv"].observation_space.shape == (4,)
    names["venv"].close()


def test_a_card_without_data_and_scores_takes_factors_from_the_environment(mobile):
    encoder = srl.pretrain("ground_truth", mobile)
    card = model_card(encoder, "user/name")
    found = rows(card)
    assert found["robot_x"][:3] == [
        "m",
        *(f"{value:.4g}" for value in (mobile.factor_table[0].low, mobile.factor_table[0].high)),
    ]
    assert found["image_size"] == ["48"]
    assert "## Scores" not in card
    assert "observations" not in found
    assert found["recording"] == ["not at hand when this page was written"]
    assert "obs_type='state'" in card
    assert "license" not in card.split("---")[1]


def test_a_card_says_that_frames_are_stacked(data):
    card = model_card(srl.pretrain("random", data, body="flatten", latent_dim=2, frame_stack=2), "user/name")
    assert rows(card)["state"] == ["2 dimensions, of the last 2 frames"]
    assert "depends on earlier frames of its episode" in card


def test_text_from_outside_stays_text(data):
    encoder = srl.pretrain("random", data, body="flatten", latent_dim=2)
    nasty = "x | y\n---\n# <script>alert(1)</script> [a](http://evil) ![i](u) `c` $$ *b* ```"
    for key in ("method", "latex", "objective", "environment", "machine", "code_version"):
        encoder.provenance[key] = nasty
    encoder.provenance["environment_kwargs"] = {"level": nasty}
    scores = {nasty: {"value": 0.5, "better": nasty, "warnings": [nasty]}}
    card = model_card(encoder, "user/name", scores=scores, license=nasty)
    front, body = card.removeprefix("---\n").split("\n---\n", 1)
    assert yaml.safe_load(front)["license"] == nasty
    assert yaml.safe_load(front)["tags"][2:] == [nasty, nasty]
    prose = re.sub(r"^```python\n.*?^```$", "", body, flags=re.DOTALL | re.MULTILINE)
    formula = re.findall(r"^\$\$\n(.*)\n\$\$$", prose, re.MULTILINE)
    assert len(formula) == 1
    assert not re.search(r"(?<!\\)[$<>`]", formula[0])
    prose = re.sub(r"^\$\$\n.*\n\$\$$", "", prose, flags=re.MULTILINE)
    prose = prose.replace('`pip install "srl-bench[hub]"`', "")
    assert not re.search(r"(?<!\\)[<>`$!\[\]]", prose)
    assert "http\\://evil" in prose
    assert all(line.count(" | ") == 1 for line in prose.splitlines() if line.startswith("| level"))
    assert body.count("```") - body.count(repr(nasty)) * nasty.count("```") == 2
    assert markdown("a_b|c\x1b[31m\u202e") == r"a\_b\|c\[31m"


@pytest.mark.parametrize(
    ("provenance", "scores", "message"),
    [
        ({"train": {"steps": "many"}}, None, "the provenance of the encoder cannot be shown: train.steps"),
        ({}, {"ridge_r2": {"value": "high"}}, "the scores cannot be shown: ridge_r2.value"),
        ({}, {"ridge_r2": 0.5}, "the scores cannot be shown: ridge_r2"),
    ],
)
def test_what_cannot_be_shown_is_refused(data, provenance, scores, message):
    encoder = srl.pretrain("random", data, body="flatten", latent_dim=2)
    encoder.provenance.update(provenance)
    with pytest.raises(DataError, match=message):
        model_card(encoder, "user/name", scores=scores)


def test_a_card_describes_only_the_data_that_the_encoder_was_trained_on(cell, tiny_continuous):
    with pytest.raises(DataError, match="was not trained on"):
        model_card(load_encoder(cell / "encoder"), "user/name", rollouts=tiny_continuous)


def test_scores_and_data_of_a_cell_are_found_beside_its_encoder(pushed, cell, data):
    repository = pushed.repositories["user/name"]
    found = rows(repository.commits[repository.refs["main"]]["README.md"].decode())
    assert found["observations"] == [str(len(data))]
    assert found["ridge_r2"][0] == f"{json.loads((cell / 'scores.json').read_text())['ridge_r2']['value']:.4g}"


@pytest.mark.parametrize(("name", "content"), [("cell.json", "{}"), ("scores.json", "[]"), ("scores.json", "{")])
def test_damaged_files_beside_an_encoder_are_named(hub, cell, tmp_path, name, content):
    shutil.copytree(cell / "encoder", tmp_path / "encoder")
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=name):
        push_encoder(tmp_path / "encoder", "user/name")
    assert hub.asked == []
