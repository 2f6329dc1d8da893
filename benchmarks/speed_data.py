"""Recording, packing, opening and reading data sets.

CPU time where one process works, wall time where two are compared (on two free cores); medians over alternating
runs, of ratios where two are compared. Run: python benchmarks/speed_data.py
"""

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import torch

import srl_bench as srl
from srl_bench.environments import make_environment
from srl_bench.resident import ResidentData
from srl_bench.rollouts import Rollouts
from srl_bench.writer import RolloutWriter

ENVIRONMENTS = ("srl_bench/MobileRobot-v0", "srl_bench/KukaButton-v0")
FRAMES, ROUNDS = 20_000, 5
LARGE, BATCH, BATCHES = 50_000, 128, 60


def raw_seconds(environment: str) -> float:
    """CPU time of the same number of random steps with nothing kept."""
    env = make_environment(environment, {})
    rng = np.random.default_rng(0)
    started, steps, episode = time.process_time(), 0, 0
    while steps < FRAMES:
        env.reset(seed=episode)
        episode += 1
        for _ in range(100):
            _, _, terminated, truncated, _ = env.step(int(rng.integers(env.action_space.n)))
            steps += 1
            if terminated or truncated:
                break
    return time.process_time() - started


def worker_seconds() -> dict[str, float]:
    """CPU time of each living child of this process."""
    times = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == os.getpid():
            times[stat.parent.name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return times


def record(environment: str, folder: Path, workers: int) -> tuple[float, float, float]:
    """Record once; return seconds of wall time, CPU time of this process, and that of the busiest worker."""
    path = folder / f"{environment.split('/')[1]}-{workers}"
    shutil.rmtree(path, ignore_errors=True)
    before, cpu, wall = worker_seconds(), time.process_time(), time.perf_counter()
    srl.record(environment, FRAMES, out=path, workers=workers, policy="random")
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall, cpu, max((end - before.get(name, 0.0) for name, end in worker_seconds().items()), default=0.0)


def recording(folder: Path) -> None:
    print(f"{'recording':34}{'CPU of raw':>12}{'target':>10}{'2 workers':>12}{'target':>10}")
    for environment in ENVIRONMENTS:
        record(environment, folder, 2)  # starts the workers
        raw, one, two = [], [], []
        for _ in range(ROUNDS):
            raw.append(raw_seconds(environment))
            one.append(record(environment, folder, 1))
            two.append(record(environment, folder, 2))
        ratio = statistics.median(cpu / alone for (_, cpu, _), alone in zip(one, raw, strict=True))
        gain = statistics.median(single / pair for (single, _, _), (pair, _, _) in zip(one, two, strict=True))
        cpu_one = statistics.median(cpu for _, cpu, _ in one)
        cpu_two, worker = (statistics.median(column) for column in list(zip(*two, strict=True))[1:])
        print(f"{environment:34}{ratio:12.2f}{'<= 1.20':>10}{gain:11.2f}x{'>= 1.7x':>10}")
        print(f"    CPU seconds: {cpu_one:.2f} in one process; {worker:.2f} in a worker and {cpu_two:.2f} beside it")


def packing(folder: Path) -> None:
    print(f"\n{'packing':34}{'of raw':>12}{'target':>10}{'images/s read':>16}{'target':>10}")
    for environment in ENVIRONMENTS:
        rollouts = srl.open_rollouts(folder / f"{environment.split('/')[1]}-1")
        file = srl.pack(rollouts, folder / f"{environment.split('/')[1]}.zip")
        rates = []
        for _ in range(ROUNDS):
            started = time.process_time()
            srl.unpack(file, folder / "unpacked")
            rates.append(len(rollouts) / (time.process_time() - started))
            shutil.rmtree(folder / "unpacked")
        rate = statistics.median(rates)
        share = file.stat().st_size / rollouts.observations.nbytes
        print(f"{environment:34}{share:12.3f}{'<= 0.10':>10}{rate:16,.0f}{'>= 20,000':>10}")


def large_set(folder: Path) -> Rollouts:
    """Write a set of 50,000 frames from recorded episodes."""
    small = srl.open_rollouts(folder / "KukaButton-v0-1")
    path = folder / "large"
    path.mkdir()
    writer = RolloutWriter(path)
    names = ("observations", "actions", "rewards", "terminated", "truncated", "factors")
    while writer.n_steps < LARGE:
        episode = writer.n_episodes % small.n_episodes
        rows = slice(small.episodes[episode], small.episodes[episode + 1])
        writer.append({name: getattr(small, name)[rows] for name in names})
    facts = ("environment", "environment_kwargs", "recording", "n_actions", "factors")
    writer.seal({fact: small.info[fact] for fact in facts}, seed=0)
    return srl.open_rollouts(path)


def reading(folder: Path) -> None:
    rollouts = large_set(folder)
    started = time.perf_counter()
    srl.open_rollouts(rollouts.path)
    print(f"\nopening {len(rollouts):,} frames again: {time.perf_counter() - started:.3f} s, target < 0.2 s")
    data = ResidentData(rollouts, torch.device("cpu"))
    rng = np.random.default_rng(0)
    batches = [np.sort(rng.choice(len(rollouts), BATCH, replace=False)) for _ in range(BATCHES)]
    with h5py.File(folder / "large.h5", "w") as file:
        for name, chunk in (("frames", 1), ("episodes", 100)):
            shape = (chunk, *rollouts.observations.shape[1:])
            file.create_dataset(name, data=rollouts.observations, chunks=shape, compression="gzip")

        def rate(read) -> float:
            read(batches[0])
            started = time.process_time()
            for rows in batches:
                read(rows)
            return BATCH * len(batches) / (time.process_time() - started)

        ours = rate(lambda rows: data.images(torch.from_numpy(rows)))
        print(f"{'random minibatches of 128 as float':34}{ours:12,.0f} images/s")
        for name in ("frames", "episodes"):
            theirs = rate(lambda rows, name=name: torch.from_numpy(file[name][rows]).permute(0, 3, 1, 2).float() / 255)
            print(
                f"{f'HDF5, gzip, one chunk for {name}':34}{theirs:12,.0f} images/s{ours / theirs:9.1f}x   target >= 10x"
            )


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        recording(Path(name))
        packing(Path(name))
        reading(Path(name))


if __name__ == "__main__":
    main()
