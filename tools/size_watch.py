"""The size watch: no module over 400 lines, no function over 60; says which and by how much."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

MODULE_LINES = 400
FUNCTION_LINES = 60


def main() -> int:
    """Check everything below ``src``; 1 when something is too large."""
    found = [problem for path in sorted(Path("src").rglob("*.py")) for problem in _problems(path)]
    for problem in found:
        print(problem)  # noqa: T201
    return 1 if found else 0


def _problems(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    length = text.count("\n")
    problems = [f"{path}: {length} lines, {length - MODULE_LINES} too many"] if length > MODULE_LINES else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if size > FUNCTION_LINES:
                problems.append(f"{path}:{node.lineno}: function {node.name} has {size} lines")
    return problems


if __name__ == "__main__":
    sys.exit(main())
