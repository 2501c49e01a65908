"""The documentation: its commands run, its links lead somewhere, its reference is up to date."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from string import Template

import pytest

from bench.cli.parser import make_parser
from bench.cli.parsing import flags_of
from bench.cli.reference import reference
from bench.config.presets import resolve
from tests.support.forked import Command

ROOT = Path(__file__).parents[1]
NAMES = ("README.md", "README.vi.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = sorted([*(ROOT / name for name in NAMES), *(ROOT / "docs").glob("*.md")])


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    text = page.read_text("utf8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands() -> Iterator[tuple[str, str]]:
    """(page, command line) of every ``python -m bench`` in the pages."""
    for page in PAGES:
        for block in [*blocks(page, "bash"), *blocks(page, "python"), *blocks(page, "text")]:
            for line in block.splitlines():
                found = re.match(
                    r"!?(?:python|torchrun --nproc-per-node \d) -m bench (.+?)(?:\s+#.*)?$",
                    line.strip(),
                )
                if found and page.name != "reference.md":
                    yield page.name, found[1]


@pytest.mark.parametrize(("page", "line"), list(commands()))
def test_every_command_line_of_the_documentation_is_understood(page: str, line: str) -> None:
    parsed = make_parser().parse_args(shlex.split(line))
    resolve(flags_of(parsed), preset=getattr(parsed, "preset", None))


def test_the_vietnamese_page_has_the_code_of_the_english_one() -> None:
    fenced = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
    english, vietnamese = (
        fenced.findall((ROOT / name).read_text("utf8")) for name in ("README.md", "README.vi.md")
    )
    assert english == vietnamese
    rows = re.compile(r"^\| `([a-z]+)` \|", re.MULTILINE)
    named, theirs = (
        rows.findall((ROOT / name).read_text("utf8")) for name in ("README.md", "README.vi.md")
    )
    assert named == theirs


def test_there_are_commands_to_check() -> None:
    assert len({page for page, _ in commands()}) >= 3
    assert len(list(commands())) > 25


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_reference_is_that_of_the_options() -> None:
    assert (ROOT / "docs" / "reference.md").read_text("utf8") == reference(), "run: make docs"


def test_the_reference_has_every_option() -> None:
    text = reference()
    for word in ("--epochs N", "--tta none\\|flip\\|d4", "`RUN IMAGES`", "**kaggle**"):
        assert word in text
    assert "==SUPPRESS==" not in text


def carry_out(script: str, folder: Path, environment: dict[str, str]) -> None:
    """A script whose lines are commands of this project or set a variable of the shell."""
    known: dict[str, str] = {}
    for line in filter(None, map(str.strip, script.splitlines())):
        if found := re.match(r"(\w+)=", line):
            shell = ["bash", "-euo", "pipefail", "-c", f'{line}\nprintf %s "${found[1]}"']
            done = subprocess.run(shell, cwd=folder, capture_output=True, text=True, check=True)
            known[found[1]] = done.stdout
            continue
        words = [Template(word).substitute(known) for word in shlex.split(line, comments=True)]
        assert words[:3] == ["python", "-m", "bench"]
        with Command(words[3:], folder=folder, env=environment) as command:
            code, _, err = command.end()
        assert code == 0, (line, err[-2000:])


@pytest.mark.slow
@pytest.mark.ci
def test_the_tutorial_runs(tmp_path: Path) -> None:
    """Line by line as it stands there, on drawn photographs; only nothing is timed."""
    environment = {
        "PADDY_BENCH_EPOCHS": "1", "PADDY_BENCH_IMAGE_SIZE": "32", "PADDY_BENCH_THREADS": "1",
    }  # fmt: skip
    draw = "python -m bench data --write my_photos --synthetic-images 120"
    script = "\n".join([draw, *blocks(ROOT / "docs" / "tutorial.md", "bash")])
    carry_out(script.replace("--rounds 6", "--no-timing"), tmp_path, environment)
    (report,) = tmp_path.glob("reports/*/report.html")
    assert "SYNTHETIC" in report.read_text("utf8")
    assert "data:image/jpeg" in report.read_text("utf8")
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 121
    assert (tmp_path / "resnet18.pt").stat().st_size > 1e7


def test_the_variant_of_the_how_to_is_one(tmp_path: Path, registry: None) -> None:
    import variants

    (code,) = blocks(ROOT / "docs" / "how-to.md", "python")
    path = tmp_path / "my_variants.py"
    path.write_text(code)
    variants.load_plugin(path)
    assert variants.get("ResNet34_CA").baseline == "ResNet34"
    assert variants.get("ResNet34").attention == ()


def test_the_claims_of_the_how_to_can_be_read(tmp_path: Path) -> None:
    from bench.report.claims.claims_file import load_claims_file

    (text,) = blocks(ROOT / "docs" / "how-to.md", "toml")
    path = tmp_path / "my_claims.toml"
    path.write_text(text)
    (claim,) = load_claims_file(path, ["MobileNetV3_Small", "ResNet18"])
    assert claim.against == "ResNet18"
