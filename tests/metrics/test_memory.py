"""Results kept by content: nothing but equal arguments gives a stored result, and old ones are let go."""

import numpy as np
import pytest

from srl_bench.metrics import gtc, memory, trustworthiness
from srl_bench.metrics.memory import remembered


@pytest.fixture
def calls(monkeypatch):
    monkeypatch.setattr(memory, "_results", type(memory._results)())
    return []


def test_equal_arguments_are_computed_once(calls):
    @remembered
    def double(x, scale=2, label=None):
        calls.append(scale)
        return x * scale, label

    x = np.arange(6.0).reshape(2, 3)
    first = double(x)
    assert double(x.copy())[0] is first[0]
    assert len(calls) == 1
    different = [
        (x + 1e-300, 2, None),
        (x.reshape(3, 2), 2, None),
        (x.astype(np.float32), 2, None),
        (x[::-1], 2, None),
        (x, 3, None),
        (x, 2, "a"),
    ]
    x_tiny = x.copy()
    x_tiny[0, 0] = 5e-324
    for arguments in [*different, (x_tiny, 2, None)]:
        double(*arguments)
    assert len(calls) == 1 + len(different) + 1
    with pytest.raises(ValueError, match="read-only"):
        first[0][0] = 1


def test_functions_do_not_share_results(calls):
    @remembered
    def one(x):
        return x + 1

    @remembered
    def two(x):
        return x + 2

    x = np.zeros(3)
    assert (one(x)[0], two(x)[0]) == (1, 2)


def test_the_oldest_results_are_let_go(calls, monkeypatch):
    monkeypatch.setattr(memory, "MEGABYTES", 1)

    @remembered
    def block(number):
        calls.append(number)
        return np.full(2**16, float(number))  # half a megabyte

    for number in (0, 1, 0, 2, 0, 1):
        assert block(number)[0] == number
    assert calls == [0, 1, 2, 1]
    assert sum(map(memory._size, memory._results.values())) <= 2**20


def test_metrics_of_changed_data_are_computed_anew():
    states, factors = np.random.default_rng(0).normal(size=(2, 200, 3))
    before = trustworthiness(states, factors), gtc(states, factors)["mean"]
    states[:] = factors
    assert trustworthiness(states, factors) == pytest.approx(1)
    assert before != (1.0, 1.0)
