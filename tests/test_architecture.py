"""The shape of the code: layers, and sizes that a reader can take in."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for name in ("migrator", "fixtures") for path in (ROOT / name).rglob("*.py"))
LONGEST_MODULE = 300
LONGEST_FUNCTION = 50


def _lines(node: ast.AST) -> int:
    """Lines of a function's body, without its docstring."""
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


def test_layers_hold() -> None:
    """import-linter's contracts in pyproject.toml."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_of_a_size_and_explain_themselves(path: Path) -> None:
    """A docstring on the module and on everything public in it; no module and no function too long."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    if "migrations/versions" not in path.as_posix():
        assert text.count("\n") <= LONGEST_MODULE
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert _lines(node) <= LONGEST_FUNCTION or "migrations/versions" in path.as_posix(), node.name
    public = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"]
    for node in public:
        assert ast.get_docstring(node), node.name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_command_line_prints_and_exits(path: Path) -> None:
    """No `print`, no `sys.exit`, no click or tqdm elsewhere.

    Command lines of their own: `python -m fixtures.generate`, and the verifier that goes with each bundle of proofs.
    """
    if "cli" in path.relative_to(ROOT).parts or path.name == "generate.py" or path.match("audit/bundle/verify.py"):
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in ("print", "sys.exit", "exit", "quit", "input")
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.split(".")[0] for name in names} & {"click", "tqdm"}
