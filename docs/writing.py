"""Markdown from docstrings and values."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

INFINITE = {"[-inf": "(−∞", "inf]": "∞)", "-": "−"}


def described(text: str, names: Iterable[str] = ()) -> str:
    """Return a docstring's paragraphs as Markdown; indented ones are equations."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return "\n\n".join(equation(part) if part.startswith("    ") else prose(part, names) for part in paragraphs)


def equation(latex: str) -> str:
    """Return displayed equations, a new one where a line begins or ends with a quad."""
    parts = re.split(r"\\quad *\n|\n *\\quad", inspect.cleandoc(latex))
    return "\n\n".join(f"\\[\n{part.strip()}\n\\]" for part in parts)


def prose(text: str, names: Iterable[str] = ()) -> str:
    """Return running text as Markdown, with links to arXiv, and to the pages of `names` where it says `name`."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    known = {f"`{name}`": f"[`{name}`]({name}.md)" for name in names}
    linked = [known.get(part, part) if part.startswith("`") else escaped(part) for part in parts]
    return re.sub(r"(?:arXiv )?\b(\d{4}\.\d{4,5})\b", r"[arXiv \1](https://arxiv.org/abs/\1)", "".join(linked))


def escaped(text: str) -> str:
    """Return text in which nothing is Markdown or HTML; LaTeX runs from its first command to its last."""
    latex = re.search(r"\\[a-zA-Z].*\\\S*[^\s,]", text)
    if latex:
        return f"{escaped(text[: latex.start()])}\\({latex[0]}\\){escaped(text[latex.end() :])}"
    return re.sub(r"([\\*_\[\]|$])", r"\\\1", text).replace("<", "&lt;")


def code(text: str) -> str:
    """Return code that may stand in a table; nothing for an empty text."""
    return f"`{text}`".replace("|", "\\|") if text else ""


def commands(*lines: str) -> str:
    """Return a block of commands."""
    return "\n".join(["```bash", *lines, "```"])


def table(titles: list[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def value_range(low: float, high: float) -> str:
    """Return an interval."""
    shown = f"[{low:g}, {high:g}]"
    for ascii_, sign in INFINITE.items():
        shown = shown.replace(ascii_, sign)
    return shown


def default(parameter: inspect.Parameter) -> str:
    """Return the default of an argument."""
    return "–" if parameter.default is parameter.empty else code(repr(parameter.default))
