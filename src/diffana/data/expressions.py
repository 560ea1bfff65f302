"""Weight and selection expressions over the columns of a table.

The language is arithmetic, comparison and logic, in the spelling of Python or of
C and ROOT; nothing else parses, so an expression from a file can do no harm.
"""

import ast
import dataclasses
import functools
import itertools
import operator
import re
from collections.abc import Callable, Mapping
from typing import final

import numpy as np

from diffana.data.table import Table, close_matches
from diffana.errors import DataError


@final
@dataclasses.dataclass(frozen=True)
class _Function:
    apply: Callable[..., np.ndarray]
    n_arguments: int
    takes_more: bool = False


_FUNCTIONS: Mapping[str, _Function] = {
    "abs": _Function(np.abs, 1),
    "sqrt": _Function(np.sqrt, 1),
    "exp": _Function(np.exp, 1),
    "log": _Function(np.log, 1),
    "sin": _Function(np.sin, 1),
    "cos": _Function(np.cos, 1),
    "tan": _Function(np.tan, 1),
    "sinh": _Function(np.sinh, 1),
    "cosh": _Function(np.cosh, 1),
    "tanh": _Function(np.tanh, 1),
    "hypot": _Function(np.hypot, 2),
    "arctan2": _Function(np.arctan2, 2),
    "min": _Function(lambda *x: functools.reduce(np.minimum, x), 2, takes_more=True),
    "max": _Function(lambda *x: functools.reduce(np.maximum, x), 2, takes_more=True),
    "where": _Function(np.where, 3),
}

_ARITHMETIC: Mapping[type[ast.operator], Callable[..., np.ndarray]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.Mod: operator.mod,
}

_LOGIC: Mapping[type[ast.operator], Callable[..., np.ndarray]] = {
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
}

