"""Tests of report.html: that it holds what the records hold, and nothing that runs or leaves."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import re
import statistics
import time
from pathlib import Path

import pytest
from PIL import Image
from sklearn.metrics import f1_score

from bench.report.analysis.ranking import rankings
from bench.report.analysis.seeds import accuracy_of, macro_f1_of
from bench.report.analysis.selection import Selection
from bench.report.render import page as page_module
from bench.report.render.document import render
from bench.report.render.page import number_in
from bench.report.render.page_data import most_confused, page_data
from bench.report.render.thumbnails import MOST, SIDE, open_picture, thumbnail, worst_mistakes
from tests.report.sessions import set_predictions, timed_together

# The page has charts of its own, none of the figures.
pytestmark = pytest.mark.usefixtures("undrawn")
HOSTILE = '</script><script>alert("x")</script>|`=cmd()`\n../../x\u202e\0{{ 7 * 7 }}%{x}'


def page_of(records, folder: Path, **how) -> str:
    render(records, folder, title="t", **how)
    return (folder / "report.html").read_text(encoding="utf8")


def data_in(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])


@pytest.fixture
def records(make_record):
    """Three variants that were timed together; the first two tie."""
    found = timed_together(
        make_record, {"ResNet18": 0.010, "EfficientNetV2_S": 0.04, "MobileNetV3_Small": 0.003}
    )
    for record, right in zip(found, (90, 92, 60), strict=True):
        set_predictions(record, [place < right for place in range(100)])
    return found


def test_the_pages_data_are_those_of_the_records(records, tmp_path):
    page = page_of(records, tmp_path)
    data = data_in(page)
    by_name = {one["name"]: one for one in data["variants"]}
    for record in records:
        one = by_name[record["variant"]["name"]]
        assert one["accuracy"]["value"] == pytest.approx(100 * record["test"]["accuracy"])
        assert one["accuracy"]["low"] < one["accuracy"]["value"] < one["accuracy"]["high"]
        assert one["macro_f1"]["value"] == pytest.approx(
            f1_score(record["test"]["labels"], record["test"]["predictions"], average="macro")
        )
        assert one["costs"]["parameters"]["value"] == record["counts"]["parameters"]
        assert one["costs"]["size_mb"]["value"] == record["counts"]["size_mb"]
        assert one["costs"]["minutes"]["value"] == record["training"]["seconds"] / 60
        timed = {entry["regime"]: entry for entry in record["timing"] if entry["clock"] == "model"}
        for axis in data["axes"]:
            if not axis["label"].startswith("ms an image: CPU"):
                continue
            entry = timed["latency" if "batch 1," in axis["label"] else "throughput"]
            cost = one["costs"][axis["key"]]
            steps = [one["block_seconds"][1] for one in entry["rounds"]]
            expected = 1000 * statistics.median(steps) / entry["batch_size"]
            assert cost["value"] == pytest.approx(expected)
            assert cost["low"] < cost["value"] < cost["high"]
    assert by_name["ResNet18"]["rank"] == by_name["EfficientNetV2_S"]["rank"] == 1
    assert by_name["ResNet18"]["tied"] == "EfficientNetV2_S"
    assert by_name["MobileNetV3_Small"]["rank"] == 3
    assert by_name["MobileNetV3_Small"]["tied"] == "none"
    assert {one["reason"] for one in data["variants"]} == {""}


def test_the_front_is_made_of_declared_differences(records):
    for axis in page_data(Selection(records))["axes"]:
        assert axis["front"] == []
        assert axis["no_front"].startswith("too few images for a front: half of the pairs")
    for record, right in zip(records, (630, 632, 420), strict=True):
        set_predictions(record, [place < right for place in range(700)])
    axes = {axis["key"]: axis for axis in page_data(Selection(records))["axes"]}
    # ResNet18 ties with the big one and is quicker; the small one is quickest.
    assert set(axes["ms0"]["front"]) == {"ResNet18", "MobileNetV3_Small"}
    assert set(axes["parameters"]["front"]) == {"ResNet18", "MobileNetV3_Small"}
    # Minutes have no repeats: only accuracy is declared.
    assert set(axes["minutes"]["front"]) == {"ResNet18", "EfficientNetV2_S"}
    assert {axis["no_front"] for axis in axes.values()} == {""}


def test_why_there_is_no_front_and_what_one_is_about(records, tmp_path):
    data = data_in(page_of(records, tmp_path / "en"))
    assert data["scope"] == "of these trained models"
    words = data_in(page_of(records, tmp_path / "vi", lang="vi"))
    assert words["scope"] == "của chính các mô hình đã huấn luyện này"
    assert words["axes"][0]["no_front"].startswith("quá ít ảnh cho một biên")
    for record in records:
        record["test"]["predictions"] = [0] * 100
    data = page_data(Selection(records))
    assert data["scope"] == ""
    assert {axis["no_front"] for axis in data["axes"]} == {"no accuracies that may be compared"}
    script = (Path(page_module.__file__).parent / "templates" / "report.js").read_text("utf8")
    assert "axis.no_front" in script
    assert script.count("data.scope") == 2


def test_several_seeds_have_the_interval_of_their_mean(make_record, tmp_path):
    runs = [
        set_predictions(make_record("ResNet18", seed=seed), [n < right for n in range(100)])
        for seed, right in enumerate((80, 84, 82))
    ]
    selection = Selection(runs)
    (one,) = page_data(selection)["variants"]
    found = accuracy_of(selection, "ResNet18")
    expected = pytest.approx((100 * found.low, 100 * found.high))
    assert (one["accuracy"]["low"], one["accuracy"]["high"]) == expected
    assert one["accuracy"]["low"] < 78
    f1 = macro_f1_of(runs)
    assert one["macro_f1"] == {"value": f1.mean, "text": f1.text()}
    assert f1.low is not None
    page = page_of(runs, tmp_path)
    low, high = 100 * found.low, 100 * found.high
    assert f"82.0 [{low:.1f}–{high:.1f}], 3 seeds" in page
    assert f1.text() in page
    assert "Macro-F1, latest run" not in page


def test_seeds_without_single_images_have_their_range(make_record, tmp_path):
    runs = [set_predictions(make_record(seed=seed), [True] * 9 + [False]) for seed in range(2)]
    for run, share in zip(runs, (0.8, 0.9), strict=True):
        run["test"] = None
        run["validation"] = {"macro_f1": share, "labels": [], "predictions": [], "ids": []}
        run["metrics"]["valid_acc"] = share
    (one,) = page_data(Selection(runs))["variants"]
    assert one["accuracy"]["range"] is True
    assert (one["accuracy"]["low"], one["accuracy"]["high"]) == pytest.approx((80, 90))
    page = page_of(runs, tmp_path)
    assert "85.0 (2 seeds, range 80.0–90.0)" in page
    page = page_of(runs, tmp_path / "vi", lang="vi")
    assert "85.0 (2 seed, khoảng biến thiên 80.0–90.0)" in page


def test_every_table_of_the_report_is_in_the_page(records, tmp_path):
    page = page_of(records, tmp_path)
    text = (tmp_path / "report.md").read_text()
    drawn = ("Accuracy over throughput", "Training curves", "Reliability", "Records")
    for heading in re.findall(r"^### (.+)$", text, re.MULTILINE):
        plain = html.unescape(heading.replace("\\", ""))
        written = html.escape(plain, quote=False).replace("'", "&#39;")
        assert written in page or plain.startswith(drawn), heading
    assert page.count("<table") > 15


def test_the_page_asks_for_nothing_and_is_small(records, tmp_path):
    page = page_of(records, tmp_path)
    assert len(page.encode()) < 8e6
    own = page.replace(page[page.index("<script>") : page.rindex("<script>")], "")
    assert "default-src 'none'" in own
    assert not re.search(r'(src|href)="(?!#|data:)', own)
    assert "http://" not in own.replace("http://www.w3.org", "")


def test_the_commands_and_the_environment_are_there(records, tmp_path):
    page = page_of(records, tmp_path, problems=["results/x/run.json is damaged"])
    assert records[0]["sweep"]["command"] in page
    assert "torch 2.14.1" in page
    assert "results/x/run.json is damaged" in page


def test_hostile_text_stays_text(make_record, tmp_path):
    record = make_record("ResNet18", classes=[HOSTILE, "b", "c"])
    record["variant"]["name"] = f"V {HOSTILE}"
    record["sweep"]["command"] = HOSTILE
    record["validation"]["ids"] = [f"{HOSTILE}{n}" for n in range(36)]
    record["warnings"] = [HOSTILE]
    page = page_of(
        [record], tmp_path, pictures=lambda run, name: Image.new("RGB", (4, 4)), problems=[HOSTILE]
    )
    assert "<script>alert" not in page
    # Its own: data, plotly.js and the page's script.
    own = page[: page.index("<script>")] + page[page.rindex("<script>") :]
    assert own.count("<script") == 2
    assert "\u202e" not in page
    assert "\0" not in page
    assert data_in(page)["variants"][0]["name"].startswith("V </script>")


def test_reports_of_failures_and_of_nothing_have_a_page(make_failed, tmp_path):
    for number, records in enumerate(([make_failed("ResNet18", "RuntimeError", "x")], [])):
        page = page_of(records, tmp_path / str(number))
        assert "no variant has a cost that was measured" in page
        assert "no valid complete run has predictions" in page
        assert data_in(page)["curves"] == []


def test_a_variant_that_is_not_compared_says_why(records, make_record, make_failed, tmp_path):
    other = set_predictions(make_record("ResNet18_Hybrid"), [True] * 50)
    other["data"]["fingerprint"] = "another"
    failed = make_failed("EfficientNet_Lite0", "RuntimeError", "planted")
    page = page_of([*records, other, failed], tmp_path)
    by_name = {one["name"]: one for one in data_in(page)["variants"]}
    assert by_name["ResNet18_Hybrid"]["rank"] is None
    assert by_name["ResNet18_Hybrid"]["reason"].startswith("other data")
    assert "planted" in by_name["EfficientNet_Lite0"]["reason"]
    assert "n/a (other data or settings than the ranked ones)" in page
    alone = page_of(records[:1], tmp_path / "alone")
    assert "n/a (nothing to compare with)" in alone


def test_what_is_no_number_does_not_break_the_page(make_record, tmp_path):
    record = make_record("ResNet18")
    record["validation"] |= {"macro_f1": math.nan, "labels": [], "predictions": [], "ids": []}
    record["training"]["epochs"][0]["train_acc"] = math.inf
    data = data_in(page_of([record], tmp_path))
    assert data["variants"][0]["macro_f1"] is None
    assert data["curves"][0]["train_acc"][0] is None


def test_hundreds_of_classes_have_no_matrix(make_record):
    record = make_record("ResNet18", classes=[f"c{n}" for n in range(250)], per_class=1)
    (matrix,) = page_data(Selection([record]))["confusion"]
    assert matrix["counts"] is None
    assert len(matrix["worst"]) == 8


def test_the_data_of_a_hundred_variants_take_seconds(make_record):
    records = [make_record(f"Variant_{index}", minute=index % 60) for index in range(100)]
    page_data(Selection(records[:1]))
    selection = Selection(records)
    rankings(selection)
    begin = time.process_time()
    page_data(selection)
    assert time.process_time() - begin < 5


def test_synthetic_data_is_named(make_record, tmp_path):
    assert "SYNTHETIC data: drawn by a program" in page_of([make_record(synthetic=True)], tmp_path)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("95.7 [79.0–99.2], n 23, test", 95.7),
        ("20,346,578", 20346578),
        ("~ 3", 3),
        ("-1.5 points", -1.5),
        ("+0.2", 0.2),
        ("1e-5", 1e-5),
        ("below 0.001", 0.001),
        ("n/a (12 runs)", None),
        ("ResNet18", None),
        ("", None),
        ("9" * 400, None),
    ],
)
def test_what_a_cell_is_sorted_by(text: str, number: float | None) -> None:
    assert number_in(text) == number


def test_the_most_confused_classes():
    found = most_confused(["a", "b", "c"], [[5, 2, 0], [3, 1, 0], [0, 2, 9]])
    assert [(one["true"], one["predicted"], one["images"], one["of"]) for one in found] == [
        ("b", "a", 3, 4), ("a", "b", 2, 7), ("c", "b", 2, 11)
    ]  # fmt: skip
    assert len(most_confused(["a", "b", "c"], [[5, 2, 1]] * 3, most=2)) == 2


# --- the worst mistakes --------------------------------------------------------------------------


def test_the_worst_mistakes_are_those_of_most_variants(make_record):
    one, two = (
        set_predictions(make_record(name), [False, False, True, False])
        for name in ("ResNet18", "MobileNetV3_Small")
    )
    two["test"]["predictions"][3] = two["test"]["labels"][3]
    one["test"]["confidences"] = [0.5, 0.9, 0.9, 0.99]
    found = worst_mistakes([one, two])
    assert [mistake.id for mistake in found] == ["1.jpg", "0.jpg", "3.jpg"]
    assert found[0].guesses[0] == ("ResNet18", one["data"]["classes"][2], 0.9)
    assert [len(mistake.guesses) for mistake in found] == [2, 2, 1]
    assert [mistake.id for mistake in worst_mistakes([one, two], most=1)] == ["1.jpg"]
    many = set_predictions(make_record("ResNet18"), [False] * 100)
    assert len(worst_mistakes([many])) == MOST
    many["test"]["ids"] = []
    assert worst_mistakes([many]) == []


def test_thumbnails_are_small_and_in_the_page(make_record, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    Image.new("RGB", (900, 300), (10, 200, 30)).save(data / "0.jpg")
    record = set_predictions(make_record("ResNet18"), [False, False, True])
    pictures = lambda run, name: open_picture(data, name)  # noqa: E731
    (first, _) = worst_mistakes([record])
    address = thumbnail(first, pictures)
    content = base64.b64decode(address.partition(",")[2])
    image = Image.open(io.BytesIO(content))
    assert max(image.size) == SIDE
    assert image.getpixel((5, 5))[1] > 150
    page = page_of([record], tmp_path / "out", pictures=pictures)
    assert page.count("data:image/jpeg;base64,") == 1
    assert 'alt="0.jpg, of the class bacterial_leaf_blight"' in page
    page = page_of([record], tmp_path / "gone", pictures=lambda run, name: None)
    assert "no longer where they were" in page
    assert "left out (--no-pictures)" in page_of([record], tmp_path / "without")
    right = set_predictions(make_record("ResNet18"), [True, True])
    assert "No mistake is on record" in page_of([right], tmp_path / "right", pictures=pictures)


def test_no_picture_comes_from_elsewhere(tmp_path):
    data, beside = tmp_path / "data", tmp_path / "secret.png"
    data.mkdir()
    Image.new("RGB", (4, 4)).save(beside)
    Image.new("RGB", (4, 4)).save(data / "own.png")
    (data / "link.png").symlink_to(beside)
    (data / "text.png").write_text("no image")
    (data / "empty.png").write_bytes(b"")
    assert open_picture(data, "own.png").size == (4, 4)
    for name in (
        "../secret.png", str(beside), "link.png", "text.png", "empty.png", "gone.png", "", ".",
        "a\0b",
    ):  # fmt: skip
        assert open_picture(data, name) is None, name
    assert open_picture(tmp_path / "nowhere", "own.png") is None


def test_a_picture_is_upright(tmp_path):
    image = Image.new("RGB", (8, 4))
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    assert open_picture(tmp_path, "a.jpg").size == (4, 8)
