"""A suite on a real Dask cluster: scheduler and workers in processes of their own, TLS on."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import srl_bench as srl
from srl_bench import launch
from srl_bench.config import RecordConfig, Suite, TrainConfig
from srl_bench.errors import ConfigError
from srl_bench.launch import count_workers, run_on_dask

SUITE = Suite(
    name="tiny",
    environments=(RecordConfig(frames=1200, max_steps=40, environment_kwargs={"image_size": 48}),),
    methods=("inverse", "reward", "random", "ground_truth"),
    train=TrainConfig(latent_dim=4, steps=20, validate_every=10),
    metrics=("ridge_r2", "gtc"),
)


@pytest.fixture(scope="module")
def security(tmp_path_factory):
    """Return the environment variables that make client, scheduler and workers speak TLS with one certificate."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    tls = {"ca-file": certificate}
    for role in ("client", "scheduler", "worker"):
        tls |= {f"{role}__cert": certificate, f"{role}__key": key}
    variables = {
        f"DASK_DISTRIBUTED__COMM__TLS__{name.upper().replace('-', '_')}": str(path) for name, path in tls.items()
    }
    return {**variables, "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True"}


@pytest.fixture
def cluster(security, monkeypatch, tmp_path):
    """Return a scheduler's address, and it and two workers of one thread each, the second of which has a GPU."""
    import dask

    for name, value in security.items():
        monkeypatch.setenv(name, value)
    dask.config.refresh()
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(srl.__file__).parents[1]), str(Path(__file__).parent)]),
    }

    def start(*words):
        log = (tmp_path / f"{'-'.join(words[:1])}{len(processes)}.log").open("w")
        processes.append(
            subprocess.Popen([sys.executable, "-m", "dask", *words], env=env, stdout=log, stderr=log, cwd=tmp_path)
        )
        return Path(log.name)

    processes = []
    log = start("scheduler", "--host", "127.0.0.1", "--port", "0", "--protocol", "tls", "--no-dashboard", "--no-show")
    address = _wait_for(log, r"Scheduler at:\s+(tls://\S+)")
    options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "60")
    start("worker", address, *options)
    start("worker", address, *options, "--resources", "GPU=1")
    from distributed import Client

    with Client(address) as client:
        client.wait_for_workers(2, timeout=60)
    yield address, processes
    for process in processes:
        process.kill()
        process.wait()
    monkeypatch.undo()
    dask.config.refresh()


def _wait_for(log, pattern):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := re.search(pattern, log.read_text()):
            return found[1]
        time.sleep(0.1)
    raise TimeoutError(log.read_text())


def _scores(root):
    return {path.parent.name: path.read_bytes() for path in (root / "tiny").glob("*/scores.json")}


def test_a_suite_survives_the_loss_of_a_worker(cluster, tmp_path):
    address, (_, victim, _) = cluster
    ended = []

    def on_done(cell, error):
        if not ended:
            victim.send_signal(signal.SIGKILL)
        ended.append((cell.method, error))

    srl.run(SUITE, root=tmp_path / "dask", address=address, on_done=on_done)
    assert sorted(ended) == sorted((method, "") for method in SUITE.methods)
    srl.run(SUITE, root=tmp_path / "local")
    assert _scores(tmp_path / "dask") == _scores(tmp_path / "local")
    assert len(_scores(tmp_path / "dask")) == len(SUITE.methods)


def test_stages_go_to_the_workers_that_have_what_they_take(cluster, tmp_path):
    address, _ = cluster
    suite = replace(SUITE, methods=("random", "ground_truth"))
    ended = []
    srl.run(
        suite,
        root=tmp_path,
        address=address,
        resources={"pretrain.GPU": 1},
        on_done=lambda cell, error: ended.append(error),
    )
    assert ended == ["", ""]
    with pytest.raises(ConfigError, match=r"no Dask worker has .'memory': 3"):
        srl.run(replace(suite, seeds=(1,)), root=tmp_path, address=address, resources={"score.memory": 3})


def kill_or_return(item, part, before):
    if item == "killer":
        os.kill(os.getpid(), signal.SIGKILL)
    return item, part, before


def test_an_item_that_kills_its_workers_is_given_up(cluster):
    address, _ = cluster
    from distributed import Client

    def give_up_at_once(dask_scheduler):
        dask_scheduler.allowed_failures = 0

    with Client(address) as client:
        client.run_on_scheduler(give_up_at_once)
    found = run_on_dask(
        kill_or_return, ["a", "killer", "b"], parts=[(1, {}), (2, {})], address=address, killed=lambda item: f"{item}!"
    )
    assert sorted(found, key=str) == [("a", 2, ("a", 1, None)), ("b", 2, ("b", 1, None)), "killer!"]


def test_workers_are_counted_and_missed(cluster, monkeypatch):
    address, (_, *workers) = cluster
    assert count_workers(address) == 2
    for worker in workers:
        worker.kill()
        worker.wait()
    deadline = time.monotonic() + 30
    while count_workers(address) and time.monotonic() < deadline:
        time.sleep(0.1)
    monkeypatch.setattr(launch, "WORKER_TIMEOUT", 0.5)
    with pytest.raises(ConfigError, match="no worker within"):
        list(run_on_dask(kill_or_return, ["a"], parts=[(1, {})], address=address, killed=str))


def test_no_scheduler_is_an_error(monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "1s")
    import dask

    dask.config.refresh()
    with pytest.raises(ConfigError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        count_workers("tcp://127.0.0.1:9")
    monkeypatch.undo()
    dask.config.refresh()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resources": {"rl.GPU": 1}}, "give the address"),
        ({"address": "x", "resources": {"train.GPU": 1}}, r"STAGE.NAME.*pretrain, score, rl, not 'train.GPU'"),
        ({"address": "x", "resources": {"rl.GPU": 0}}, "must be a positive number"),
    ],
)
def test_bad_options(options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        srl.run(SUITE, root=tmp_path, **options)
    assert not list(tmp_path.iterdir())
