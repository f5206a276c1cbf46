"""Condition expressions of DynamoDB, over an item in memory: as far as this project's go."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

_TOKEN = re.compile(r"\s*(<=|>=|<>|[=<>(),]|[#:]?\w+)")


class Condition:
    """A condition expression over one item: OR, AND, parentheses, comparisons, BETWEEN,
    attribute_exists and attribute_not_exists."""

    def __init__(
        self, expression: str, names: Mapping[str, str], values: Mapping[str, Any]
    ) -> None:
        self._tokens = _TOKEN.findall(expression)
        self._names, self._values = names, values
        self._at = 0
        self._item: Mapping[str, Any] = {}

    def holds(self, item: Mapping[str, Any]) -> bool:
        self._at, self._item = 0, item
        result = self._or()
        assert self._at == len(self._tokens), f"not understood: {self._tokens[self._at :]}"
        return result

    def _next(self) -> str:
        token: str = self._tokens[self._at]
        self._at += 1
        return token

    def _is(self, *words: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] in words:
            self._at += 1
            return True
        return False

    def _or(self) -> bool:
        result = self._and()
        while self._is("OR"):
            result = self._and() or result
        return result

    def _and(self) -> bool:
        result = self._one()
        while self._is("AND"):
            result = self._one() and result
        return result

    def _one(self) -> bool:
        if self._is("("):
            result = self._or()
            assert self._is(")")
            return result
        word = self._next()
        if word in {"attribute_exists", "attribute_not_exists"}:
            assert self._is("(")
            there = self._value(self._next()) is not None
            assert self._is(")")
            return there == (word == "attribute_exists")
        left, operator = self._value(word), self._next()
        if operator == "BETWEEN":
            low = self._value(self._next())
            assert self._is("AND")
            high = self._value(self._next())
            return _compare(low, "<=", left) and _compare(left, "<=", high)
        return _compare(left, operator, self._value(self._next()))

    def _value(self, word: str) -> Any:
        if word.startswith(":"):
            return self._values[word]
        return self._item.get(self._names.get(word, word))


def _compare(left: Any, operator: str, right: Any) -> bool:
    if left is None or right is None or left.keys() != right.keys():
        return operator == "<>"
    a, b = _comparable(left), _comparable(right)
    return bool(
        {"=": a == b, "<>": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[operator]
    )


def _comparable(value: Mapping[str, Any]) -> Any:
    ((kind, content),) = value.items()
    return Decimal(content) if kind == "N" else content.encode() if kind == "S" else content
