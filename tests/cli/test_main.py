"""The command line as a user meets it: every line of the guide, help, and one-line errors."""

from __future__ import annotations

import json
import os
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.main import main, main_single
from bench.cli.parser import COMMANDS, make_parser
from bench.cli.parsing import flags_of
from bench.config.options import flag_of, options

# Every command line of the guide, section by section, unchanged.
GUIDE = [
    "--pretrained --epochs 15 --batch-size 64 --save-history",
    "--pretrained --epochs 20 --batch-size 64 --image-size 224 --base-lr 3e-5 --head-lr 3e-4 "
    "--weight-decay 1e-2 --reduction 32 --dropout 0.2 --patience 8 --num-workers 2 --pin-memory "
    "--save-history",
    "--pretrained --epochs 30 --batch-size 48 --image-size 256 --base-lr 2e-5 --head-lr 2e-4 "
    "--weight-decay 1e-2 --reduction 32 --dropout 0.25 --patience 10 --num-workers 2 "
    "--pin-memory --save-history --scheduler-tmax 30",
    "--pretrained --epochs 3 --batch-size 32 --train-limit 1000 --valid-limit 300 "
    "--num-workers 2 --save-history",
    "--base-lr 1e-4",
    "--base-lr 3e-5",
    "--base-lr 2e-5",
    "--batch-size 32",
    "--batch-size 64",
    "--batch-size 96",
    "--image-size 192 --batch-size 80",
    "--image-size 224 --batch-size 64",
    "--image-size 256 --batch-size 48",
    "--epochs 50 --batch-size 64 --base-lr 5e-4 --head-lr 5e-4 --save-history",
    "--image-size 192 --batch-size 48",
    "--num-workers 4 --pin-memory",
    "--image-size 192",
    "--dropout 0.3 --weight-decay 2e-2",
    "--dropout 0.1",
    "--epochs 30",
    "--head-lr 5e-4",
    "--pretrained --epochs 3 --train-limit 500",
    "--pretrained --epochs 20 --batch-size 64 --save-history",
    "--pretrained --epochs 30 --batch-size 48 --image-size 256 --save-history",
    "--pretrained --epochs 20 --batch-size 64 --base-lr 3e-5 --head-lr 3e-4 --reduction 32 "
    "--dropout 0.2 --patience 8 --num-workers 2 --pin-memory --save-history",
]


@pytest.fixture
def parsed_by_script(monkeypatch: pytest.MonkeyPatch):
    """Run the script's parser and hand back what its command was given."""
    seen: list = []

    def record(parsed, command_line: str) -> int:
        seen.append((parsed, command_line))
        return 0

    monkeypatch.setattr("bench.cli.run.run_command", record)

    def parse(line: str):
        assert main_single("EfficientNetV2_S_CA", shlex.split(line)) == 0
        return seen[-1]

    return parse


@pytest.mark.parametrize("line", GUIDE)
def test_every_command_line_of_the_guide_parses(line: str, parsed_by_script) -> None:
    parsed, command_line = parsed_by_script(line)
    assert parsed.variants == ["EfficientNetV2_S_CA"]
    assert command_line == f"python train_EfficientNetV2_S_CA.py {line}"
    flags = flags_of(parsed)
    words = shlex.split(line)
    assert len(flags) == sum(word.startswith("--") for word in words)
    for word, value in zip(words, [*words[1:], ""], strict=True):
        if word.startswith("--"):
            expected = True if value.startswith("--") or not value else float(value)
            assert flags[word[2:].replace("-", "_")] == expected


def test_the_projects_commands_parse() -> None:
    for line in (
        "run --variants all --preset kaggle",
        "run --variants all,baselines --preset smoke --data-dir x --dry-run",
        "run --variants ResNet18 --variants 'Mobile*' --plugin a.py --plugin b.py --no-pretrained",
        "report",
        "report --sweep x --name y",
        "report --runs a b",
        "list --json",
        "list --presets",
        "count --variants all --classes 1000 --image-size 64",
        "time --variants all --time-budget 10m --rounds 12 --clocks model,train --json",
        "compare EfficientNetV2_S EfficientNetV2_S_CA",
        "compare --sweep x",
        "report --claims mine.toml --max-latency-ms 50 --max-size-mb 20",
        "run --variants all --seeds 3 --dedup group --time-budget 1h",
        "check --preset quick",
        "data --data-dir x --json",
        "compare --json",
        "predict A test_images --out s.csv",
        "predict test_images --out s.csv --runs A B --tta d4 --probabilities p.csv",
        "predict --out s.csv --template t.csv A test_images --batch-size 8 --plugin a.py",
        "evaluate A --data-dir x --map 'a b=c' --map d= --json",
        "export A --format torchscript --out m.pt",
        "report --no-pictures",
    ):
        words = shlex.split(line)
        assert make_parser().parse_args(words).command == words[0]


