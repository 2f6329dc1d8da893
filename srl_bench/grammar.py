"""The text form of objectives and methods: Python's expression syntax, parsed and never evaluated.

    expression = term {("+" | "-") term}
    term       = [number "*" | "warmup(" number "," number ")" "*"] factor
    factor     = name ["(" option "=" value, ... ")"] ["[" part "]"] | "(" expression ")" ["[" part "]"]
    part       = slice ["," "'detach'"]

A name is a registered loss, or a registered method, which stands for its objective.
"""

from __future__ import annotations

import ast
import dataclasses
import math
from typing import Any

from srl_bench.errors import ConfigError, UnknownNameError
from srl_bench.objective import Loss, Objective, Term, Warmup, snake_case
from srl_bench.registry import LOSSES, METHODS


def parse(text: str, state_dim: int | None = None) -> Objective:
    """Return the objective that `text` spells.

    Args:
        text: the expression.
        state_dim: dimensions of the state, for methods whose objective depends on it.

    Raises:
        ConfigError: the text does not follow the grammar; the message quotes the offending part.
        UnknownNameError: a name or option is not known.
    """
    value = _evaluate(_syntax_tree(text), text, state_dim)
    if not isinstance(value, Objective):
        raise ConfigError(f"{text!r} is a number, not an objective.")
    return value


def parse_call(text: str) -> tuple[str, dict[str, Any]] | None:
    """Return (name, options) if `text` is a single name or call such as "vae(beta=4)", else None."""
    node = _syntax_tree(text)
    if isinstance(node, ast.Name):
        return node.id, {}
    if isinstance(node, ast.Call):
        return _call(node, text)
    return None


def construct(kind: str, cls: type, options: dict[str, Any]) -> Any:
    """Make a loss or method from its options; unknown options are errors that name the known ones."""
    fields = {item.name: item for item in dataclasses.fields(cls)}
    for name, value in options.items():
        if name not in fields:
            raise UnknownNameError(f"option of the {kind} {cls.name!r}", name, fields)  # type: ignore[attr-defined]
        default = fields[name].default
        if isinstance(default, bool) != isinstance(value, bool) or (
            isinstance(default, int | float | str)
            and not isinstance(value, (int, float) if isinstance(default, float) else type(default))
        ):
            raise ConfigError(
                f"option {name} of {kind} {cls.name!r} must be of type {type(default).__name__}, not {value!r}."  # type: ignore[attr-defined]
            )
    return cls(**options)


def _syntax_tree(text: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{text!r} is no expression such as '2*inverse + autoencoder[:12]': {error}.") from error


def _evaluate(node: ast.expr, text: str, state_dim: int | None) -> Any:
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float()):
            return _number(node, text)
        case ast.Name():
            return _objective(node.id, {}, state_dim)
        case ast.Call(func=ast.Name(id="warmup"), args=[value, fraction], keywords=[]):
            return Warmup(_number(value, text), _number(fraction, text))
        case ast.Call():
            return _objective(*_call(node, text), state_dim)
        case ast.Subscript(slice=ast.Slice(lower=lower, upper=upper, step=None)):
            inner = _evaluate(node.value, text, state_dim)
            if isinstance(inner, Objective):
                return inner[_bound(lower, text) : _bound(upper, text)]
        case ast.Subscript(
            slice=ast.Tuple(elts=[ast.Slice(lower=lower, upper=upper, step=None), ast.Constant(value="detach")])
        ):
            inner = _evaluate(node.value, text, state_dim)
            if isinstance(inner, Objective):
                return inner[_bound(lower, text) : _bound(upper, text), "detach"]
        case ast.UnaryOp(op=ast.USub()):
            return -1.0 * _evaluate(node.operand, text, state_dim)
        case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult()):
            return _operate(node, text, state_dim)
    raise ConfigError(
        f"cannot read {ast.unparse(node)!r} in {text!r}; an objective is a sum of terms such as "
        "2*inverse[:4] or vae(beta=4.0)."
    )


def _operate(node: ast.BinOp, text: str, state_dim: int | None) -> Any:
    left, right = (_evaluate(side, text, state_dim) for side in (node.left, node.right))
    objectives = isinstance(left, Objective) + isinstance(right, Objective)
    if isinstance(node.op, ast.Mult) and objectives < 2:
        return left * right
    if not isinstance(node.op, ast.Mult) and objectives == 2:
        return left + right if isinstance(node.op, ast.Add) else left - right
    raise ConfigError(
        f"cannot combine {ast.unparse(node.left)!r} and {ast.unparse(node.right)!r} in {text!r}: terms are "
        "added to terms and multiplied by numbers."
    )


def _call(node: ast.Call, text: str) -> tuple[str, dict[str, Any]]:
    if not isinstance(node.func, ast.Name) or node.args or any(word.arg is None for word in node.keywords):
        raise ConfigError(f"options go by name, as in vae(beta=4.0), not {ast.unparse(node)!r} in {text!r}.")
    try:
        return node.func.id, {str(word.arg): ast.literal_eval(word.value) for word in node.keywords}
    except (ValueError, TypeError) as error:
        raise ConfigError(f"options must be plain values in {ast.unparse(node)!r}.") from error


def _objective(name: str, options: dict[str, Any], state_dim: int | None) -> Objective:
    key = snake_case(name)
    if key in LOSSES:
        loss: Loss = construct("loss", LOSSES[key], options)
        return Objective((Term(loss),))
    if key in METHODS:
        objective = construct("method", METHODS[key], options).objective(state_dim or 0)
        if objective is None:
            raise ConfigError(f"the method {name!r} trains nothing and cannot be a term of an objective.")
        return 1.0 * objective  # a method may return a bare loss
    raise UnknownNameError("loss or method", name, {*LOSSES, *METHODS})


def _number(node: ast.expr, text: str) -> float:
    try:
        number = float(ast.literal_eval(node))
    except (ValueError, TypeError, OverflowError) as error:
        raise ConfigError(f"expected a number, not {ast.unparse(node)!r}, in {text!r}.") from error
    if not math.isfinite(number):
        raise ConfigError(f"expected a finite number, not {ast.unparse(node)!r}, in {text!r}.")
    return number


def _bound(node: ast.expr | None, text: str) -> int | None:
    if node is None:
        return None
    value = _number(node, text)
    if value != int(value):
        raise ConfigError(f"slice bounds are whole numbers, not {ast.unparse(node)!r}, in {text!r}.")
    return int(value)
