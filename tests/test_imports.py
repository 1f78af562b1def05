"""The arrows between rooms: who may import whom, read from the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("auditor", "benchmarks", "checks", "reports")

#: Module or room -> what it may import of ours. The longest name that fits counts.
ARROWS = {
    "auditor": {"auditor"},
    "auditor.cli": {"auditor", "checks", "reports"},
    "auditor.session": {"auditor", "checks", "reports"},  # the command line's own room
    "auditor.schema": {
        "auditor.catalogue",
        "auditor.fixes.kinds",
        "auditor.inventoryfile",
        "auditor.model",
        "auditor.tailoringkeys",
        "checks",
    },
    "auditor.holdings": set(),
    "auditor.model": {"auditor.fixes.kinds", "auditor.holdings", "auditor.registers"},
    "auditor.fixes": {"auditor.__version__", "auditor.facts", "auditor.fixes", "auditor.model", "auditor.terminal", "checks"},
    "auditor.fixes.kinds": set(),
    "auditor.queries": {"auditor.model"},
    "auditor.registers": set(),
    "auditor.yamlfile": set(),
    "auditor.yamltree": {"auditor.yamlfile"},
    "auditor.engine": {"auditor.model"},
    "auditor.correlate": {"auditor.engine", "auditor.facts", "auditor.model"},
    "auditor.score": {"auditor.model"},
    "auditor.extent": {"auditor.model"},
    "auditor.results": {"auditor.holdings", "auditor.model", "auditor.registers", "auditor.score"},
    "auditor.store": {
        "auditor.databases",
        "auditor.migrations",
        "auditor.model",
        "auditor.packs",
        "auditor.results",
        "auditor.rows",
        "auditor.score",
        "auditor.spooled",
        "auditor.tables",
    },
    "auditor.scratch": set(),
    "auditor.spooled": {"auditor.model", "auditor.queries", "auditor.results", "auditor.scratch"},
    "auditor.rows": {"auditor.model", "auditor.results", "auditor.tables"},
    "auditor.packs": {"auditor.databases", "auditor.model", "auditor.rows", "auditor.tables"},
    "auditor.shards": {"auditor.model"},
    "auditor.runs": {"auditor"},  # of the command line
    "auditor.databases": set(),
    "auditor.migrations": set(),
    "auditor.past": set(),
    "auditor.pades": {"auditor.credentials", "auditor.signing", "auditor.yamlfile", "reports.error"},
    "auditor.diff": {"auditor.model", "auditor.past", "auditor.score"},
    "auditor.recheck": {"auditor.model", "auditor.score"},
    "auditor.cli_history": {"auditor", "reports"},  # the command line's own room
    "auditor.catalogue": {
        "auditor.editions",
        "auditor.facts",
        "auditor.fixes.kinds",
        "auditor.model",
        "auditor.places",
        "auditor.yamlfile",
        "auditor.yamltree",
    },
    "auditor.places": set(),
    "auditor.editions": {"auditor.facts"},
    "auditor.versions": {"auditor.editions", "auditor.facts", "auditor.model", "auditor.targets"},
    "auditor.evidence": {"auditor.model", "auditor.yamlfile", "auditor.files"},
    "auditor.inventory": {"auditor.model", "auditor.yamlfile", "auditor.inventoryfile"},
    "auditor.inventoryfile": {"auditor.yamlfile", "auditor.yamltree"},
    "auditor.facts": {"auditor.model", "auditor.facts"},
    "auditor.transports": {"auditor.model", "auditor.facts", "auditor.inventory", "auditor.transports"},
    "auditor.collect": {
        "auditor.credentials",
        "auditor.model",
        "auditor.facts",
        "auditor.inventory",
        "auditor.transports",
        "auditor.yamlfile",
    },
    "auditor.credentials": {"auditor.inventory", "auditor.transports", "auditor.yamlfile"},
    "auditor.cli_hosts": {"auditor"},  # the command line's own room
    "benchmarks": set(),
    "checks": {"auditor.model", "auditor.facts", "checks"},
    "reports": {
        "auditor.__version__",
        "auditor.diff",
        "auditor.difftext",
        "auditor.extent",
        "auditor.holdings",
        "auditor.model",
        "auditor.past",
        "auditor.queries",
        "auditor.registers",
        "auditor.score",
        "auditor.results",
        "auditor.files",
        "reports",
    },
}

#: What costs more to import than the whole command line may take to answer --help.
HEAVY = {"docker", "jinja2", "jsonschema", "kubernetes", "msgspec", "paramiko", "rich", "sqlalchemy", "urllib3", "weasyprint", "cryptography", "asyncio", "http"}  # fmt: skip

FILES = sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(p) for p in FILES}


def imported(path: Path) -> set[str]:
    """Everything that a module imports, wherever in it: ``a.b`` for modules, ``a.__name__`` for what a package itself defines."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the arrow"
            assert node.module
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in MODULES or name == "auditor.__version__" else node.module)
    return found


