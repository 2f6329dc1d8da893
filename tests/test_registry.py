"""Names: clashes, spelling, plug-in files and modules."""

import sys

import pytest

import srl_bench as srl
from srl_bench.errors import ConfigError, UnknownNameError
from srl_bench.provenance import _source_digest
from srl_bench.registry import BODIES, LOSSES, METHODS, METRICS, Registry, import_room, load_plugin, plugin_version

PLUGIN = """
import srl_bench as srl

COUNT = {count!r}

class {name}(srl.Loss):
    margin: float = 0.1
    symbol = r"s"

    def forward(self, batch):
        return (batch.next_state - batch.state).square().sum(-1).sub(self.margin).relu()
"""


def entry(module, name="Thing"):
    return type(name, (), {"__module__": module, "__qualname__": name})


@pytest.fixture
def registry():
    return Registry("thing", "srl_bench.losses")


def test_a_taken_name_names_both_places(registry):
    first, second = entry("one.module"), entry("another.module", "Other")
    registry.add("thing", first, first)
    with pytest.raises(ConfigError, match=r"'thing' of another\.module\.Other is taken by one\.module\.Thing"):
        registry.add("thing", second, second)
    assert registry["thing"] is first


def test_two_classes_of_one_module_cannot_share_a_name(registry):
    registry.add("thing", 1, entry("one.module", "A"))
    with pytest.raises(ConfigError, match="taken"):
        registry.add("thing", 2, entry("one.module", "B"))


def test_a_module_may_define_its_entry_again(registry):
    first, again = entry("notebook"), entry("notebook")
    registry.add("thing", first, first)
    registry.add("thing", again, again)
    assert registry["thing"] is again


@pytest.mark.parametrize(
    ("registry_", "wrong", "near"),
    [
        (METHODS, "autoencodr", "autoencoder"),
        (METHODS, "VAE", "vae"),
        (LOSSES, "temporal_coherense", "temporal_coherence"),
        (METRICS, "knn_msee", "knn_mse"),
        (BODIES, "natur", "nature"),
    ],
)
def test_an_unknown_name_suggests_the_nearest_and_lists_all(registry_, wrong, near):
    with pytest.raises(UnknownNameError, match=f"unknown {registry_.kind} '{wrong}'.*Did you mean {near}") as caught:
        registry_[wrong]
    assert isinstance(caught.value, KeyError)
    assert all(name in str(caught.value) for name in registry_)


def test_an_unknown_name_without_neighbours_lists_all(registry):
    with pytest.raises(UnknownNameError, match=r"^unknown thing 'zzzzzz'\. Known: none\.$"):
        registry["zzzzzz"]


def test_the_rooms_are_found_without_a_list():
    """By hand."""
    assert {
        "autoencoder",
        "e2c",
        "forward",
        "ground_truth",
        "inverse",
        "pca",
        "random",
        "robotic_priors",
        "splits",
        "supervised",
        "vae",
    } <= set(METHODS)
    assert {"reconstruction", "inverse", "kl", "reward", "causality", "variability"} <= set(LOSSES)
    assert {"nature", "flatten"} <= set(BODIES)
    assert list(METHODS) == sorted(METHODS)
    assert next(m.__name__ for m in import_room("srl_bench.nets")) == "srl_bench.nets.bodies"


# Plug-ins


def write(path, name="ExamplePlugged", count=1):
    path.write_text(PLUGIN.format(name=name, count=count))
    return str(path)


def test_a_plugin_file_registers_its_classes(tmp_path):
    load_plugin(write(tmp_path / "my_loss.py"))
    assert str(srl.parse("ExamplePlugged(margin=0.2) + 0.5*inverse")) == "example_plugged(margin=0.2) + 0.5*inverse"


def test_a_plugin_file_is_loaded_once(tmp_path, monkeypatch):
    """Also under another spelling of its path, and although it changed meanwhile."""
    path = tmp_path / "my_once.py"
    module = load_plugin(write(path, "ExampleOnce"))
    write(path, "ExampleOnce", count=2)
    monkeypatch.chdir(tmp_path)
    assert load_plugin("my_once.py") is module
    assert load_plugin(str(tmp_path / "." / "my_once.py")) is module
    assert module.COUNT == 1


