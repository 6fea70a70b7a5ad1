"""Finds in source code which keys of the schema are read; runs none of it, and knows nothing of which should be.

A read is an attribute access `value.key` where `value` is known to be a section that has the key. It is known for what
is annotated with the section's class (a parameter, variable, attribute or result), and for what comes from such a value
by an attribute (`config.training`), an assignment or a loop. `epochs` of an unknown object counts for nothing.
"""

import ast
from collections import defaultdict
from collections.abc import Iterable

from nima_cli.config.keys import item_type, section_type, sections

Read = tuple[str, str]  # class of the section, key

_SECTIONS = {section.__name__: section for section in sections().values()}
_PASSING = {"enumerate", "list", "tuple", "sorted", "reversed", "zip", "iter", "next", "min", "max", "set"}
_SCOPE = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda


def reads(modules: Iterable[str]) -> set[Read]:
    """Every read of a key in these source texts."""
    trees = [ast.parse(text) for text in modules]
    outside: dict[str, set[str]] = defaultdict(set)
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef):
            outside[node.name] |= _named(node.returns)
        elif isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    outside[item.target.id] |= _named(item.annotation)
    found: set[Read] = set()
    for tree in trees:
        _Reader(outside, found).visit(tree)
    return found


def _named(annotation: ast.expr | None) -> set[str]:
    """The sections that an annotation names, also inside `| None` or `Sequence[...]`."""
    if annotation is None:
        return set()
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    return {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name) and node.id in _SECTIONS}


def _dotted(node: ast.expr) -> str:
    """`a.b.c` of names and attributes; empty for what is reached in another way."""
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value)
        return owner and f"{owner}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _inside(section: str, key: str) -> set[str]:
    """The section that stands at `key` of a section, or whose list does."""
    field = _SECTIONS[section].model_fields.get(key)
    inner = field and (section_type(field.annotation) or section_type(item_type(field.annotation)))
    return {inner.__name__} if inner else set()


class _Reader(ast.NodeVisitor):
    """Walks one module, keeping what is known of the variables of each class and function."""

    def __init__(self, outside: dict[str, set[str]], found: set[Read]) -> None:
        self.outside, self.found = outside, found  # `outside`: attributes and results, by name, of all modules
        self.scopes: list[dict[str, set[str]]] = [{}]

    def kinds(self, node: ast.expr) -> set[str]:
        """The sections that an expression may be; for a list, that its items may be."""
        if (name := _dotted(node)) and (scope := self._scope(name)):
            return scope[name]
        if isinstance(node, ast.Attribute):
            owners = self.kinds(node.value)
            return {kind for owner in owners for kind in _inside(owner, node.attr)} or self.outside.get(
                node.attr, set()
            )
        if isinstance(node, ast.Call):
            return self._result(node)
        parts: list[ast.expr] = []
        if isinstance(node, ast.BoolOp):
            parts = node.values
        elif isinstance(node, ast.IfExp):
            parts = [node.body, node.orelse]
        elif isinstance(node, ast.Subscript | ast.NamedExpr | ast.Starred):
            parts = [node.value]
        elif isinstance(node, ast.List | ast.Tuple):
            parts = node.elts
        return {kind for part in parts for kind in self.kinds(part)}

    def _result(self, node: ast.Call) -> set[str]:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if isinstance(node.func, ast.Attribute):
            return self.outside.get(node.func.attr, set())
        if name in _PASSING:
            return {kind for argument in node.args for kind in self.kinds(argument)}
        return {name} if name in _SECTIONS else self.outside.get(name, set())

    def _scope(self, name: str) -> dict[str, set[str]] | None:
        return next((scope for scope in reversed(self.scopes) if name in scope), None)

    def _learn(self, target: ast.expr, kinds: set[str]) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            for part in target.elts:
                self._learn(part, kinds)
        elif isinstance(target, ast.Attribute) and len(self.scopes) > 1:
            self.scopes[-2][_dotted(target)] = kinds  # `self.x` is known to the class around the method
        elif isinstance(target, ast.Name):
            self.scopes[-1][target.id] = kinds

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        if isinstance(node.ctx, ast.Load):
            self.found |= {
                (kind, node.attr) for kind in self.kinds(node.value) if node.attr in _SECTIONS[kind].model_fields
            }

    def generic_visit(self, node: ast.AST) -> None:
        """Learn from what binds names before looking inside; a class is read twice, as its methods have no order."""
        if isinstance(node, ast.comprehension | ast.For):
            self._learn(node.target, self.kinds(node.iter))
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                self._learn(target, self.kinds(node.value))
        elif isinstance(node, ast.AnnAssign):
            self._learn(node.target, _named(node.annotation))
        elif isinstance(node, ast.NamedExpr):
            self._learn(node.target, self.kinds(node.value))
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
            for part in node.generators:
                self._learn(part.target, self.kinds(part.iter))
        if not isinstance(node, _SCOPE):
            super().generic_visit(node)
            return
        self.scopes.append({} if isinstance(node, ast.ClassDef) else self._parameters(node.args))
        for _ in range(2 if isinstance(node, ast.ClassDef) else 1):
            super().generic_visit(node)
        self.scopes.pop()

    @staticmethod
    def _parameters(arguments: ast.arguments) -> dict[str, set[str]]:
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        return {argument.arg: _named(argument.annotation) for argument in every}
