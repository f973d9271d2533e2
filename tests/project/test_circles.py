"""No two modules import each other, directly or through others."""

from __future__ import annotations

from pathlib import Path

import grimp
import pytest

PACKAGES = ("detector", "serving", "training", "residuum")


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """The import graph, with imports inside functions.

    Imports under TYPE_CHECKING count too: two modules that need each other's types cannot be understood one at a time either.
    """
    return grimp.build_graph(*PACKAGES, exclude_type_checking_imports=False, cache_dir=None)


def circles(graph: grimp.ImportGraph) -> set[frozenset[str]]:
    """Return the strongly connected components of more than one module."""
    upstream = {module: graph.find_upstream_modules(module) for module in graph.modules}
    components = {
        frozenset({module, *(other for other in others if module in upstream[other])}) for module, others in upstream.items()
    }
    return {component for component in components if len(component) > 1}


def test_there_are_no_import_circles(graph: grimp.ImportGraph) -> None:
    assert circles(graph) == set()


def test_imports_inside_functions_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "circular"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "first.py").write_text("import circular.second\n")
    (package / "second.py").write_text("def late():\n    from circular import first\n")
    (package / "third.py").write_text("from circular import first\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert circles(grimp.build_graph("circular", cache_dir=None)) == {frozenset({"circular.first", "circular.second"})}