def test_booleans_can_be_switched_off_and_options_unset() -> None:
    parsed = make_parser().parse_args(
        shlex.split("run --preset kaggle --no-pretrained --no-pin-memory --train-limit none")
    )
    assert flags_of(parsed) == {"pretrained": False, "pin_memory": False, "train_limit": None}


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_of_every_command(command: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*shlex.split(command), "--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "python -m bench" in text
    assert "PADDY_BENCH_" in text
    if command in ("run", "check"):
        assert "RUNS WITH YOUR RIGHTS" in text
        for field in options():
            assert flag_of(field.name) in text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "required: COMMAND"),
        ("walk", "invalid choice: 'walk'"),
        ("run --epoch 3", "unrecognized arguments: --epoch"),
        ("run --no-channels-last", "(--channels-last is now --memory-format)"),
        ("run --variants ResNet81", "did you mean ResNet18"),
        ("run --variants 'VGG*'", "no variant matches 'VGG*'"),
        ("run --preset kagle", "did you mean 'kaggle'"),
        ("run --epochs 0", "--epochs"),
        ("run --epochs three", "--epochs must be a whole number, not 'three'"),
        ("run --base-lr -1", "--base-lr"),
        ("run --base-lr=-1", "--base-lr"),
        ("run --head-lr=-1e-3", "--head-lr"),
        ("run --dropout 1", "--dropout"),
        ("run --image-size 16", "--image-size"),
        ("run --device cuda", "--device cuda"),
        ("run --amp fp16", "--amp fp16 needs CUDA"),
        ("run --data-dir nowhere", "no such data folder"),
        ("run --plugin none.py", "plugin none.py is not a file"),
        ("run --weights nowhere", "no such weights"),
        ("check --preset kaggle", "--weights PATH"),
        ("report", "no results folder"),
        ("report --name a/b", "no results folder"),
        ("count --classes 1", "--classes must be at least 2"),
        ("count --variants nope", "unknown variant 'nope'"),
        ("time --variants nope", "unknown variant 'nope'"),
        ("data --data-dir nowhere", "no such data folder"),
        ("list --plugin none.py", "plugin none.py"),
    ],
)
def test_a_mistake_is_one_line_exit_2_and_nothing_is_written(
    line: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    import torch

    if "cuda" in line.lower() and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(line)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_ends_with_130(monkeypatch, capsys) -> None:
    def interrupt(parsed, command_line):
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.cli.info.list_command", interrupt)
    assert main(["list"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_list(capsys: pytest.CaptureFixture, tiny_plugin: Path) -> None:
    assert main(["list", "--plugin", str(tiny_plugin)]) == 0
    text = capsys.readouterr().out
    assert "EfficientNetV2_S_CA" in text
    assert "20,346,578" in text
    assert "Tiny_CA" in text
    assert main(["list", "--json"]) == 0
    rows = {row["variant"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["ResNet18_Hybrid"]["parameters"] == 11_388_154
    assert rows["ResNet18_Hybrid"]["attention"] == ["CA, reduction 32", "BoTLinear, 4 heads"]
    assert rows["Tiny"]["parameters"] is None


def test_list_presets(capsys: pytest.CaptureFixture) -> None:
    assert main(["list", "--presets"]) == 0
    text = capsys.readouterr().out
    assert "kaggle: Recommended on Kaggle" in text
    assert "minutes: 25-30" in text
    assert main(["list", "--presets", "--json"]) == 0
    presets = {row["preset"]: row for row in json.loads(capsys.readouterr().out)}
    assert presets["max-accuracy"]["options"]["image_size"] == 256
    assert presets["kaggle"]["expected"]["accuracy_percent"] == [94, 96]


def test_count_json(capsys: pytest.CaptureFixture) -> None:
    assert main(shlex.split("count --variants MobileNetV3_Small --classes 10 --json")) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["variant"] == "MobileNetV3_Small"
    assert row["parameters"] == 1_528_106
    assert row["parameters_1000_classes"] == 2_542_856
    assert row["gmacs"] == pytest.approx(0.0584, abs=5e-5)
    assert row["image_size"] == 224
    assert main(shlex.split("count --variants MobileNetV3_Small --image-size 64")) == 0
    text = capsys.readouterr().out
    assert "10 classes, 64 pixels" in text
    assert "2,542,856" in text


HEAVY = (
    "torch", "torchvision", "timm", "numpy", "pandas", "scipy", "sklearn", "PIL", "matplotlib",
    "cv2",
)  # fmt: skip


def unmeasured() -> dict[str, str]:
    """The environment without coverage, which imports modules of its own into a fresh process."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}


def loaded_by(line: str) -> set[str]:
    """The modules of a fresh interpreter after a command, from ``-X importtime``."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "bench", *line.split()],
        capture_output=True,
        text=True,
        check=True,
        env=unmeasured(),
    )
    assert done.stdout
    return {row.rpartition("|")[2].strip() for row in done.stderr.splitlines()}


@pytest.mark.parametrize("line", ["--help", *(f"{name} --help" for name in COMMANDS), "list"])
def test_help_and_list_import_nothing_heavy(line: str) -> None:
    loaded = loaded_by(line)
    assert "bench.cli.parser" in loaded
    assert not loaded & set(HEAVY)
    if line == "--help":
        assert not loaded & {"attrs", "attr", "tomllib", "importlib.resources", "bench.cli.run"}


@pytest.mark.slow
@pytest.mark.parametrize("line", ["--help", "run --help", "list"])
def test_help_and_list_answer_at_once(line: str) -> None:
    """The bar is 0.3 s; of the processor's time, which other programs change less, twice that."""
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "bench", *line.split()]
        subprocess.run(command, capture_output=True, check=True, env=unmeasured())
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.6


def test_a_parser_declares_its_arguments_once() -> None:
    parser = make_parser()
    for _ in range(2):
        assert parser.parse_args(["run", "--epochs", "3"]).epochs == "3"


def test_the_script_is_short_and_runs(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "train_EfficientNetV2_S_CA.py"
    assert len(script.read_text().splitlines()) <= 25
    command = [sys.executable, str(script), "--data-dir", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no such data folder: nowhere")
