"""The text form of objectives: print and parse are inverse, and whatever else is typed is refused by name."""

import contextlib
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from srl_bench.errors import ConfigError, SrlBenchError, UnknownNameError
from srl_bench.grammar import parse, parse_call
from srl_bench.losses.autoencoding import Reconstruction
from srl_bench.losses.dynamics import Forward, Inverse
from srl_bench.losses.e2c import E2CTransition, NextReconstruction
from srl_bench.losses.priors import Causality, Proportionality
from srl_bench.losses.rewards import Reward
from srl_bench.losses.slowness import TemporalCoherence, Variability
from srl_bench.losses.supervised import Supervised
from srl_bench.losses.variational import KL
from srl_bench.objective import Loss, Objective, Term, Warmup


class ExampleOptions(Loss):
    """A loss with one option of each kind."""

    number: float = 0.5
    count: int = 3
    flag: bool = False
    text: str = "a"

    def forward(self, batch):
        return batch.state.mean()


finite = st.floats(allow_nan=False, allow_infinity=False)
kinds = st.sampled_from(["linear", "mlp"])
hidden = st.integers(1, 512)
losses = st.one_of(
    st.sampled_from([Causality, Proportionality, Reward, TemporalCoherence, Variability, Supervised, KL]).map(
        lambda loss: loss()
    ),
    st.builds(Forward, kind=kinds, hidden=hidden, target=st.sampled_from(["gradient", "detach"])),
    st.builds(Inverse, kind=kinds, hidden=hidden),
    st.builds(Reconstruction, likelihood=st.sampled_from(["mse", "gaussian"]), sigma=st.floats(0, 1)),
    st.builds(NextReconstruction, transition=st.sampled_from(["local", "global"])),
    st.builds(E2CTransition, transition=st.sampled_from(["local", "global"])),
    st.builds(ExampleOptions, number=finite, count=st.integers(), flag=st.booleans(), text=st.text()),
)
fractions = st.floats(0, 1, exclude_min=True)
weights = st.one_of(finite, st.builds(Warmup, finite, fractions))
bounds = st.none() | st.integers(-50, 50)
objectives = st.lists(st.builds(Term, losses, weights, bounds, bounds), min_size=1, max_size=5).map(
    lambda terms: Objective(tuple(terms))
)


def facts(objective):
    """Return what an objective consists of, apart from its printed form."""
    return [(type(t.loss), t.loss.options(), t.weight, t.start, t.stop) for t in objective]


@settings(max_examples=300, deadline=None)
@given(objectives)
@example(Objective((Term(Inverse(), 5e-324), Term(KL(), -1e300), Term(KL(), -0.0))))
@example(Objective((Term(Inverse(), Warmup(-2.0, 0.5), None, -2), Term(KL(), 1e-7, -4, None))))
@example(Objective((Term(KL()), Term(ExampleOptions(text="a + -b' \"\\")))))
def test_parsing_what_was_printed_gives_the_same_objective(objective):
    assert facts(parse(str(objective))) == facts(objective)
    assert parse(str(objective)) == objective


def one(text, **kwargs):
    (term,) = parse(text, **kwargs)
    return term


def test_a_sum_is_read_term_by_term():
    """By hand."""
    objective = parse("reconstruction[:14] + 2 * Inverse(kind='linear')[14:16] - 0.1*temporal_coherence")
    assert facts(objective) == [
        (Reconstruction, {"likelihood": "mse", "sigma": 0.0, "foreground": 0.0}, 1.0, None, 14),
        (Inverse, {"kind": "linear", "hidden": 128, "likelihood": "mse", "components": 5}, 2.0, 14, 16),
        (TemporalCoherence, {}, -0.1, None, None),
    ]


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        ("kl", 1.0),
        ("-kl", -1.0),
        ("--kl", 1.0),
        ("3*kl", 3.0),
        ("kl*3", 3.0),
        ("-3*kl", -3.0),
        ("2*3*kl", 6.0),
        ("2*(0.5*kl)", 1.0),
        ("-(2*kl)", -2.0),
        ("1e-3*kl", 1e-3),
        ("warmup(4, 0.2)*kl", Warmup(4.0, 0.2)),
        ("kl*warmup(4, 0.2)", Warmup(4.0, 0.2)),
        ("0.5*warmup(4, 0.2)*kl", Warmup(2.0, 0.2)),
        ("-warmup(4, 0.2)*kl", Warmup(-4.0, 0.2)),
        ("warmup(-4, 0.2)*kl", Warmup(-4.0, 0.2)),
    ],
)
def test_weights(text, weight):
    """By hand."""
    assert one(text).weight == weight


def test_a_minus_before_brackets_changes_every_sign_inside():
    assert [term.weight for term in parse("kl - 2*(inverse - 3*reward)")] == [1.0, -2.0, 6.0]


def test_a_slice_after_brackets_goes_to_every_term_inside():
    assert [(term.start, term.stop) for term in parse("(kl + 2*inverse)[-4:]")] == [(-4, None), (-4, None)]


