"""An environment of your own, recorded and scored like the built-in ones.

Run: srl-bench record --plugin examples/my_environment.py --environment my/Lift-v0 --frames 2000 --out data/lift
"""

import pybullet as p

from srl_bench import Factor
from srl_bench.environments.drawing import UPRIGHT, Camera, add_box
from srl_bench.environments.options import discrete_action, register
from srl_bench.environments.simulator import SimulatorEnv


class Lift(SimulatorEnv):
    """A cabin is to stop at a floor: actions 0 and 1 move it up and down by 0.1 m; +1 for every step at the floor."""

    factors = (Factor("cabin_z", "m", 0.0, 3.0), Factor("floor_z", "m", 0.0, 3.0, scope="episode"))
    cameras = {"front": Camera((0.0, -6.0, 1.5), (0.0, 0.0, 1.5), (0.0, 0.0, 1.0), 40.0, 1.0, 10.0)}
    action_sizes = {"discrete": 2}
    default_max_steps = 100
    distractor_area = {"low": (-1.0, -0.5), "high": (1.0, 0.5), "size": 0.1, "ground": 0.0}

    def load_scenery(self, client):
        add_box(client, (1.0, 0.1, 2.0), (0.0, 0.6, 1.5), (0.8, 0.8, 0.75, 1.0))

    def load_goals(self, client):
        add_box(client, (0.2, 0.2, 0.03), (0.8, 0.0, 0.0), (0.9, 0.1, 0.1, 1.0))

    def load_robot(self, client):
        add_box(client, (0.3, 0.3, 0.2), (0.0, 0.0, 0.0), (0.1, 0.3, 0.85, 1.0))

    def goal_poses(self):
        return (((0.8, 0.0, self._floor), UPRIGHT),)

    def _start_episode(self):
        self._set_factors(self.np_random.uniform(0, 3, 2).tolist())

    def _act(self, action):
        step = -0.1 if discrete_action(action, 2) else 0.1
        self._set_factors([min(max(self._cabin + step, 0.0), 3.0), self._floor])
        distance = abs(self._cabin - self._floor)
        self._solved = self._solved or distance <= 0.1
        return (-distance if self.reward_type == "shaped" else float(distance <= 0.1)), False

    def _read_factors(self):
        return self._cabin, self._floor

    def _set_factors(self, values):
        self._cabin, self._floor = values
        p.resetBasePositionAndOrientation(
            self._bodies[0], (0.0, 0.0, self._cabin), UPRIGHT, physicsClientId=self._world
        )

    def _greedy_action(self):
        return int(self._cabin > self._floor)


register("my/Lift-v0", Lift)
