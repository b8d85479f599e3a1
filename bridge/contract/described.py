"""What stands below the fields of a class, as Sphinx and editors read it too."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from itertools import pairwise
from textwrap import dedent


@cache
def field_texts(described: type) -> dict[str, str]:
    """Return the text below each field of a class, those that it inherits among them."""
    texts: dict[str, str] = {}
    for each in reversed(described.__mro__):
        if each.__module__.startswith("bridge."):
            texts |= _own_texts(each)
    return texts


def first_paragraph(described: type) -> str:
    """Return how the docstring of a class begins."""
    text = inspect.getdoc(described) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _own_texts(described: type) -> dict[str, str]:
    tree = ast.parse(dedent(inspect.getsource(described)))
    body = next(each.body for each in tree.body if isinstance(each, ast.ClassDef))
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
