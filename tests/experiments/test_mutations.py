"""The list of breaks is in step with the code, and its runner tells caught from survived."""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path

import attrs
import pytest

from experiments import mutations
from experiments.mutations import CAUGHT, FAILING, ROOT, STALE, SURVIVED, Break, load, run, select

BREAKS = load()


@functools.cache
def functions(file: str) -> set[str]:
    """Names of the tests of a file; empty where it is not there."""
    if not (ROOT / file).is_file():
        return set()
    found = ast.parse((ROOT / file).read_text("utf8")).body
    return {node.name for node in found if isinstance(node, ast.FunctionDef)}


def problems(one: Break) -> Iterator[str]:
    if one.is_stale(ROOT):
        yield f"{one.old!r} is not in {one.file} exactly once"
    elif one.file.endswith(".py"):
        ast.parse((ROOT / one.file).read_text("utf8").replace(one.old, one.new))
    if one.new == one.old:
        yield "it changes nothing"
    if not one.tests:
        yield "it names no test"
    for test in one.tests:
        file, _, name = test.partition("::")
        names = functions(file)
        if not any(known.startswith("test_") for known in names) or (name and name not in names):
            yield f"there is no test {test}"


def test_breaks_are_in_step_with_the_code() -> None:
    assert [f"{one.name}: {why}" for one in BREAKS for why in problems(one)] == []


def test_what_is_out_of_step_is_named() -> None:
    known = BREAKS[0]
    for change, why in (
        ({"old": "no such text"}, "exactly once"),
        ({"file": "bench/nothing.py"}, "exactly once"),
        ({"new": known.old}, "changes nothing"),
        ({"tests": ()}, "no test"),
        ({"tests": ("tests/test_nothing.py",)}, "no test tests/test_nothing.py"),
        ({"tests": ("tests/test_docs.py::test_nothing",)}, "no test tests/test_docs.py::test_n"),
    ):
        (found,) = problems(attrs.evolve(known, **change))
        assert why in found
    with pytest.raises(SyntaxError):
        list(problems(attrs.evolve(known, new="(")))


def test_breaks_have_names_of_their_own_and_none_is_there_twice() -> None:
    assert len({one.name for one in BREAKS}) == len(BREAKS)
    assert len({(one.file, one.old, one.new) for one in BREAKS}) == len(BREAKS)


def test_breaks_are_chosen_by_name_or_file() -> None:
    assert select(BREAKS, []) == BREAKS
    chosen = select(BREAKS, ["bench/stats/*"])
    assert chosen == [one for one in BREAKS if one.file.startswith("bench/stats/")] != []
    assert [one.name for one in select(BREAKS, ["holm-becomes-bonferroni"])] == [
        "holm-becomes-bonferroni"
    ]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project of one function, of which the tests see one half."""
    root = tmp_path / "project"
    root.mkdir()
    # What is installed beside pytest takes a second to import, in each of two dozen processes.
    plugins = sorted(one.name for one in entry_points(group="pytest11"))
    lines = ["[pytest]", "addopts = " + " ".join(f"-p no:{name}" for name in plugins)]
    (root / "pytest.ini").write_text("\n".join(lines) + "\n", "utf8")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    (root / "halves.py").write_text("def halves(n):\n    return n // 2, n - n // 2\n", "utf8")
    (root / "test_halves.py").write_text(
        "from halves import halves\n\n\ndef test_first():\n    assert halves(5)[0] == 2\n\n\n"
        "def test_wrong():\n    assert halves(5)[0] == 3\n",
        "utf8",
    )
    return root


def edit(name: str, old: str, new: str, *tests: str) -> Break:
    return Break(name, "halves.py", old, new, tests)


def found_in(tree: Path, breaks: Sequence[Break], jobs: int = 1) -> list[str]:
    return run(breaks, tree, jobs=jobs, preload=["pytest"])


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.ci)])
def test_outcomes_of_planted_breaks(tree: Path, jobs: int) -> None:
    before = (tree / "halves.py").read_text("utf8")
    right = "test_halves.py::test_first"
    breaks = [
        edit("caught", "return n // 2,", "return n // 3,", right),
        edit("survived", "n - n // 2", "n", right),
        edit("not there", "n / 2", "n", right),
        edit("there twice", "n // 2", "n", right),
        edit("tested by what fails anyway", "n - n // 2", "n", "test_halves.py::test_wrong"),
        edit("another edit after a break", "return n // 2,", "return n,", right),
        edit("tests that are not there", "n - n // 2", "n", "test_halves.py::test_none"),
    ]
    expected = [CAUGHT, SURVIVED, STALE, STALE, FAILING, CAUGHT, FAILING]
    assert found_in(tree, breaks, jobs) == expected
    assert (tree / "halves.py").read_text("utf8") == before


def test_a_test_that_does_not_end_catches(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutations, "TIMEOUT_S", 5)
    one = edit("for ever", "return n // 2,", "while True: pass\n    return n,",
               "test_halves.py::test_first")  # fmt: skip
    assert found_in(tree, [one]) == [CAUGHT]


def test_the_exit_code_says_whether_all_are_caught(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = "test_halves.py::test_first"
    caught = edit("caught", "return n // 2,", "return n // 3,", right)
    survivor = edit("survivor", "n - n // 2", "n", right)
    stale = edit("stale", "n / 2", "n", right)
    monkeypatch.setattr(mutations, "ROOT", tree)
    monkeypatch.setattr(mutations, "load", lambda: [caught, survivor, stale])
    monkeypatch.setattr(
        mutations, "run", lambda breaks, jobs, on_result: found_in(tree, breaks, jobs)
    )
    assert mutations.main(["caught"]) == 0
    assert mutations.main([]) == 1
    closing = capsys.readouterr().out.splitlines()[-1]
    assert closing == "3 breaks: 1 caught, 1 survived, 1 stale, 0 fails without the break"
    assert mutations.main(["--check", "caught"]) == 0
    assert mutations.main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "3 breaks, 1 stale"
    assert mutations.main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert mutations.main(["nothing"]) == 2
    assert "no such break" in capsys.readouterr().err
