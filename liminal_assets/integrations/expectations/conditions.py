"""``row_condition`` as SQL: which rows an expectation looks at.

Three languages, as in Great Expectations, each with its own idea of what a missing value does:
Great Expectations' conditions and pandas queries count ``missing != 1`` as true, SQL doesn't.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Mapping
from typing import Any

from liminal_assets.integrations.expectations.sql import NotInSqlError, Schema, constant

__all__ = ["condition_sql"]

_OPERATORS = {"==": "=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def condition_sql(condition: Any, parser: str | None, schema: Schema) -> str:
    """A SQL test that is true for the rows of a condition and false, never null, for others.

    Args:
        condition: none, or the mapping that a condition of Great Expectations dumps to.
        parser: how a text is read: ``pandas`` as a pandas query, anything else as SQL.

    Raises:
        NotInSqlError: the condition asks for what SQL can't do as pandas does.
        MissingColumnError: it names a column that isn't there.
    """
    if condition is None:
        return "true"
    if not isinstance(condition, Mapping):
        condition = condition.dict()
    kind = condition.get("type")
    if kind == "pass_through":
        text = condition["pass_through_filter"]
        if parser == "pandas":
            return _PandasQuery(text, schema).sql()
        return f"coalesce(({text}\n), false)"
    if kind in ("and", "or"):
        parts = [condition_sql(part, parser, schema) for part in condition["conditions"]]
        return "(" + f" {kind.upper()} ".join(parts or ["true"]) + ")"
    column = _name(condition["column"])
    if kind == "nullity":
        return f"({schema.value(column)} IS {'' if condition['is_null'] else 'NOT '}NULL)"
    operator = str(getattr(condition["operator"], "value", condition["operator"]))
    return _compare(column, operator, condition["parameter"], schema)


def _name(column: Any) -> str:
    return str(column["name"] if isinstance(column, Mapping) else column)


def _compare(column: str, operator: str, value: Any, schema: Schema) -> str:
    if operator in ("IN", "NOT_IN"):
        inside = _inside(column, list(value), schema)
        return inside if operator == "IN" else f"(NOT {inside})"
    written = schema.comparable(column, value)
    if operator == "!=":
        return f"({schema.value(column)} IS DISTINCT FROM {written})"
    return f"coalesce({schema.value(column)} {_OPERATORS[operator]} {written}, false)"


def _inside(column: str, values: list[Any], schema: Schema) -> str:
    if not values:
        return "false"
    written = ", ".join(schema.comparable(column, value) for value in values)
    return f"coalesce({schema.value(column)} IN ({written}), false)"


class _PandasQuery:
    """The comparisons, arithmetic and logic of :meth:`pandas.DataFrame.query`."""

    def __init__(self, text: str, schema: Schema) -> None:
        self.schema = schema
        self.quoted: dict[str, str] = {}
        try:
            self.tree = ast.parse(self._tidy(text.strip()), mode="eval").body
        except (SyntaxError, tokenize.TokenError, ValueError):
            raise NotInSqlError(f"the pandas query {text!r}") from None

    def sql(self) -> str:
        return self._truth(self.tree)

    def _tidy(self, text: str) -> str:
        """Names in backticks become plain ones, ``&`` and ``|`` bind like ``and`` and ``or``."""

        def plain(match: re.Match[str]) -> str:
            if match[1] is None:
                return match[0]
            name = f"quoted_{len(self.quoted)}_"
            self.quoted[name] = match[1]
            return name

        text = re.sub(r"`([^`]+)`|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", plain, text)
        words = {"&": "and", "|": "or"}
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        return tokenize.untokenize(
            (tokenize.NAME, words[word]) if word in words else (kind, word)
            for kind, word, *_ in tokens
        )

    def _truth(self, node: ast.expr) -> str:
        """A test that is never null."""
        if isinstance(node, ast.BoolOp):
            word = " AND " if isinstance(node.op, ast.And) else " OR "
            return "(" + word.join(map(self._truth, node.values)) + ")"
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
            return f"(NOT {self._truth(node.operand)})"
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            pairs = zip(sides, node.ops, sides[1:], strict=False)
            return "(" + " AND ".join(self._pair(*pair) for pair in pairs) + ")"
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Name) and self.schema.kind(self._column(node)) == "boolean":
            return f"coalesce({self.schema.value(self._column(node))}, false)"
        raise self._unknown(node)

    def _pair(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> str:
        if isinstance(operator, ast.In | ast.NotIn):
            if not (isinstance(left, ast.Name) and isinstance(right, ast.List | ast.Tuple)):
                raise self._unknown(right)
            inside = _inside(self._column(left), list(map(self._constant, right.elts)), self.schema)
            return inside if isinstance(operator, ast.In) else f"(NOT {inside})"
        for one, other, flip in ((left, right, False), (right, left, True)):
            if isinstance(one, ast.Name) and self._is_constant(other):
                symbol = _FLIPPED[_SYMBOLS[type(operator)]] if flip else _SYMBOLS[type(operator)]
                column, value = self._column(one), self._constant(other)
                return _compare(column, symbol, value, self.schema)
        symbol = _SYMBOLS.get(type(operator), "")
        a, b = self._operand(left), self._operand(right)
        if symbol == "!=":
            return f"({a} IS DISTINCT FROM {b})"
        if symbol not in _OPERATORS:
            raise self._unknown(left)
        return f"coalesce({a} {_OPERATORS[symbol]} {b}, false)"

    def _operand(self, node: ast.expr) -> str:
        """Arithmetic over numbers, or a column that is compared with one of its kind."""
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            a, b = self._operand(node.left), self._operand(node.right)
            return f"({a} {_ARITHMETIC[type(node.op)]} {b})"
        if isinstance(node, ast.Name) and self.schema.number(self._column(node)):
            return self.schema.double(self._column(node))
        if self._is_constant(node):
            value = self._constant(node)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return constant(float(value))
        raise self._unknown(node)

    def _call(self, node: ast.Call) -> str:
        method = node.func
        if (
            isinstance(method, ast.Attribute)
            and isinstance(method.value, ast.Name)
            and method.attr in _NULLITY
            and not node.args
            and not node.keywords
        ):
            return f"({self.schema.value(self._column(method.value))} {_NULLITY[method.attr]})"
        raise self._unknown(node)

    def _column(self, node: ast.Name) -> str:
        return self.quoted.get(node.id, node.id)

    def _is_constant(self, node: ast.expr) -> bool:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            node = node.operand
        return isinstance(node, ast.Constant)

    def _constant(self, node: ast.expr) -> Any:
        if not self._is_constant(node):
            raise self._unknown(node)
        return ast.literal_eval(node)

    def _unknown(self, node: ast.expr) -> NotInSqlError:
        return NotInSqlError(f"{ast.unparse(node)!r} in a pandas query")


_SYMBOLS: Mapping[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_FLIPPED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_ARITHMETIC: Mapping[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
_NULLITY = {
    "isnull": "IS NULL",
    "isna": "IS NULL",
    "notnull": "IS NOT NULL",
    "notna": "IS NOT NULL",
}