def test_camel_case_names_the_same_loss():
    assert parse("TemporalCoherence + KL") == parse("temporal_coherence + kl")


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("autoencoder", "reconstruction"),
        ("vae(beta=1.0)", "reconstruction(likelihood='gaussian') + warmup(1.0, 0.2)*kl"),
        ("vae(beta=4)[:3]", "reconstruction(likelihood='gaussian')[:3] + warmup(4.0, 0.2)*kl[:3]"),
        ("2*autoencoder[:12] + inverse", "2*reconstruction[:12] + inverse"),
        ("0.5*splits", "0.5*reconstruction[:12] + 0.5*reward[12:14] + inverse[14:16]"),
        ("inverse - 2*forward(weight=3)", "inverse - 2*forward - 0*kl"),
    ],
)
def test_methods_stand_for_their_objective(text, expanded):
    """By hand. A loss wins over the method of the same name, which has no option `weight`."""
    if "weight" in text:
        with pytest.raises(UnknownNameError, match=r"'weight'.*hidden, kind, norm, residual, source, target"):
            parse(text, 16)
        return
    expected = parse(expanded)
    found = parse(text, 16)
    assert [(t.loss.name, t.weight, t.bounds(16)) for t in found] == [
        (t.loss.name, t.weight, t.bounds(16)) for t in expected
    ]


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("vae", ("vae", {})),
        (" vae(beta=4, sigma=-0.1) ", ("vae", {"beta": 4, "sigma": -0.1})),
        ("2*vae", None),
        ("vae[:2]", None),
    ],
)
def test_a_single_call_is_told_from_an_expression(text, call):
    assert parse_call(text) == call


BAD = [
    ("", "is no expression"),
    ("inverse +", "is no expression"),
    ("2*inverse[:4", "is no expression"),
    ("x = inverse", "is no expression"),
    ("inverse; kl", "is no expression"),
    ("2*3", "is a number"),
    ("warmup(1, 0.2)", "is a number"),
    ("invrese", "Did you mean inverse"),
    ("vaee + kl", "Did you mean vae"),
    ("inverse(hiden=3)", "'hiden'.*Did you mean hidden"),
    ("inverse('mlp')", "options go by name"),
    ("inverse(**{'kind': 'mlp'})", "options go by name"),
    ("inverse(kind=mlp)", "plain values"),
    ("inverse(kind='cubic')", "'cubic'"),
    ("inverse(kind=1)", "kind.*type str, not 1"),
    ("inverse(hidden=-1)", "hidden must be at least 1, not -1"),
    ("forward(kind='mlp', hidden=0)", "hidden must be at least 1, not 0"),
    ("reward(hidden=-1)", "hidden must be at least 1, not -1"),
    ("inverse(hidden=1.5)", "hidden.*type int, not 1.5"),
    ("inverse(hidden=True)", "hidden.*type int, not True"),
    ("vae(beta='4')", "beta.*type float"),
    ("inverse + 2", "cannot combine 'inverse' and '2'"),
    ("inverse*kl", "cannot combine 'inverse' and 'kl'"),
    ("inverse/2", "cannot read 'inverse / 2'"),
    ("inverse**2", r"cannot read 'inverse \*\* 2'"),
    ("inverse[3]", r"cannot read 'inverse\[3\]'"),
    ("inverse[::2]", r"cannot read 'inverse\[::2\]'"),
    ("inverse[:1.5]", "whole numbers, not '1.5'"),
    ("inverse[:'a']", "expected a number"),
    ("inverse[:n]", "expected a number"),
    ("inverse[:4][1:]", "cannot be nested"),
    ("splits[:4]", "cannot be nested"),
    ("inverse.forward", "cannot read 'inverse.forward'"),
    ("inverse if 1 else kl", "cannot read"),
    ("[inverse]", "cannot read"),
    ("True*inverse", "cannot read 'True'"),
    ("'inverse'", "cannot read"),
    ("random", "trains nothing"),
    ("pca + inverse", "trains nothing"),
    ("warmup(1, 2)*kl", r"\(0, 1\], not 2.0"),
    ("warmup(1, 0)*kl", r"\(0, 1\], not 0.0"),
    ("warmup(1)*kl", "options go by name"),
    ("warmup(kl, 0.5)*kl", "expected a number"),
    ("warmup(1, 0.1)*warmup(1, 0.2)*kl", "cannot be multiplied"),
    ("warmup(2, 0.1)*vae", "cannot be multiplied"),
    ("f'{inverse}'", "cannot read"),
    ("__import__('os').system('x')", "options go by name"),
    ("(lambda: inverse)()", "options go by name"),
    ("[x for x in ().__class__.__base__.__subclasses__()]", "cannot read"),
    ("1e999*inverse", "number"),
    ("inverse[:1e999]", "number"),
    ("1" * 400 + "*inverse", "number"),
    ("inverse(kind={[]: 1})", "plain values"),
    ("inverse(hidden=" + "9" * 5000 + ")", "inverse"),
    ("-" * 3000 + "inverse", "inverse"),
    ("(" * 3000 + "inverse" + ")" * 3000, "inverse"),
    ("+".join(["inverse"] * 3000), "inverse"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[text[:40] for text, _ in BAD])
def test_errors_name_what_is_wrong(text, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        parse(text, 16)


def test_nothing_is_evaluated(tmp_path):
    target = tmp_path / "written"
    for text in (
        f"__import__('pathlib').Path({str(target)!r}).touch()",
        f"inverse(kind=__import__('pathlib').Path({str(target)!r}).touch())",
        f"inverse[:__import__('pathlib').Path({str(target)!r}).touch()]",
        f"warmup(open({str(target)!r}, 'w'), 1)*inverse",
    ):
        with pytest.raises(ConfigError):
            parse(text)
    assert not target.exists()


@pytest.mark.filterwarnings("ignore:invalid decimal literal:SyntaxWarning")
@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**9))
def test_random_text_is_an_objective_or_an_error_of_ours(seed):
    words = "inverse kl vae warmup( hidden= beta= ( ) [ ] : , + - * ** / 2 0.5 -3 'a' True None x 1e999 = . {} # \\ \n"
    chosen = random.Random(seed)
    text = "".join(chosen.choice(words.split(" ")) for _ in range(chosen.randint(1, 9)))
    with contextlib.suppress(SrlBenchError):
        assert isinstance(parse(text, 16), Objective)
