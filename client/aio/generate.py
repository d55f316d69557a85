"""Makes the asynchronous SDK of the blocking one: `python -m client.aio.generate` writes client/aio/*.py anew.

A function becomes a coroutine if it calls what waits: a name of `client.waiting`, or another function that became one.
Generators that wait become asynchronous generators, and what is a context manager stays one. Everything else is left
as it is, and a test compares what is committed with what this makes.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent
SOURCES = ("transport", "resumable", "calls", "label_loop", "sdk")  # and every *_calls.py
_RECEIVERS = {"self", "self._transport", "self._http", "transport", "sending"}
_NAMES = {
    "Client": "AsyncClient",
    "contextmanager": "asynccontextmanager",
    "__enter__": "__aenter__",
    "__exit__": "__aexit__",
}
_FLOWS = {"Iterable", "Iterator"}
_Function = ast.FunctionDef
_Edit = tuple[int, int, bytes]  # bytes from, to, and what comes there


class Waiting:
    """The names of what waits, by how it is used."""

    def __init__(self, trees: list[ast.Module]) -> None:
        self.calls = {"pause", "tell", "asked", "read_all", "request", "close", "__enter__", "__exit__"}
        self.flows = {"each", "blocks", "lines"}
        self.contexts = {"stream"}
        functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, _Function)]
        while [function for function in functions if self._add(function)]:
            pass

    def __contains__(self, function: _Function) -> bool:
        return function.name in self.calls | self.flows | self.contexts

    def _add(self, function: _Function) -> bool:
        if function in self or not any(self.kind(node) for node in ast.walk(function)):
            return False
        if any(isinstance(each, ast.Name) and each.id == "contextmanager" for each in function.decorator_list):
            self.contexts.add(function.name)
        elif any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function)):
            self.flows.add(function.name)
        elif any(
            self.kind(node) != "flow" or _looped(function, node) for node in ast.walk(function) if self.kind(node)
        ):
            self.calls.add(function.name)
        else:
            return False
        return True

    def kind(self, node: ast.AST) -> str | None:
        """call, flow or context, if the node is a call of what waits."""
        if not isinstance(node, ast.Call):
            return None
        if isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) in _RECEIVERS:
            name = node.func.attr
        elif isinstance(node.func, ast.Name):
            name = node.func.id
        else:
            return None
        kinds = {"call": self.calls, "flow": self.flows, "context": self.contexts}
        return next((kind for kind, names in kinds.items() if name in names), None)


def _looped(function: _Function, call: ast.AST) -> bool:
    return any(isinstance(node, ast.For | ast.comprehension) and node.iter is call for node in ast.walk(function))


class _Module:
    """One module's text, with what changes in it."""

    def __init__(self, text: str, waiting: Waiting, converted: set[str]) -> None:
        self.lines = text.encode().splitlines(keepends=True)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))
        self.waiting, self.converted = waiting, converted
        self.edits: list[_Edit] = []
        self.tree = ast.parse(text)
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    def text(self) -> str:
        """The module, changed."""
        for node in ast.walk(self.tree):
            self._names(node)
            if isinstance(node, _Function) and node in self.waiting:
                self._function(node)
        self._insert(self.tree.body[1], b"from collections.abc import AsyncIterator\n")  # taken out again if not needed
        whole = b"".join(self.lines)
        for start, end, new in sorted(self.edits, reverse=True):
            whole = whole[:start] + new + whole[end:]
        return whole.decode()

    def _at(self, line: int, column: int) -> int:
        return self.starts[line - 1] + column

    def _insert(self, node: ast.AST, new: bytes, *, after: bool = False) -> None:
        assert isinstance(node, ast.expr | ast.stmt)
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        place = self._at(node.end_lineno, node.end_col_offset) if after else self._at(node.lineno, node.col_offset)
        self.edits.append((place, place, new))

    def _replace(self, node: ast.stmt | ast.expr, old: str, new: str) -> None:
        start = self._at(node.lineno, node.col_offset)
        found = b"".join(self.lines).index(old.encode(), start)
        self.edits.append((found, found + len(old.encode()), new.encode()))

    def _names(self, node: ast.AST) -> None:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            package, _, module = node.module.partition(".")
            names = {alias.name for alias in node.names}
            if package == "client" and (module in self.converted or (not module and names <= self.converted)):
                self._replace(node, "from client", "from client.aio")
            for name in names & _NAMES.keys():
                self._replace(node, name, _NAMES[name])
        elif isinstance(node, ast.ClassDef | _Function) and node.name in _NAMES:
            self._replace(node, node.name, _NAMES[node.name])
        elif isinstance(node, ast.Name) and node.id in _NAMES:
            self._replace(node, node.id, _NAMES[node.id])
        elif isinstance(node, ast.Constant) and node.value in _NAMES:
            self._replace(node, str(node.value), _NAMES[node.value])

    def _function(self, function: _Function) -> None:
        if function.name not in self.waiting.flows | self.waiting.contexts or self._yields(function):
            self._insert(function, b"async ")
        if self._yields(function) and function.returns is not None:
            for name in ast.walk(function.returns):
                if isinstance(name, ast.Name) and name.id in _FLOWS:
                    self._replace(name, name.id, "AsyncIterator")
        for node in self._own(function):
            self._statement(node)

    def _statement(self, node: ast.AST) -> None:
        kind = self.waiting.kind(node)
        if kind == "call":
            if isinstance(self.parents[node], ast.Attribute | ast.Subscript):
                self._insert(node, b"(await ")
                self._insert(node, b")", after=True)
            else:
                self._insert(node, b"await ")
        elif isinstance(node, ast.For) and self.waiting.kind(node.iter) == "flow":
            self._insert(node, b"async ")
        elif isinstance(node, ast.comprehension) and self.waiting.kind(node.iter) == "flow":
            place = b"".join(self.lines).rindex(b"for ", 0, self._at(node.target.lineno, node.target.col_offset))
            self.edits.append((place, place, b"async "))
        elif isinstance(node, ast.With) and any(self.waiting.kind(i.context_expr) == "context" for i in node.items):
            self._insert(node, b"async ")
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.YieldFrom):
            self._flow(node, node.value)

    def _flow(self, node: ast.Expr, found: ast.YieldFrom) -> None:
        """`yield from` has no asynchronous form: a loop does the same."""
        loop = "async for" if self.waiting.kind(found.value) == "flow" else "for"
        self._replace(node, "yield from", f"{loop} entry in")
        self._insert(found.value, b":\n" + b" " * (node.col_offset + 4) + b"yield entry", after=True)

    @staticmethod
    def _yields(function: _Function) -> bool:
        return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function))

    def _own(self, node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            yield child
            if not isinstance(child, _Function):
                yield from self._own(child)


def generated() -> dict[str, str]:
    """The modules by file name."""
    found = sorted([*(FOLDER.parent / f"{name}.py" for name in SOURCES), *FOLDER.parent.glob("*_calls.py")])
    texts = {path.stem: path.read_text(encoding="utf-8") for path in found}
    waiting = Waiting([ast.parse(text) for text in texts.values()])
    converted = {*texts, "waiting"}
    return {
        f"{name}.py": _tidied(f"# Made from client/{name}.py by `make client`: change that one.\n{made}")
        for name, text in texts.items()
        for made in [_Module(text, waiting, converted).text()]
    }


def _tidied(text: str) -> str:
    for command in (["check", "--select", "F401,I", "--fix", "--quiet"], ["format", "--quiet"]):
        arguments = [sys.executable, "-m", "ruff", *command, "--stdin-filename", "client/aio/made.py", "-"]
        text = subprocess.run(arguments, input=text, capture_output=True, text=True, check=True).stdout  # noqa: S603
    return text


def main() -> None:
    """Write them."""
    for name, text in generated().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
