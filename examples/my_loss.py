import srl_bench as srl


class Slowness(srl.Loss):
    margin: float = 0.1
    symbol = r"\mathbb{E}\,\lVert s_{t+1}-s_t\rVert^2"

    def forward(self, batch):
        return (batch.next_state - batch.state).square().sum(-1).sub(self.margin).relu()
