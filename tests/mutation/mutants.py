"""The mutants of a module: its source with one operator changed. The operators are Cosmic Ray's."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.ast.ast_query import ASTQuery
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

#: For each operator its neighbour and its opposite. Cosmic Ray replaces an operator by every
#: other one; tests that tell these two apart tell the others apart as well.
_COMPARISONS = {
    "Eq": ["NotEq"], "NotEq": ["Eq"], "Is": ["IsNot"], "IsNot": ["Is"],
    "Lt": ["LtE", "GtE"], "LtE": ["Lt", "Gt"], "Gt": ["GtE", "LtE"], "GtE": ["Gt", "Lt"],
}  # fmt: skip
_ARITHMETIC = {
    "Add": "Sub", "Sub": "Add", "Mul": "FloorDiv", "Div": "Mul", "FloorDiv": "Mul", "Mod": "Mul",
    "Pow": "Mul", "RShift": "LShift", "LShift": "RShift", "BitOr": "BitAnd", "BitAnd": "BitOr",
    "BitXor": "BitOr",
}  # fmt: skip
_OPERATORS = [
    *(f"ReplaceComparisonOperator_{a}_{b}" for a, others in _COMPARISONS.items() for b in others),
    *(f"ReplaceBinaryOperator_{a}_{b}" for a, b in _ARITHMETIC.items()),
    "ReplaceUnaryOperator_USub_UAdd",
    "ReplaceUnaryOperator_Delete_Not",
    "AddNot",
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ExceptionReplacer",
    "NumberReplacer",
    "ZeroIterationForLoop",
]

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change. definition: the function or class that it is in, empty for the module itself.

    line, changed: the lines that differ, without indentation. number: of the line.
    """

    module: str
    definition: str
    number: int
    line: str
    changed: str
    source: str

    def __str__(self) -> str:
        where = f"{self.module}:{self.number} in {self.definition or 'the module'}"
        return f"{where}\n    - {self.line}\n    + {self.changed}"


def mutants(module: str, source: str) -> Iterator[Mutant]:
    """All mutants of a module, in the order of its lines, but for annotations and decorators."""
    tree = get_ast(source)
    spared = list(_annotations_and_decorators(source))
    found = []
    for name in _OPERATORS:
        operator = get_operator(f"core/{name}")()
        places = (
            (node, start)
            for node in ast_nodes(tree)
            for start, _ in operator.mutation_positions(node)
        )
        for occurrence, (node, start) in enumerate(places):
            if not any(begin <= start < end for begin, end in spared):
                definition = ASTQuery(node).get_definition_name() or ""
                found.append((start, name, occurrence, operator, definition))
    for start, _, occurrence, operator, definition in sorted(found, key=lambda each: each[:3]):
        try:
            changed = mutate_code(source, operator, occurrence)
        except AttributeError:
            continue  # a dotted exception, which Cosmic Ray cannot replace
        assert changed is not None
        if not _compiles(changed):
            continue  # a bare `*` between parameters, which Cosmic Ray takes for a product
        yield Mutant(module, definition, start[0], *_difference(source, changed), source=changed)


def _annotations_and_decorators(source: str) -> Iterator[tuple[Place, Place]]:
    """From where to where they reach: a changed one is an error at import, or changes no rule."""
    for node in ast.walk(ast.parse(source)):
        parts = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        for part in (*parts, *getattr(node, "decorator_list", ())):
            if isinstance(part, ast.expr):
                assert part.end_lineno is not None
                assert part.end_col_offset is not None
                yield (part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset)


def _compiles(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def _difference(before: str, after: str) -> tuple[str, str]:
    """The lines that differ, joined where there are several."""
    old, new = before.splitlines(), after.splitlines()
    first = next(n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b)
    last = next(n for n, (a, b) in enumerate(zip(old[::-1], new[::-1], strict=False)) if a != b)
    return _joined(old[first : len(old) - last]), _joined(new[first : len(new) - last])


def _joined(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())
