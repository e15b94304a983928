"""The layout of the package: its rooms, the direction of its imports, and tests that mirror it.

docs/design.md says what each room is for. A room is a file or a folder at the package's top.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "showattend"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
MOST_ROOMS = 20

# From below to above: a room imports from rooms of lower layers only.
LAYERS = [
    {"exceptions"},
    {"system"},
    {"config", "images", "text"},
    {"model"},
    {"decoding", "data"},
    {"caption_forms"},
    {"caption"},
    {"given"},
    {"captioner"},
    {"evaluation", "visualize"},
    {"training", "export"},
    {"server"},
    {"cli"},
    {"__main__"},
]
LAYER = {room: number for number, layer in enumerate(LAYERS) for room in layer}
# Imports within a function that go against the direction: (room, imported room).
LAZY = {
    ("caption_forms", "visualize"),  # a Caption draws itself when asked to
    ("config", "model"),  # the options of a kind are those that its class declares
}

# Modules without a test file of their own, and the tests that hold them.
TESTED_BY = {
    "visualize/given_maps": "test_any_model.py",
    "config/checking": "config/test_sections.py",
    "config/yaml_files": "config/test_sections.py",
    "data/coco/annotation_source": "data/coco/test_prepare_coco.py",
    "model/decoders/decoder_options": "model/test_kinds.py",
    "model/decoders/lstm_description": "model/decoders/test_lstm.py",
    "model/description": "model/test_checkpoint.py",
    "__main__": "cli/test_app.py",
    "system/checks": "test_captioner.py",
    "cli/output_checks": "test_bad_input.py",
    "cli/compare_command": "training/test_compare.py",
    "cli/errors_command": "evaluation/mistakes/test_caption_errors.py",
    "server/answers": "server/test_api.py",
    "server/examples": "server/test_api.py",
    "cli/loading": "cli/test_app.py",
    "cli/options": "cli/test_app.py",
    "training/comparison": "training/test_compare.py",
    "training/comparison_page": "training/test_compare.py",
    "training/comparison_tables": "training/test_compare.py",
    "training/run_scores": "training/test_compare.py",
    "evaluation/grounding/faithful_tables": "evaluation/grounding/test_faithfulness.py",
    "evaluation/grounding/nouns": "evaluation/grounding/test_ground.py",
    "evaluation/grounding/pointing": "evaluation/grounding/test_ground.py",
    "evaluation/mistakes/errors_report": "evaluation/mistakes/test_caption_errors.py",
    "evaluation/mistakes/lexicon": "evaluation/mistakes/test_caption_errors.py",
    "evaluation/mistakes/people_words": "evaluation/mistakes/test_people.py",
    "evaluation/mistakes/wordlists": "evaluation/mistakes/test_caption_errors.py",
    "evaluation/scores/java": "evaluation/scores/test_metrics.py",
    "caption_forms": "test_caption.py",
    "decoding/hypotheses": "decoding/test_beam.py",
    "data/identity": "data/test_cache.py",
    "data/spoken": "training/test_tokenized_once.py",
    "data/shelf": "data/test_cache.py",
    "exceptions": "test_bad_input.py",
    "given": "test_captioner.py",
    "images/arrays": "images/test_image_files.py",
    "images/claims": "images/test_image_memory.py",
    "images/memory_needed": "images/test_image_memory.py",
    "images/depth": "images/test_colours.py",
    "images/photo_file": "cli/test_opens.py",
    "images/upright": "images/test_image_files.py",
    "images/turns": "images/test_image_files.py",
    "images/heif": "images/test_image_files.py",
    "export/graphs": "export/test_engine.py",
    "model/attention/fixed_context": "model/attention/test_contract.py",
    "model/attention/general": "model/attention/test_dot.py",
    "model/attention/scaled_dot": "model/attention/test_dot.py",
    "model/attention/scored": "model/attention/test_contract.py",
    "model/build": "model/test_checkpoint.py",
    "model/decoders/luong": "model/decoders/test_recurrent.py",
    "model/decoders/protocol": "test_extending.py",
    "model/decoders/updown": "model/decoders/test_recurrent.py",
    "model/fast/packed_forcing": "model/fast/test_fused_lstm.py",
    "model/fast/prepared": "model/fast/test_fused_lstm.py",
    "model/layers": "model/decoders/test_lstm.py",
    "model/search_options": "decoding/test_beam.py",
    "model/pretrained": "test_captioner.py",
    "model/staged": "model/test_encoder.py",
    "model/vision_transformers": "model/test_families.py",
    "model/score_settings": "evaluation/test_evaluate.py",
    "system/processes": "training/test_processes.py",
    "system/quiet": "images/test_image_files.py",
    "training/check": "training/test_trainer.py",
    "training/reporter": "training/test_trainer.py",
    "training/setup": "training/test_trainer.py",
    "training/validation": "training/test_trainer.py",
}
# Tests of more than one module, or of what is no module.
WHOLE = {
    "cli/test_notes.py",
    "cli/test_opens.py",
    "images/test_image_memory.py",
    "model/decoders/test_every_attention.py",
    "model/fast/test_switch.py",
    "model/test_families.py",
    "test_any_model.py",
    "test_attention_family.py",
    "test_bad_input.py",
    "test_extending.py",
    "test_disks.py",
    "test_container.py",
    "test_family.py",
    "test_fuzz.py",
    "test_gpu.py",
    "test_language.py",
    "test_layout.py",
    "test_makefile.py",
    "test_notebooks.py",
    "test_package.py",
    "test_readme.py",
    "test_road.py",
    "test_shipped_model.py",
    "training/test_advice.py",
    "training/test_configs.py",
    "training/test_decoder_kinds.py",
    "training/test_interruptions.py",
    "training/test_machines.py",
    "training/test_memory.py",
    "training/test_processes.py",
    "training/test_several_sets.py",
    "training/test_tokenized_once.py",
    "visualize/test_gallery_page.py",
    "visualize/test_viewer.py",
}


class Import(NamedTuple):
    """One module that imports another."""

    module: str
    lazy: bool  # within a function
    typing: bool  # for type checkers only


def room_of(module: str) -> str:
    return module.split(".")[1]


@lru_cache
def imports(name: str) -> frozenset[Import]:
    """The package's modules that a module imports; the package's own __init__ does not count."""
    found = set()

    def visit(node: ast.AST, lazy: bool, typing: bool) -> None:
        for child in ast.iter_child_nodes(node):
            names: list[str] = []
            if isinstance(child, ast.Import):
                names = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{name}: imports are absolute"
                names = [f"{child.module}.{alias.name}" for alias in child.names]
            for each in names:
                while each and each not in MODULES:
                    each = each.rpartition(".")[0]
                if each not in ("", "showattend", name):
                    found.add(Import(each, lazy, typing))
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            guard = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            visit(child, lazy or function, typing or guard)

    visit(ast.parse(MODULES[name].read_text(encoding="utf-8")), lazy=False, typing=False)
    return frozenset(found)


def imported(name: str) -> set[str]:
    """All modules that a module imports, in whatever way."""
    return {each.module for each in imports(name)}


def inside(*rooms: str) -> Iterator[str]:
    """The modules of rooms, given by dotted names without the package's."""
    for name in MODULES:
        if any(f"{name}.".startswith(f"showattend.{room}.") for room in rooms):
            yield name


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Nodes that lead back to the first of them; none where the graph has no circle."""
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for other in sorted(graph.get(node, ())):
            if found := walk(other, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := walk(node, []))), [])


def test_the_checks_see_what_they_should() -> None:
    """The tests of this file cannot pass because they look at nothing."""
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}}) == []
    assert Import("showattend.captioner", lazy=True, typing=False) in imports(
        "showattend.cli.loading"
    )
    assert Import("showattend.images.geometry", lazy=False, typing=False) in imports(
        "showattend.caption"
    )
    assert Import("showattend.captioner", lazy=False, typing=True) in imports(
        "showattend.cli.loading"
    )
    assert "showattend.model.attention.additive" in set(inside("model"))


def test_there_are_few_rooms() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.*")}
    rooms -= {"__pycache__", "py.typed"}
    assert len(rooms) <= MOST_ROOMS, sorted(rooms)


def test_no_module_name_occurs_twice() -> None:
    """Folders are counted as well: a name says where to look."""
    names = Counter(name.split(".")[-1] for name in MODULES)
    assert not {name: count for name, count in names.items() if count > 1}


@pytest.mark.parametrize("name", [name for name in MODULES if name != "showattend"])
def test_imports_run_one_way(name: str) -> None:
    room = room_of(name)
    assert room in LAYER, f"{room}: say in LAYERS where it belongs"
    for each in imports(name):
        other = room_of(each.module)
        if other == room or (each.lazy and (room, other) in LAZY):
            continue
        assert LAYER[other] < LAYER[room], f"{name} imports {each.module}"


def test_every_exception_is_needed() -> None:
    against = {
        (room_of(name), room_of(each.module))
        for name in MODULES
        if name != "showattend"
        for each in imports(name)
        if each.lazy
    }
    assert against >= LAZY


def test_no_module_imports_itself_by_others() -> None:
    """Top-level and function-level imports alike, but for a Caption's; type checking has no order.

    What config imports of model imports no config.
    """
    drawing = ("caption_forms", "visualize")
    graph = {
        name: {
            each.module
            for each in imports(name)
            if not each.typing and (room_of(name), room_of(each.module)) != drawing
        }
        for name in MODULES
        if name != "showattend"
    }
    assert circle(graph) == []


def test_the_core_imports_only_what_it_needs() -> None:
    # The plain code does not know the fast one, and takes plain arguments, no config.
    plain = {"showattend.exceptions", "showattend.model.layers", "showattend.model.kinds"}
    plain |= set(inside("model.attention"))
    for name in inside("model.attention"):
        assert imported(name) <= plain, name
    for name in inside("model.decoders"):
        assert imported(name) <= plain | set(inside("model.decoders")), name
    for name in inside("model.fast"):
        known = plain | set(inside("model.decoders", "model.fast"))
        assert imported(name) <= known, name
    # Which of the fast parts are used is chosen in one place.
    parts = set(inside("model.fast")) - {"showattend.model.fast"}
    for name in set(MODULES) - set(inside("model.fast")):
        assert not imported(name) & parts, name
    # Search knows decoders by a protocol only.
    for name in inside("decoding"):
        allowed = {
            "showattend.exceptions",
            "showattend.system.checks",
            "showattend.model.search_options",
            "showattend.model.fast",
        }
        allowed |= {"showattend.model.decoders.protocol", *inside("decoding", "text")}
        assert imported(name) <= allowed, name
    for name in inside("images", "text"):
        allowed = {"showattend.exceptions", *inside("images", "text", "system")}
        assert imported(name) <= allowed, name
    # Only builders read configs, and the options of search their own section.
    readers = {"showattend.model.build", "showattend.model.search_options", "showattend.captioner"}
    readers |= {"showattend.server.api", *inside("cli", "training")}
    assert {name for name in MODULES if "showattend.config" in imported(name)} <= readers


def test_tests_mirror_the_package() -> None:
    tests = ROOT / "tests"
    modules = {
        path.relative_to(PACKAGE).with_suffix("").as_posix()
        for name, path in MODULES.items()
        if path.name != "__init__.py"
    }
    found = {path.relative_to(tests).as_posix() for path in tests.rglob("test_*.py")}
    wanted = {
        module: "/".join([*module.split("/")[:-1], f"test_{module.split('/')[-1]}.py"])
        for module in modules
    }
    untested = {module for module, test in wanted.items() if test not in found}
    assert untested == set(TESTED_BY), "a module has tests/ROOM/test_MODULE.py, or say who tests it"
    assert set(TESTED_BY.values()) <= found
    assert found >= WHOLE
    scripts = {f"scripts/test_{path.stem}.py" for path in (ROOT / "scripts").rglob("*.py")}
    strays = found - set(wanted.values()) - WHOLE - scripts
    assert not strays, "a test lies where its module does, or is named in WHOLE"