def within(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def forbidden(module: str, imports: set[str]) -> set[str]:
    rule = max((r for r in ARROWS if within(module, r)), key=len)
    ours = {i for i in imports if i.partition(".")[0] in ROOMS}
    return {i for i in ours if not within(i, rule) and not any(within(i, allowed) for allowed in ARROWS[rule])}


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_arrows(path: Path) -> None:
    wrong = forbidden(module_of(path), imported(path))
    assert not wrong, f"{module_of(path)} may not import {', '.join(sorted(wrong))}"


def test_the_test_sees_a_wrong_arrow() -> None:
    assert forbidden("checks.files", {"auditor.evidence", "auditor.model", "os"}) == {"auditor.evidence"}
    assert forbidden("auditor.facts.host", {"checks"}) == {"checks"}
    assert forbidden("auditor.engine", {"auditor.evidence", "auditor.model"}) == {"auditor.evidence"}
    assert forbidden("reports.view", {"auditor.cli", "auditor.score"}) == {"auditor.cli"}
    assert forbidden("auditor.collect", {"auditor.engine", "auditor.transports.ssh"}) == {"auditor.engine"}
    assert forbidden("auditor.audit", {"checks.files", "reports", "auditor.engine"}) == {"checks.files", "reports"}


def test_nothing_of_the_program_imports_its_tests() -> None:
    assert not [p for p in FILES if any(within(i, "tests") for i in imported(p))]


def test_no_circles() -> None:
    """Counting what is imported when a module is loaded, not inside functions."""
    graph: dict[str, set[str]] = {}
    for path in FILES:
        top = ast.Module([n for n in ast.parse(path.read_text()).body if isinstance(n, ast.Import | ast.ImportFrom)], [])
        names = set()
        for node in top.body:
            names |= (
                {a.name for a in node.names}
                if isinstance(node, ast.Import)
                else {f"{node.module}.{a.name}" for a in node.names} | {node.module or ""}
            )
        graph[module_of(path)] = (names & MODULES) - {module_of(path)}
    while leaves := [m for m, needed in graph.items() if not needed & graph.keys()]:
        for leaf in leaves:
            del graph[leaf]
    assert not {m: needed & graph.keys() for m, needed in graph.items()}


@pytest.mark.parametrize("arguments", [["--help"], ["audit", "--help"], ["--version"]], ids=" ".join)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    script = f"import sys, atexit\natexit.register(lambda: print('\\n' + ' '.join(sorted(m for m in sys.modules if '.' not in m))))\nsys.argv = {['auditor', *arguments]!r}\nfrom auditor.cli import main\nmain()"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.splitlines()[-1].split())
    assert {"auditor", "click"} <= loaded
    assert not loaded & HEAVY


def test_importing_any_module_loads_no_client_library() -> None:
    """Modules can be read one by one without a Docker, Kubernetes or PDF library: those are imported where they are used."""
    names = sorted(m for m in MODULES if m not in {"auditor.__main__", "reports.pdf_child"})
    script = f"import sys, importlib\nfor n in {names!r}: importlib.import_module(n)\nprint(' '.join(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert not set(result.stdout.split()) & {"docker", "kubernetes", "paramiko", "rich", "sqlalchemy", "weasyprint"}
