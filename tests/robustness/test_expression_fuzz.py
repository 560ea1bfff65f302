"""Expressions drawn at random: a value, or one error of the project."""

import contextlib
import random

import numpy as np
import pytest

from diffana.data import Table, columns_of, evaluate
from diffana.errors import DataError


TABLE = Table(
    {"pt": [25.0, 40.0, 0.0], "eta": [-1.0, 0.0, 2.0], "label": ["s", "b", "s"]}
)
WORDS = (
    *("pt", "eta", "label", "ｐｔ", "рt", "x²", "True", "None", "...", "nan"),
    *("1", "0", "1e308", "1e400", "9**9**9", "1j", "9" * 30, "0x10", "1_0"),
    *("'s'", '"b"', 'b"x"', 'f"{pt}"', "'", '"', "`", "\\", "\0", "\n", "#", "\ud800"),
    *("lambda: 1", "[x for x in pt]", "(y:=3)", "pt[0]", "pt.real", "*pt", "**pt"),
    *("().__class__", "__import__('os').system('touch pwned')", "exec('1')", "yield"),
    *("pt if eta else 1", "not", "and", "or", "&&", "||", "!", "~", "is", "in"),
    *("+", "-", "*", "/", "//", "**", "%", "<<", "@", "^", "&", "|", "<", "==", "!="),
    *(",", "sqrt(", "where(", "max(", "abs(pt)", "log(eta)", "(", ")", "[", "]", "{"),
)


def words(drawn):
    number = drawn.choice((1, 2, 3, 5, 8, 20))
    return drawn.choice(("", " ")).join(drawn.choice(WORDS) for _ in range(number))


def nested(drawn, depth):
    """An expression that mostly parses."""
    if depth == 0:
        return drawn.choice(("pt", "eta", "label", "'s'", "0", "2.5", "1e300", "-1"))
    first, second, third = (nested(drawn, depth - 1) for _ in range(3))
    operators = ("+", "-", "*", "/", "**", "%", "<", "==", "&", "|", "and", "or", "//")
    return drawn.choice(
        (
            f"({first} {drawn.choice(operators)} {second})",
            f"{drawn.choice(('-', '~', '!', 'not '))}({first})",
            f"{drawn.choice(('sqrt', 'exp', 'log', 'tan', 'foo'))}({first})",
            f"{drawn.choice(('hypot', 'max', 'where'))}({first}, {second})",
            f"where({first}, {second}, {third})",
            f"{first} < {second} <= {third}",
        )
    )


def check(expression):
    """Evaluate, and whether there was a value."""
    with contextlib.suppress(DataError):
        columns_of(expression)
    try:
        value = evaluate(expression, TABLE)
    except DataError:
        return False
    assert value.shape == (3,)
    assert value.dtype.kind in "bif"
    assert np.isfinite(value).all()
    return True


def checked(seeds):
    found = []
    for seed in seeds:
        drawn = random.Random(seed)
        simple = drawn.random() < 0.5
        text = words(drawn) if simple else nested(drawn, drawn.randint(1, 5))
        found.append(check(text))
    return found


def test_random_expressions_have_a_value_or_one_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = checked(range(1500))
    assert 100 < sum(found) < 1400
    assert not (tmp_path / "pwned").exists()


@pytest.mark.slow
def test_many_random_expressions_have_a_value_or_one_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checked(range(10_000, 40_000))
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("number", [100, 5_000, 100_000])
@pytest.mark.parametrize(
    "repeated",
    [
        ("(", "pt", ")"),
        ("-", "pt", ""),
        ("!", "pt", ""),
        ("", "pt", " + pt"),
        ("", "pt", "**pt"),
        ("", "pt", " < pt"),
    ],
)
def test_long_and_deep_expressions_end(repeated, number):
    before, middle, after = repeated
    check(before * number + middle + after * number)
