"""A report in another language says the same: no word of ours is in English, no number moves."""

from __future__ import annotations

import functools
import json
import re
import time
from pathlib import Path

import pytest

from bench import LANGUAGES
from bench.deploy.int8 import METHOD
from bench.report.analysis.selection import Selection
from bench.report.render.document import READING, Chapter, all_tables, in_language, render
from bench.report.render.language import CATALOGUES, Language, Phrase, language
from tests.report.chapters.test_deployment import as_run
from tests.report.chapters.test_progressive import curve
from tests.report.conftest import VARIANTS, build_record
from tests.report.sessions import set_predictions, timed_in_modes, timed_together
from tests.report.undrawn import no_figures

TEMPLATES = CATALOGUES.parent / "templates"
SECONDS = {name: 1 / values[3] for name, values in VARIANTS.items()}
# Words that no name, command or unit is made of.
ENGLISH = re.compile(
    r"(?<![\w'\"-])(the|of|with|and|are|is|each|from|by|not|which|where|than|its|same|only|was|"
    r"images|rounds|threads|classes|seeds|documented|measured|accuracy|interval)(?![\w'\"-])",
    re.IGNORECASE,
)


def sweeps() -> dict[str, list]:
    found = timed_together(build_record, SECONDS)
    for place, record in enumerate(found):
        set_predictions(record, [n % 10 < 9 - place % 4 for n in range(100)])
    modes = {"channels-last": 1.1, "onnxruntime": 1.5, "onnxruntime-int8": 3.0}
    deployed = timed_in_modes(build_record, SECONDS, modes)
    as_run(deployed[0], [True] * 9, [True] * 9, method=METHOD)
    several = [
        build_record(name, seed=seed, minute=10 * seed + place)
        for place, name in enumerate(list(VARIANTS)[:4])
        for seed in range(3)
    ]
    failed = build_record("ResNet18_Hybrid", status="failed", training=None)
    failed["error"] = {"type": "RuntimeError", "message": "boom", "traceback": "x"}
    grown = []
    for seed in range(3):
        for progressive in (False, True):
            record = build_record("ResNet18", seed=seed, minute=seed + 10 * progressive)
            record["config"]["progressive"] = progressive
            record["training"]["epochs"] = curve([0.5, 0.8], 5 if progressive else 10)
            if progressive:
                record["training"]["growth"] = [{"first": 1, "image_size": 32, "strength": 0.3}]
            grown.append(record)
    return {
        "timed": found,
        "modes": deployed,
        "one round": [build_record(name) for name in VARIANTS],
        "seeds": several,
        "synthetic": [build_record("ResNet18", synthetic=True), build_record("Plugin")],
        "failed": [failed, build_record("ResNet18")],
        "progressive": grown,
    }


SWEEPS = sweeps()


@functools.cache
def chapters_of(name: str) -> list[Chapter]:
    return all_tables(Selection(SWEEPS[name]))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One sweep's report in every language."""
    folder = tmp_path_factory.mktemp("reports")
    with no_figures():
        return {
            lang: render(SWEEPS["timed"], folder / lang, title="mine", lang=lang)
            for lang in LANGUAGES
        }


def test_every_language_has_a_catalogue() -> None:
    assert set(LANGUAGES) == {"en", *(path.stem for path in CATALOGUES.glob("*.toml"))}
    with pytest.raises(KeyError):
        language("xx")


@pytest.mark.parametrize("name", list(SWEEPS))
def test_headings_and_captions_have_no_english_left(name: str) -> None:
    """Of what documents say (sources in quotes, file names) nothing is asked."""
    vietnamese = language("vi")
    left = []
    for chapter in chapters_of(name):
        texts = [chapter.title]
        for table in chapter.tables:
            texts += [table.title, table.caption, *table.headers]
            if table.id in ("recommendations", "pairs"):
                texts += [cell for row in table.rows for cell in row]
        for text in texts:
            shown = vietnamese(text)
            if found := ENGLISH.search(re.sub(r"python -m bench[^)]*|'[^']*'|images/s", "", shown)):
                left.append(f"{found[0]!r} in {shown!r}")
    assert left == []


@pytest.mark.parametrize("name", list(SWEEPS))
def test_numbers_and_names_are_the_same(name: str) -> None:
    vietnamese = language("vi")
    number = re.compile(r"\d[\d.,]*\d|\d")
    for chapter in chapters_of(name):
        for table in chapter.tables:
            shown = in_language(table, vietnamese)
            assert len(shown.rows) == len(table.rows)
            pairs = zip(
                [table.title, table.caption, *table.headers, *(c for r in table.rows for c in r)],
                [shown.title, shown.caption, *shown.headers, *(c for r in shown.rows for c in r)],
                strict=True,
            )
            for one, other in pairs:
                assert sorted(number.findall(one)) == sorted(number.findall(other)), (one, other)
                for variant in VARIANTS:
                    assert one.count(variant) == other.count(variant), (one, other)


