"""Would it pay to train several seeds at once, their parameters batched by torch.func? On this CPU it does not.

A gradient step of the inverse model for N seeds, one after the other and as one batched call. CPU time of one thread,
medians of alternating steps. On a GPU, where small networks leave most of the device idle, the answer may differ.
Run: python benchmarks/speed_seeds.py
"""

import torch
from speed_training import alternate
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional

from srl_bench.nets.encoder import EncoderNetwork
from srl_bench.nets.heads import mlp

BATCH, ACTIONS = 64, 4


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'body':8}{'seeds':>6}{'one by one ms':>15}{'at once ms':>12}{'gain':>7}")
    for body, shape, seeds in (("mlp", (4,), 3), ("mlp", (4,), 8), ("nature", (64, 64, 3), 3)):
        single, batched = alternate(*steps(body, shape, seeds))
        print(f"{body:8}{seeds:6}{single:15.1f}{batched:12.1f}{single / batched:6.2f}x")


def steps(body: str, shape: tuple[int, ...], seeds: int):
    """Return both ways to compute the gradients of all seeds."""
    networks = [EncoderNetwork(shape, 32, body).to(memory_format=torch.channels_last) for _ in range(seeds)]
    heads = [mlp([64, 128, 128, ACTIONS]) for _ in range(seeds)]
    layout = (2 * BATCH, shape[2], *shape[:2]) if len(shape) == 3 else (2 * BATCH, *shape)
    inputs, actions = torch.rand(layout), torch.randint(ACTIONS, (BATCH,))

    def loss(states, head):
        return functional.cross_entropy(head(torch.cat([states[:BATCH], states[BATCH:]], dim=1)), actions)

    def one_by_one() -> None:
        for network, head in zip(networks, heads, strict=True):
            loss(network(inputs)[0], head).backward()

    weights, buffers = stack_module_state(networks)
    head_weights, _ = stack_module_state(heads)

    def batched_loss(weights, buffers, head_weights, inputs):
        states = functional_call(networks[0], (weights, buffers), (inputs,))[0]
        return loss(states, lambda x: functional_call(heads[0], head_weights, (x,)))

    gradients = vmap(grad(batched_loss, argnums=(0, 2)))
    repeated = inputs.expand(seeds, *layout).contiguous()
    return one_by_one, lambda: gradients(weights, buffers, head_weights, repeated)


if __name__ == "__main__":
    main()
