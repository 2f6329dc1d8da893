import numpy as np

import srl_bench as srl


@srl.metric("speed_match", better="higher", range=(-1.0, 1.0), needs=("episode_ids",), resample="rows")
def speed_match(states, factors, *, episode_ids):
    """Correlation over steps of how far the state moves with how far the world moves."""
    within = episode_ids[1:] == episode_ids[:-1]
    steps = [np.linalg.norm(np.diff(side, axis=0)[within], axis=1) for side in (states, factors)]
    if min(np.ptp(step) for step in steps) == 0:
        return float("nan")
    return float(np.corrcoef(steps)[0, 1])