def test_the_page_is_in_that_language(rendered: dict[str, Path]) -> None:
    path, english = rendered["vi"], rendered["en"]
    page = path.with_name("report.html").read_text("utf8")
    text = path.read_text("utf8")
    assert '<html lang="vi">' in page
    assert "Nên chọn gì" in text
    assert "Nên chọn gì" in page
    assert language("vi")(READING)[:40] in text
    visible = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    for word in ("Skip to", "Filter variants", "Training curves", "Click a heading"):
        assert word not in visible
    data = re.search(r'id="data">(.*?)</script>', page)
    assert data is not None
    assert json.loads(data[1])["words"]["No mistake."] == "Không sai."
    assert '<html lang="en">' in english.with_name("report.html").read_text("utf8")
    # Files for programs are the same in any language.
    for table in (english.parent / "tables").iterdir():
        assert (path.parent / "tables" / table.name).read_bytes() == table.read_bytes()


def test_sorting_goes_by_the_numbers_of_the_english_cells(rendered: dict[str, Path]) -> None:
    pages = []
    for path in rendered.values():
        page = path.with_name("report.html").read_text("utf8")
        pages.append(re.findall(r'data-sort="([^"]*)"', page))
    assert pages[0] == pages[1]
    assert len(pages[0]) > 100


def test_what_the_template_and_the_script_say_is_in_the_catalogue() -> None:
    vietnamese = language("vi")
    template = (TEMPLATES / "report.html.j2").read_text("utf8")
    said = re.findall(r't\("((?:[^"\\]|\\.)*)"\)', template)
    assert len(said) > 25
    assert [text for text in said if vietnamese(text) == text] == []
    script = (TEMPLATES / "report.js").read_text("utf8")
    told = set(re.findall(r'\bt\("((?:[^"\\]|\\.)*)"', script))
    assert told == set(vietnamese.script)
    for text, instead in vietnamese.script.items():
        assert sorted(re.findall(r"\{\d\}", text)) == sorted(re.findall(r"\{\d\}", instead))


def test_english_is_the_text_itself() -> None:
    assert language("en")("n/a (not timed)") == "n/a (not timed)"
    assert language("en").script == {}


@pytest.mark.parametrize(
    ("text", "instead", "given", "expected"),
    [
        ("{} rounds", "{} vòng", "after 10 rounds and 2 rounds", "after 10 vòng and 2 vòng"),
        ("Measured on {}.", "Đo trên {}.", "Measured on v2.1.", "Đo trên v2.1."),
        ("Measured on {}.", "Đo trên {}.", "Measured on v2.1. More.", "Đo trên v2.1. More."),
        ("{} of {}", "{} trên {}", "no match here", "no match here"),
        ("round", "vòng", "around rounds round", "around rounds vòng"),
        (
            "undecided: {} needs {}",
            "chưa: {} cần {}",
            "undecided: a b needs 10 c",
            "chưa: a b cần 10 c",
        ),
    ],
)
def test_a_phrase_is_found_as_words(text: str, instead: str, given: str, expected: str) -> None:
    assert Phrase.of(text, instead).put(given) == expected


def test_a_translation_without_its_wildcards_is_refused() -> None:
    with pytest.raises(ValueError, match="wildcards differ"):
        Phrase.of("{} of {}", "{} trên")


def test_names_stay_what_they_are() -> None:
    vietnamese = language("vi")
    for name in ("control", "none of these", "Data", "photo 12 pixels.jpg"):
        assert vietnamese.cell("Class", name) == name
        assert vietnamese.cell("Variant", name) == name
    assert vietnamese.cell("Verdict", "control") == "đối chứng"
    assert vietnamese.cell("Class", "n/a (not timed)") == "n/a (không đo)"


@pytest.mark.parametrize(
    "text",
    [
        " classes, " + "; " * 50_000,
        " pixels, mixed precision Training images/s: " + ", batch , " * 2000,
        "Training images/s: " * 1000,
        "Data: " * 3000,
        "a" * 100_000,
    ],
)
def test_no_text_takes_long(text: str) -> None:
    begin = time.process_time()
    for part in (text, text[:19_000]):
        language("vi")(part)
    assert time.process_time() - begin < 2


def test_longer_phrases_go_first() -> None:
    found = Language("xx", phrases=language("vi").phrases)
    lengths = [sum(map(len, phrase.parts)) for phrase in found.phrases]
    assert lengths[0] > 10 * lengths[-1]
    assert found("n/a (not timed in this case)") == "n/a (không đo trong trường hợp này)"