_COMPARISONS: Mapping[type[ast.cmpop], Callable[..., np.ndarray]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def evaluate(expression: str, table: Table) -> np.ndarray:
    """The value of `expression` for every event: numbers, or booleans for a selection.

    Allowed are column names, numbers, `+ - * / ** %`, comparisons (also chained),
    `and or not` or `&& || !`, `& | ~` between conditions in parentheses, comparison of
    a column of text with a quoted text, and the functions abs, sqrt, exp, log, sin,
    cos, tan, sinh, cosh, tanh, hypot, arctan2, min, max and where(condition, a, b).

    `/` is the true quotient and `%` takes the sign of the divisor, as in Python. A
    condition counts as 0 or 1 in arithmetic, and a number as a condition if it is not
    0. A comparison with an undefined (NaN) number is false.

    Args:
        expression: what to compute, in the units of the columns.
        table: where the columns come from.

    Raises:
        DataError: if the expression does not parse, uses an unknown column, function
            or construct (with its position, counted from 1), mixes text and numbers,
            or has a result that is not finite for some event.

    Example:
        >>> table = Table({"pt": [25.0, 40.0, 60.0], "label": ["s", "b", "s"]})
        >>> evaluate("pt / 10 + 1", table)
        array([3.5, 5. , 7. ])
        >>> evaluate("label == 's' && !(pt < 30)", table)
        array([False, False,  True])
    """
    parsed = _Parsed.of(expression)
    try:
        # Only the result has to be finite: `where` may drop what is not.
        with np.errstate(all="ignore"):
            value = _Evaluation(parsed, table).value(parsed.tree)
    except RecursionError as error:
        raise DataError(f"expression {expression!r}: nested too deeply") from error
    if value.dtype.kind == "U":
        raise DataError(f"expression {expression!r}: the result is text, not numbers")
    value = np.broadcast_to(value, len(table)).copy()
    bad = np.count_nonzero(~np.isfinite(value))
    if bad:
        raise DataError(
            f"expression {expression!r} is NaN or infinite for {bad} of {len(table)} "
            f"events of {table.origin}"
        )
    return value


def columns_of(expression: str) -> frozenset[str]:
    """The columns that `expression` needs.

    Raises:
        DataError: if the expression does not parse.

    Example:
        >>> sorted(columns_of("sqrt(px**2 + py**2) > 20 && label == 's'"))
        ['label', 'px', 'py']
    """
    tree = _Parsed.of(expression).tree
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return frozenset(
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node not in called
    )


# A quoted text, which stays as it is; what would end the expression early, unnoticed;
# an operator of C.
_TOKEN = re.compile(r"""'[^']*'|"[^"]*"|[#\0]|&&|\|\||!(?!=)""")
# The spaces keep the words apart from their neighbours; `~` binds as tightly as `!`.
_SPELLING: Mapping[str, str] = {"&&": " and ", "||": " or ", "!": "~"}


@final
@dataclasses.dataclass(frozen=True)
class _Parsed:
    """An expression and its syntax tree, in which every node is known to be allowed.

    Attributes:
        expression: the text as the user wrote it.
        spelling: the same in Python.
        positions: for each character of `spelling`, where in `expression` it stands.
        tree: the syntax tree of `spelling`.
    """

    expression: str
    spelling: str
    positions: tuple[int, ...]
    tree: ast.expr

    @classmethod
    def of(cls, expression: str) -> "_Parsed":
        spelling, positions = _python_spelling(expression)
        try:
            tree = ast.parse(spelling, mode="eval").body
        except SyntaxError as error:
            # An expression that stops short is reported at offset 0.
            offset = min(error.offset or len(spelling), len(spelling))
            raise _error(expression, positions[offset - 1], error.msg) from error
        except ValueError as error:
            raise _error(expression, 0, str(error)) from error
        except (RecursionError, MemoryError) as error:
            raise _error(expression, 0, "nested too deeply") from error
        parsed = cls(expression, spelling, positions, tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.expr):
                parsed._require_allowed(node)
        return parsed

    def error(self, node: ast.expr, problem: str) -> DataError:
        before = self.spelling.encode()[: node.col_offset].decode()
        return _error(self.expression, self.positions[len(before)], problem)

    def _require_allowed(self, node: ast.expr) -> None:
        match node:
            case ast.Name() | ast.BoolOp() | ast.UnaryOp():
                return
            case ast.Constant(value=bool() | int() | float() | str()):
                return
            case ast.BinOp(op=ast.BitXor()):
                raise self.error(node, "'^' is not allowed; a power is written '**'")
            case ast.BinOp(op=op) if type(op) in (*_ARITHMETIC, *_LOGIC):
                return
            case ast.Compare(ops=ops) if all(type(op) in _COMPARISONS for op in ops):
                return
            case ast.Call(func=ast.Name(id=name), keywords=[]):
                self._require_arguments(node, name, len(node.args))
            case _:
                text = ast.get_source_segment(self.spelling, node)
                raise self.error(node, f"{text!r} is not allowed in an expression")

    def _require_arguments(self, node: ast.expr, name: str, given: int) -> None:
        if name not in _FUNCTIONS:
            raise self.error(
                node, f"no function {name!r}; {close_matches(name, _FUNCTIONS)}"
            )
        needed = _FUNCTIONS[name].n_arguments
        if given < needed or (given > needed and not _FUNCTIONS[name].takes_more):
            more = " or more" if _FUNCTIONS[name].takes_more else ""
            raise self.error(
                node, f"{name} takes {needed}{more} arguments, {given} are given"
            )


def _error(expression: str, position: int, problem: str) -> DataError:
    return DataError(f"expression {expression!r}, position {position + 1}: {problem}")


def _python_spelling(expression: str) -> tuple[str, tuple[int, ...]]:
    """The expression as Python spells it, and where each of its characters stood."""
    if not expression.strip():
        raise DataError(f"expression {expression!r} is empty")
    pieces: list[str] = []
    positions: list[int] = []

    def add(piece: str, start: int, advance: bool) -> None:
        pieces.append(piece)
        positions.extend(start + i * advance for i in range(len(piece)))

    end = len(expression) - len(expression.lstrip())
    for token in _TOKEN.finditer(expression):
        add(expression[end : token.start()], end, advance=True)
        if token.group() in "#\0":
            raise _error(expression, token.start(), f"{token.group()!r} is not allowed")
        if token.group() in _SPELLING:
            add(_SPELLING[token.group()], token.start(), advance=False)
        else:
            add(token.group(), token.start(), advance=True)
        end = token.end()
    add(expression[end:], end, advance=True)
    # A folded line of a configuration file is one expression.
    return re.sub(r"\s", " ", "".join(pieces)), tuple(positions)


@final
@dataclasses.dataclass(frozen=True)
class _Evaluation:
    """The values of the nodes: arrays of float64, booleans or text."""

    parsed: _Parsed
    table: Table

    def value(self, node: ast.expr) -> np.ndarray:
        match node:
            case ast.Constant(value=bool() | str() as constant):
                return np.asarray(constant)
            case ast.Constant(value=int() | float() as constant):
                return self._constant(node, constant)
            case ast.Name(id=name):
                return self._column(node, name)
            case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
                return ~self._condition(operand)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._number(operand)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self._number(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _LOGIC:
                return _LOGIC[type(op)](self._logical(left), self._logical(right))
            case ast.BinOp(left=left, op=op, right=right):
                return _ARITHMETIC[type(op)](self._number(left), self._number(right))
            case ast.BoolOp(op=op, values=values):
                combine = operator.and_ if isinstance(op, ast.And) else operator.or_
                return functools.reduce(combine, map(self._condition, values))
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                pairs = itertools.pairwise([left, *comparators])
                links = [
                    self._comparison(op, *pair)
                    for op, pair in zip(ops, pairs, strict=True)
                ]
                return functools.reduce(operator.and_, links)
            case ast.Call(func=ast.Name(id="where"), args=[condition, *choices]):
                chosen = map(self._number, choices)
                return np.where(self._condition(condition), *chosen)
            case ast.Call(func=ast.Name(id=name), args=args):
                return _FUNCTIONS[name].apply(*map(self._number, args))
        raise AssertionError(f"{ast.dump(node)} passed the list of allowed nodes")

    def _constant(self, node: ast.expr, constant: float) -> np.ndarray:
        try:
            return np.asarray(float(constant))
        except OverflowError as error:
            raise self.parsed.error(node, "the number is too large") from error

    def _column(self, node: ast.expr, name: str) -> np.ndarray:
        try:
            column = self.table[name]
        except DataError as error:
            raise self.parsed.error(node, str(error)) from error
        return column if column.dtype.kind in "bU" else column.astype(np.float64)

    def _number(self, node: ast.expr) -> np.ndarray:
        return self._as_number(node, self.value(node))

    def _as_number(self, node: ast.expr, value: np.ndarray) -> np.ndarray:
        if value.dtype.kind == "U":
            raise self.parsed.error(node, "text where a number is needed")
        return value.astype(np.float64)

    def _logical(self, node: ast.expr) -> np.ndarray:
        value = self.value(node)
        if value.dtype.kind != "b":
            raise self.parsed.error(
                node,
                "'&' and '|' stand between conditions and bind more tightly than "
                "comparisons; put the comparisons in parentheses or write 'and', 'or'",
            )
        return value

    def _condition(self, node: ast.expr) -> np.ndarray:
        value = self.value(node)
        if value.dtype.kind == "b":
            return value
        number = self._as_number(node, value)
        undefined = np.count_nonzero(np.isnan(number))
        if undefined:
            raise self.parsed.error(
                node, f"an undefined number (NaN) as a condition for {undefined} events"
            )
        return number != 0

    def _comparison(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> np.ndarray:
        one, other = self.value(left), self.value(right)
        if (one.dtype.kind == "U") != (other.dtype.kind == "U"):
            raise self.parsed.error(left, "text is compared with a number")
        if one.dtype.kind == "U" and not isinstance(op, ast.Eq | ast.NotEq):
            raise self.parsed.error(left, "text can be compared by == and != only")
        return np.asarray(_COMPARISONS[type(op)](one, other))
