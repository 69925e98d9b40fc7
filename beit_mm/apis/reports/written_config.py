"""The config that a training has written, read as data: nothing in it is run."""

import ast
from pathlib import Path

from mmengine.config import Config


def read_written(path: Path) -> Config:
    """Return the config of a work dir: literals and ``dict(...)``, as MMEngine writes it.

    Raises:
        ValueError: There is something else in it.
        SyntaxError: It is no Python.
    """
    values = {}
    for line in ast.parse(path.read_text(encoding='utf-8')).body:
        if isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant):
            continue  # text that explains it
        targets = line.targets if isinstance(line, ast.Assign) else []
        if not targets or not all(isinstance(target, ast.Name) for target in targets):
            raise ValueError(f'line {line.lineno} is no config that a training has written')
        value = ast.literal_eval(Literal().visit(line.value))
        values |= {target.id: value for target in targets}
    return Config(values)


class Literal(ast.NodeTransformer):
    """Writes ``dict(a=1)`` and ``dict({'a': 1})`` as ``{'a': 1}``."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == 'dict':
            if not node.args and all(keyword.arg for keyword in node.keywords):
                keys = [ast.Constant(keyword.arg) for keyword in node.keywords]
                return ast.Dict(keys, [keyword.value for keyword in node.keywords])
            if [type(arg) for arg in node.args] == [ast.Dict] and not node.keywords:
                return node.args[0]
        return node  # which literal_eval refuses
