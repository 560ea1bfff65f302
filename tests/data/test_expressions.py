import contextlib
import re

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from diffana.data.expressions import columns_of, evaluate
from diffana.data.table import Table
from diffana.errors import DataError


A = np.array([-1.5, 0.0, 2.0, 7.0])
B = np.array([3.0, -2.0, 0.5, 7.0])
FLAG = np.array([True, False, True, False])
N = np.array([0, 1, 2, 3])


def table():
    return Table(
        {
            "a": A,
            "b": B,
            "flag": FLAG,
            "n": N,
            "label": np.array(["s", "b", "s", "bkg"]),
            "gap": np.array([np.nan, 1.0, np.nan, 0.0]),
            "η": A,
        },
        origin="events.csv",
    )


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1", np.ones(4)),
        ("a", A),
        ("-a + +b", B - A),
        ("a + b * 2 - n", A + 2 * B - N),
        ("(a + b) / 4", (A + B) / 4),
        ("n / 2", N / 2),
        ("a ** 2", A**2),
        ("2 ** -n", 2.0**-N),
        ("-a ** 2", -(A**2)),
        ("a % 2", A % 2),
        ("1e-3 * a", 1e-3 * A),
        ("a > 0", A > 0),
        ("a != 2", A != 2),
        ("0 <= a < b", (A >= 0) & (A < B)),
        ("a > 0 and b > 0", (A > 0) & (B > 0)),
        ("a > 0 && b > 0", (A > 0) & (B > 0)),
        ("a>0&&b>0||n==1", ((A > 0) & (B > 0)) | (N == 1)),
        ("n==1||a>0&&b>0", ((A > 0) & (B > 0)) | (N == 1)),
        ("(a > 0) & (b > 0) | flag", ((A > 0) & (B > 0)) | FLAG),
        ("not a > 0", ~(A > 0)),
        ("!(a > 0)", ~(A > 0)),
        ("!flag && n", ~FLAG & (N != 0)),
        ("~flag", ~FLAG),
        ("!n == 1", N == 0),  # as in C: ! binds first
        ("b * (a > 0)", B * (A > 0)),
        ("(a > 0) + (b > 0)", 1.0 * (A > 0) + (B > 0)),
        ("flag == 1", FLAG),
        ("True", np.ones(4, bool)),
        ("label == 's'", [True, False, True, False]),
        ('label != "b"', [True, False, True, True]),
        ("'s' == label && a > 0", [False, False, True, False]),
        ("label == '&&'", np.zeros(4, bool)),
        ("where(a > 0, log(where(a > 0, a, 1)), b)", [3, -2, np.log(2), np.log(7)]),
        ("where(flag, a, 0)", FLAG * A),
        ("where(a > 0, log(a), -1)", [-1, -1, np.log(2), np.log(7)]),
        ("min(a, b, 1)", np.minimum(np.minimum(A, B), 1)),
        ("max(a, b)", np.maximum(A, B)),
        ("abs(a)", np.abs(A)),
        ("sqrt(abs(a))", np.sqrt(np.abs(A))),
        ("exp(a)", np.exp(A)),
        ("sin(a)**2 + cos(a)**2", np.ones(4)),
        ("tan(a)", np.tan(A)),
        ("sinh(a)", np.sinh(A)),
        ("cosh(a)", np.cosh(A)),
        ("tanh(a)", np.tanh(A)),
        ("hypot(a, b)", np.hypot(A, B)),
        ("arctan2(a, b)", np.arctan2(A, B)),
        ("gap > 0.5", [False, True, False, False]),
        ("  a\n   + b\n", A + B),
        ("η", A),
    ],
)
def test_values(expression, expected):
    value = evaluate(expression, table())
    assert value.dtype == np.asarray(expected).dtype or value.dtype == np.float64
    np.testing.assert_allclose(value, expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("expression", "position", "message"),
    [
        ("", None, "is empty"),
        (" \n", None, "is empty"),
        ("a +", 3, "invalid syntax"),
        ("a = 2", 3, "invalid syntax"),
        ("a > 0 && (b", 10, "was never closed"),
        ("a # b", 3, "'#' is not allowed"),
        ("a\0", 2, "is not allowed"),
        ("a + bb", 5, "no column 'bb'; close: b"),
        ("a>0 && !zzz", 9, "no column 'zzz'"),
        ("η + xyz", 5, "no column 'xyz'"),
        ("a + sqr(b)", 5, "no function 'sqr'; close: sqrt"),
        ("sqrt", 1, "no column 'sqrt'"),
        ("sqrt(a, b)", 1, "sqrt takes 1 arguments, 2 are given"),
        ("min(a)", 1, "min takes 2 or more arguments, 1 are given"),
        ("where(a, b)", 1, "where takes 3 arguments, 2 are given"),
        ("sqrt(x=a)", 1, r"'sqrt\(x=a\)' is not allowed"),
        ("hypot(*a, b)", 7, r"'\*a' is not allowed"),
        ("a ^ 2", 1, r"'\^' is not allowed; a power is written '\*\*'"),
        ("a // 2", 1, "'a // 2' is not allowed"),
        ("a @ b", 1, "'a @ b' is not allowed"),
        ("a is b", 1, "'a is b' is not allowed"),
        ("a if b else n", 1, "is not allowed"),
        ("a.real", 1, "'a.real' is not allowed"),
        ("a[0]", 1, r"'a\[0\]' is not allowed"),
        ("[a, b]", 1, "is not allowed"),
        ("(a, b)", 1, "is not allowed"),
        ("(lambda: a)()", 1, "is not allowed"),
        ("[x for x in a]", 1, "is not allowed"),
        ("(a := 2)", 2, "is not allowed"),
        ("f'{a}'", 1, "is not allowed"),
        ("b'x' == label", 1, "is not allowed"),
        ("None", 1, "'None' is not allowed"),
        ("1j * a", 1, "'1j' is not allowed"),
        ("__import__('os').system('true')", 1, "is not allowed"),
        ("1" + "0" * 400, 1, "number is too large"),
        ("a > 1 & b < 2", 9 - 4, "'&' and '|' stand between conditions"),
        ("label + 1", 1, "text where a number is needed"),
        ("abs(label)", 5, "text where a number is needed"),
        ("a and label", 7, "text where a number is needed"),
        ("label > 1", 1, "text is compared with a number"),
        ("label < 's'", 1, "text can be compared by == and != only"),
        ("a > 0 and gap", 11, r"undefined number \(NaN\) as a condition for 2 events"),
        ("'s'", None, "the result is text"),
        ("label", None, "the result is text"),
        ("1 / a", None, "is NaN or infinite for 1 of 4 events of events.csv"),
        ("log(a)", None, "is NaN or infinite for 2 of 4 events"),
        ("gap", None, "is NaN or infinite for 2 of 4 events"),
        ("9.0**9**9", None, "is NaN or infinite for 4 of 4 events"),
        ("(" * 300 + "a" + ")" * 300, None, "too many nested parentheses"),
        ("-" * 50_000 + "a", None, "nested too deeply"),
        ("+".join("a" * 3_000), None, "nested too deeply"),
    ],
)
def test_errors_name_expression_and_position(expression, position, message):
    with pytest.raises(DataError, match=message) as error:
        evaluate(expression, table())
    assert f"expression {expression!r}" in str(error.value)
    if position is not None:
        assert f", position {position}: " in str(error.value)


