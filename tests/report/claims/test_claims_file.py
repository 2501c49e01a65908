"""Tests of claims files: what a good one gives, and the one line that each bad one gets."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.report.analysis.selection import Selection
from bench.report.claims import claims_file
from bench.report.claims.claims_file import OWN_METRICS, load_claims_file
from bench.report.claims.judging import CONFIRMED, CONTRADICTED, NOT_MEASURED
from bench.report.claims.quantities import METRICS
from bench.report.claims.verdicts import verdict_table
from tests.report.sessions import timed_together

VARIANTS = ("ResNet18", "EfficientNetV2_S", "MobileNetV3_Small")
GOOD = """
[[claim]]
variant = "ResNet18"
metric = "parameters"
value = 11.7
unit = "M"
source = "model card"
conditions = { classes = 1000 }

[[claim]]
id = "speed"
variant = "EfficientNetV2_S"
against = "ResNet18"
metric = "inference_speed"
form = "ratio"
value = [1.2, 1.3]
unit = "×"
tolerance = "5 %"
source = "model card"
remark = "said without a batch"
conditions = { device = "cuda", device_name = ["T4", "P100"], pretrained = true }
"""


def load(tmp_path: Path, text: str):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf8")
    return load_claims_file(path, VARIANTS)


def test_a_good_file_gives_its_claims(tmp_path):
    first, second = load(tmp_path, GOOD)
    assert (first.id, first.value, first.conditions) == ("mine/1", 11.7, {"classes": 1000})
    assert (second.id, second.against, second.form) == ("speed", "ResNet18", "ratio")
    assert second.accepted() == pytest.approx((1.14, 1.365))
    assert second.remark == "said without a batch"


def test_own_claims_get_verdicts_after_the_guides(tmp_path, make_record):
    slow = GOOD.split("\n\n")[1].replace('"speed"', '"slow"').replace("[1.2, 1.3]", "0.25")
    own = load(tmp_path, f"{GOOD}\n{slow}")
    records = timed_together(make_record, {"ResNet18": 0.01, "EfficientNetV2_S": 0.04})
    for runs, expected in (
        (records, [CONFIRMED, CONTRADICTED, CONFIRMED]),
        ([], [NOT_MEASURED] * 3),
    ):
        raw = verdict_table(Selection(runs), own=own).raw
        assert raw is not None
        headers, rows = raw
        assert [row[headers.index("id")] for row in rows[-3:]] == ["mine/1", "speed", "slow"]
        found = [row[headers.index("verdict")].split(" on ")[0] for row in rows[-3:]]
        assert found == expected


def test_the_documented_example_is_a_good_file(tmp_path):
    text = (claims_file.__doc__ or "").split("::\n\n")[1].split("\n\n")[0]
    example = "\n".join(line.strip() for line in text.splitlines())
    (claim,) = load(tmp_path, example)
    assert (claim.id, claim.value, claim.tolerance) == ("card-speed", 1.2, "5 %")
    assert set(tomllib.loads(example)["claim"][0]) == set(claims_file.KEYS)


def test_every_unit_is_accepted_and_another_is_named(tmp_path):
    for name in OWN_METRICS:
        unit = METRICS[name].unit
        text = f'[[claim]]\nvariant="ResNet18"\nmetric="{name}"\nvalue=1\nunit="{unit}"\nsource="s"'
        assert load(tmp_path, text)[0].unit == unit
        with pytest.raises(BenchError, match=re.escape(f"write {unit!r}")):
            load(tmp_path, text.replace(f'unit="{unit}"', 'unit="furlong"'))


CHANGES = [
    ('unit = "M"', "", 'claim 1: unit is missing: add unit = "M"'),
    ('unit = "×"', "", r'claim 2 (speed): unit is missing: add unit = "×"'),
    ("value = 11.7", "", "value is missing: add value = a number or [low, high]"),
    ('source = "model card"', "", "source is missing"),
    ('source = "model card"', 'source = ""', "source is missing"),
    ('variant = "ResNet18"', "", "variant is missing"),
    ('metric = "parameters"', "", "metric is missing: add metric = one of parameters, macs"),
    ('unit = "M"', 'unit = "millions"', "unit 'millions' is not that of parameters: write 'M'"),
    ('unit = "×"', 'unit = "images/s"', "not that of a ratio of inference_speed: write '×'"),
    ('"parameters"', '"parameter"', "unknown metric 'parameter': did you mean 'parameters'? known"),
    ('"parameters"', '"option_default"', "unknown metric 'option_default'"),
    ('variant = "ResNet18"', 'variant = "ResNet81"', "did you mean 'ResNet18'? known are ResNet18"),
    ('against = "ResNet18"', 'against = "Resnet18"', "unknown against 'Resnet18': did you mean"),
    ("tolerance =", "tolerence =", "unknown key 'tolerence': did you mean 'tolerance'?"),
    ("value = 11.7", 'value = "11.7"', "must be a finite number or [low, high], not '11.7'"),
    ("value = 11.7", "value = true", "must be a finite number or [low, high], not True"),
    ("value = 11.7", "value = nan", "must be a finite number or [low, high], not nan"),
    ("value = 11.7", "value = inf", "must be a finite number or [low, high], not inf"),
    ("value = 11.7", "value = [1, 2, 3]", "must be a finite number or [low, high]"),
    ("value = 11.7", "value = [1, nan]", "must be a finite number or [low, high]"),
    ("value = 11.7", "value = [12, 11]", "value [12, 11] has its low bound above its high"),
    ('"5 %"', "-1", "tolerance must be a number of 0 or more"),
    ('"5 %"', '"-5 %"', "tolerance must be a number of 0 or more"),
    ('"5 %"', '"five"', "a share such as \"5 %\", not 'five'"),
    ('"5 %"', '"nan %"', "tolerance must be a number of 0 or more"),
    ('"5 %"', "true", "tolerance must be a number of 0 or more"),
    ('against = "ResNet18"', 'against = "EfficientNetV2_S"', "against is the variant itself"),
    ('against = "ResNet18"', "", "a ratio needs the variant that it is related to: add against"),
    ('form = "ratio"', "", "against needs a form that relates two variants: ratio"),
    ('form = "ratio"', 'form = "difference"', "form 'difference' is not one of inference_speed"),
    ('id = "speed"', 'id = "mine/1"', "id 'mine/1' is that of claim 1 too: rename one"),
    ('id = "speed"', "id = 2", "id must be a text in quotes, not 2"),
    ("classes = 1000", 'classes = "1000"', "condition classes must be a whole number, not '1000'"),
    ("classes = 1000", "classes = true", "condition classes must be a whole number, not True"),
    ("pretrained = true", "pretrained = 1", "condition pretrained must be true or false, not 1"),
    ("classes = 1000", "clases = 1000", "unknown condition 'clases': did you mean 'classes'?"),
    ('device = "cuda"', 'device = "gpu"', "condition device must be cpu or cuda, not 'gpu'"),
    ("classes = 1000", 'data = "paddy-11"', "condition data 'paddy-11': did you mean 'paddy-10'?"),
    ("conditions = { classes = 1000 }", "conditions = 3", "conditions must be a table"),
]


@pytest.mark.parametrize(("old", "new", "message"), CHANGES)
def test_a_wrong_claim_is_named_in_one_line_with_the_mend(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(BenchError) as caught:
        load(tmp_path, GOOD.replace(old, new, 1))
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    assert text.startswith(f"{tmp_path / 'mine.toml'}, claim ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no claims: begin each with a line [[claim]]"),
        ("claim = []", "holds no claims"),
        ("[claim]\nvalue = 1", "holds no claims: begin each with a line [[claim]]"),
        ("claim = [1]", "claim 1: is no table: begin each claim with [[claim]]"),
        ("[[claims]]\nvalue = 1", "unknown 'claims': did you mean 'claim'?"),
        ("[[claim]\n", "mine.toml is not TOML: "),
    ],
)
def test_a_file_without_claims_is_refused(tmp_path, text, message):
    with pytest.raises(BenchError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(BenchError, match=r"cannot read the claims file .*absent.toml"):
        load_claims_file(tmp_path / "absent.toml", VARIANTS)
    path = tmp_path / "latin.toml"
    path.write_bytes("source = 'Größe'".encode("latin1"))
    with pytest.raises(BenchError, match="is not TOML"):
        load_claims_file(path, VARIANTS)
