"""Training speed of every method: the loop's step against the same arithmetic on a batch that is already there.

The bare step has the method's own losses and optimiser, on resident tensors: no sampling, no gathering, no logging,
every field of the batch at hand. CPU time of one thread, medians of alternating steps.
Run: python benchmarks/speed_methods.py
"""

import tempfile
from pathlib import Path

import torch
from speed_training import alternate, make_trainer, step_of

import srl_bench as srl
from srl_bench.batch import Batch
from srl_bench.method import as_objective, resolve
from srl_bench.registry import METHODS
from srl_bench.trainer import Trainer

FIELDS = ("_images", "action_vector", "_window_rows", "actions", "rewards")


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rollouts = srl.record(frames=4_000, seed=0, out=Path(folder) / "data", workers=1)
        print(f"{'method':22}{'bare ms':>9}{'ours ms':>9}{'images/s':>10}{'bare / ours':>13}  target >= 0.90")
        for name in METHODS:
            if as_objective(resolve(name), 32) is None:
                continue
            trainer = make_trainer(name, rollouts)
            bare, ours = alternate(bare_step(trainer), step_of(trainer))
            rate = 1000 * trainer.batch_size * trainer.horizon / ours
            print(f"{name:22}{bare:9.1f}{ours:9.1f}{rate:10,.0f}{bare / ours:13.3f}")


def bare_step(trainer: Trainer):
    """One step on a batch whose fields were gathered before; the loss's own draws and passes are its arithmetic."""
    rows = trainer.sample(0)
    first = trainer._batch(rows, 0)
    known = {name: getattr(first, name) for name in (*FIELDS, *trainer.data.fields)}
    known["_images"] = first._images.clone(memory_format=torch.preserve_format)

    def step() -> None:
        batch = Batch(
            trainer.data,
            first.row,
            trainer.network,
            horizon=trainer.horizon,
            precision=trainer.precision,
            target=trainer.target,
        )
        batch.__dict__.update(known)
        total, _ = trainer.objective(batch, 0.5)
        trainer.optimizer.zero_grad(set_to_none=True)
        total.backward()
        trainer.optimizer.step()

    return step


if __name__ == "__main__":
    main()