def test_withheld_columns_say_why():
    with pytest.raises(DataError, match=r"position 5: .*no column 'mmc': a mass fit"):
        evaluate("a + mmc", table().without("mmc", "a mass fit"))


@pytest.mark.parametrize(
    ("expression", "columns"),
    [
        ("1", set()),
        ("sqrt(a**2 + b**2) > 20 && label == 's'", {"a", "b", "label"}),
        ("min(min, a)", {"min", "a"}),
        ("!x||y", {"x", "y"}),
    ],
)
def test_columns_of(expression, columns):
    assert columns_of(expression) == columns


def test_columns_of_refuses_what_evaluate_refuses():
    with pytest.raises(DataError, match="position 5: no function 'sqr'"):
        columns_of("a + sqr(b)")


numbers = st.floats(-1e3, 1e3).map(repr)
arithmetic = st.recursive(
    st.sampled_from(["a", "b", "n"]) | numbers,
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(
        lambda parts: f"({' '.join(parts)})"
    ),
    max_leaves=8,
)


@hypothesis.given(expression=arithmetic)
def test_arithmetic_agrees_with_numpy(expression):
    # The grammar above writes plain arithmetic, which Python itself may evaluate.
    expected = eval(expression, {}, {"a": A, "b": B, "n": N.astype(float)})
    np.testing.assert_allclose(evaluate(expression, table()), expected, rtol=1e-13)


@hypothesis.given(text=st.text(max_size=30))
def test_arbitrary_text_gives_a_value_or_a_named_error(text):
    # Nothing but a DataError may come out, and it has to quote the text.
    with contextlib.suppress(DataError):
        assert len(evaluate(text, table())) == len(table())
        return
    with pytest.raises(DataError, match=re.escape(repr(text))):
        evaluate(text, table())


def test_the_result_is_a_fresh_array():
    events = table()
    evaluate("a", events)[0] = 100.0
    assert events["a"][0] == -1.5