def test_files_of_one_name_in_two_folders_are_two_plugins(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first = load_plugin(write(tmp_path / "a" / "same.py", "ExampleFirst"))
    second = load_plugin(write(tmp_path / "b" / "same.py", "ExampleSecond"))
    assert first is not second
    assert {"example_first", "example_second"} <= set(LOSSES)


def test_two_plugins_cannot_take_one_name(tmp_path):
    load_plugin(write(tmp_path / "taker.py", "ExampleTaken"))
    with pytest.raises(ConfigError, match=r"srl_bench_plugin_late.*srl_bench_plugin_taker"):
        load_plugin(write(tmp_path / "late.py", "ExampleTaken"))


@pytest.mark.parametrize("name", ["nowhere.py", "folder.py"])
def test_a_missing_file_is_named(tmp_path, name):
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(ConfigError, match=f"{name}.*does not exist"):
        load_plugin(str(tmp_path / name))


def test_a_missing_module_is_named():
    with pytest.raises(ConfigError, match=r"no_such_package\.plugin.*importable module"):
        load_plugin("no_such_package.plugin")


@pytest.mark.parametrize("last", ["raise ValueError('broken')", "import no_such_package", "raise SystemExit", "1 +"])
def test_a_plugin_that_fails_leaves_no_half_module(tmp_path, last):
    """The second attempt, after the repair, works."""
    path = tmp_path / "broken.py"
    path.write_text(f"VALUE = 1\n{last}\n")
    before = set(sys.modules)
    with pytest.raises((ValueError, ImportError, SystemExit, SyntaxError)):
        load_plugin(str(path))
    assert not [name for name in set(sys.modules) - before if "broken" in name]
    path.write_text("VALUE = 2  # repaired\n")
    assert load_plugin(str(path)).VALUE == 2


def test_a_module_that_lacks_a_dependency_says_which(tmp_path, monkeypatch):
    (tmp_path / "example_needs.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        load_plugin("example_needs")


def edited(file):
    """Change a source file as if another process had loaded it."""
    file.write_text(file.read_text() + "# edited\n")
    _source_digest.cache_clear()


def test_the_version_of_a_plug_in_file_is_that_of_its_text(tmp_path, monkeypatch):
    assert plugin_version(()) == ""
    for name in ("one", "two", "copy"):
        (tmp_path / f"{name}.py").write_text(f"VALUE = {name == 'two'}\n")
    one, two, copy = (str(tmp_path / f"{name}.py") for name in ("one", "two", "copy"))
    version = plugin_version([one])
    assert len(version) == 12
    assert plugin_version([copy]) == version
    monkeypatch.chdir(tmp_path)
    assert plugin_version(["one.py"]) == version
    assert len({version, plugin_version([two]), plugin_version([one, two])}) == 3
    assert plugin_version([two, one]) == plugin_version([one, two])
    edited(tmp_path / "one.py")
    assert plugin_version([one]) != version


def test_the_version_of_a_plug_in_module_is_that_of_its_whole_package(tmp_path, monkeypatch):
    package = tmp_path / "example_package"
    (package / "inner").mkdir(parents=True)
    for file in ("__init__.py", "losses.py", "inner/helper.py"):
        (package / file).write_text("")
    (tmp_path / "example_single.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    versions = {plugin_version(["example_package.losses"])}
    for file in ("losses.py", "inner/helper.py", "__init__.py"):
        edited(package / file)
        versions.add(plugin_version(["example_package.losses"]))
    assert len(versions) == 4
    single = plugin_version(["example_single"])
    edited(package / "losses.py")
    assert plugin_version(["example_single"]) == single
    edited(tmp_path / "example_single.py")
    assert plugin_version(["example_single"]) != single


def test_installed_plug_ins_are_part_of_the_version(tmp_path, monkeypatch):
    """A distribution as pip leaves it: an entry point in its metadata."""
    (tmp_path / "example_installed.py").write_text("")
    metadata = tmp_path / "example_installed-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: example-installed\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[srl_bench.plugins]\nexample = example_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    version = plugin_version(())
    assert len(version) == 12
    edited(tmp_path / "example_installed.py")
    assert len({version, plugin_version(()), ""}) == 3


def test_decorators_register_and_keep_the_object():
    @srl.metric("example_metric", better="lower", range=(0.0, 1.0), needs=("split",), shifts=3)
    def example(states, factors, *, split):
        return 0.5

    found = METRICS["example_metric"]
    assert found.function is example
    assert (found.better, found.range, found.needs, found.shifts, found.version) == (
        "lower",
        (0.0, 1.0),
        ("split",),
        3,
        "1",
    )
    METRICS._entries.pop("example_metric")
