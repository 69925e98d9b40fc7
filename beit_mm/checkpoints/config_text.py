"""The config texts that checkpoints carry, which MMEngine runs as Python when it reads them."""

import ast
import logging

from mmengine.logging import print_log

from .trust import is_trusted

SIDE_EFFECTS = ('_base_', 'custom_imports')  # they make Config read files and import modules


def is_data(text: str) -> bool:
    """Whether a config text is assignments of literals, dict(...) and containers, nothing else."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    if '{{' in text:  # MMEngine fills in environment variables and file names
        return False
    return all(_is_assignment(node) for node in tree.body)


def _is_assignment(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Assign)
        and all(isinstance(t, ast.Name) and t.id not in SIDE_EFFECTS for t in node.targets)
        and _is_value(node.value)
    )


def _is_value(node: ast.expr | None) -> bool:
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, (ast.USub, ast.UAdd)) and isinstance(node.operand, ast.Constant)
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return all(map(_is_value, node.elts))
    if isinstance(node, ast.Dict):
        return all(map(_is_value, [*node.keys, *node.values]))
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name == 'float':  # float('inf')
            return len(node.args) == 1 and isinstance(node.args[0], ast.Constant)
        named = all(keyword.arg and _is_value(keyword.value) for keyword in node.keywords)
        return name == 'dict' and not node.args and named
    return False


def drop_code(checkpoint: dict, source: str) -> None:
    """Takes out of ``checkpoint`` every config text that could do more than assign values.

    ``Runner.resume`` runs ``meta['config']``, and inferencers without a config run the text of
    ``message_hub`` or ``meta['cfg']``. Training does not need any of them.
    """
    if is_trusted():
        return
    meta = checkpoint.get('meta')
    hub = checkpoint.get('message_hub')
    places = [(meta, 'config', 'meta'), (meta, 'cfg', 'meta')]
    if isinstance(hub, dict):
        places.append((hub.get('runtime_info'), 'cfg', 'message_hub.runtime_info'))
    for holder, key, where in places:
        if not isinstance(holder, dict) or key not in holder:
            continue
        text = holder[key]
        if isinstance(text, str) and is_data(text):
            continue
        del holder[key]
        print_log(
            f'{source}: the config text in {where}.{key} is more than values, so that reading it '
            'would run code; it is left out',
            logger='current',
            level=logging.WARNING,
        )
