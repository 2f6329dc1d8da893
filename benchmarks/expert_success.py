"""Success of the scripted experts, without noise, over 50 episodes of every environment and kind of action.

Run: python benchmarks/expert_success.py
"""

import numpy as np

from srl_bench.environments import environment_class, environment_ids, make_environment

EPISODES, STEPS = 50, 300


def success(environment: str, action_type: str) -> float:
    """Return the share of episodes that are solved within 300 steps."""
    env = make_environment(environment, {"obs_type": "state", "action_type": action_type}).unwrapped
    rng = np.random.default_rng(0)
    solved = []
    for seed in range(EPISODES):
        env.reset(seed=seed)
        for _ in range(STEPS):
            _, _, terminated, truncated, info = env.step(env.scripted_action(rng, 0.0))
            if terminated or truncated or info["is_success"]:
                break
        solved.append(info["is_success"])
    env.close()
    return float(np.mean(solved))


def main() -> None:
    for environment in environment_ids():
        for action_type in environment_class(environment).action_sizes:
            print(f"{environment:34}{action_type:12}{success(environment, action_type):6.2f}")


if __name__ == "__main__":
    main()
