"""Carries out the command lines of a page on tiny models.

Variants keep their names and attention and get timm's smallest backbone; lines that only time
(``time``), go on with a killed sweep (``--resume``) or train elsewhere (``--executor``) have tests
of their own.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.main import main
from tests.conftest import write_photos
from tests.test_docs import ROOT, blocks

datasets = pytest.importorskip("datasets", reason="needs the extra hf")
pytest.importorskip("onnx", reason="needs the extra onnx")
COUNTS = {"blast": 14, "hispa": 14, "normal": 14}
OPTIONS = {
    "EPOCHS": "1", "BATCH_SIZE": "8", "IMAGE_SIZE": "64", "NUM_WORKERS": "0", "PRETRAINED": "off",
    "TIMING": "off", "TUNE": "off", "DEVICE": "cpu", "THREADS": "1",
}  # fmt: skip
KEPT = ("EfficientNetV2_S_CA", "MobileNetV3_Small", "EfficientNetV2_S", "ResNet18")
# Which of the trained runs the placeholders of a page stand for: files are never overwritten.
RUNS = {"README.md": (0, 1, 2, 3), "how-to.md": (4, 5, 6, 7)}


@pytest.fixture
def tiny(registry: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variants of the usual names on a backbone that trains in a blink."""
    from bench.models import build
    from variants import _registry

    # It counts the real ResNet18 to see whether the counter can be believed.
    monkeypatch.setattr(build, "counter_gate", lambda: 1.814)

    for name, variant in list(_registry._variants.items()):
        if variant.name not in KEPT:
            del _registry._variants[name], _registry._modules[name]
            continue
        _registry._variants[name] = replace(
            variant, backbone="test_efficientnet", weights_tag="", channels=256, parameters={}
        )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the pages speak of."""
    import timm
    from safetensors.torch import save_file

    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name, value in OPTIONS.items():
        monkeypatch.setenv(f"PADDY_BENCH_{name}", value)
    write_photos(folder / "my_photos", COUNTS)
    write_photos(folder / "photos_from_elsewhere", dict.fromkeys(COUNTS, 3))
    shutil.copytree("my_photos", "content/drive/MyDrive/my_photos")
    kaggle = folder / "paddy-disease-classification"
    shutil.copytree("my_photos/blast", kaggle / "test_images")
    shutil.copytree("my_photos/blast", "test_images")
    names = sorted(path.name for path in (kaggle / "test_images").iterdir())
    lines = ["image_id,label", *(f"{name}," for name in names)]
    (kaggle / "sample_submission.csv").write_text("\n".join(lines) + "\n")
    (folder / "weights").mkdir()
    state = timm.create_model("test_efficientnet").state_dict()
    save_file(state, folder / "weights" / "test_efficientnet.safetensors")
    files = sorted(Path("my_photos").glob("*/*.png"))
    rows = {
        "image": [{"bytes": one.read_bytes(), "path": None} for one in files],
        "label": [list(COUNTS).index(one.parent.name) for one in files],
    }
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(COUNTS))}
    datasets.disable_progress_bars()
    saved = datasets.Dataset.from_dict(rows, features=datasets.Features(kinds))
    saved.save_to_disk(folder / "my_dataset")
    # What stands for a name of the hub is a folder where no hub can be reached.
    shutil.copytree("my_dataset", folder / "OWNER" / "NAME")
    page = ROOT / "docs" / "how-to.md"
    (folder / "my_variants.py").write_text(blocks(page, "python")[0])
    (folder / "my_claims.toml").write_text(blocks(page, "toml")[0])
    return folder


def lines(page: Path) -> Iterator[str]:
    for block in [*blocks(page, "bash"), *blocks(page, "python"), *blocks(page, "text")]:
        for line in block.splitlines():
            found = re.match(r"!?python -m bench (.+?)(?:\s+#.*)?$", line.strip())
            if found:
                yield found[1]


def carry_out_the_commands_of(name: str, capsys: pytest.CaptureFixture) -> None:
    """All of a page, one after the other, in a folder with a trained sweep."""
    from variants import _registry

    page = ROOT / name if name == "README.md" else ROOT / "docs" / name
    line = "run --variants all,baselines --data-dir my_photos --seeds 2"
    assert main(shlex.split(line)) == 0
    trained = sorted(path.parent.name for path in Path("results").glob("*/run.json"))
    assert len(trained) == 8
    placeholders = ("RUN", "RUN_A", "RUN_B", "RUN_C")
    runs = dict(zip(placeholders, (trained[place] for place in RUNS[name]), strict=True))
    done = 0
    for line in lines(page):
        words = [runs.get(word, word) for word in shlex.split(line)]
        words = [re.sub("^/content/", "content/", word) for word in words]
        elsewhere = "--executor" in words  # its processes have other variants than this one
        if words[0] == "time" or "--resume" in words or "ConvNeXt" in line or elsewhere:
            continue
        if words[0] == "run" and "--data-dir" not in words:
            words += ["--data-dir", "my_photos"]  # else the built-in set is drawn
        before = dict(_registry._variants)
        assert main(words) == 0, (line, capsys.readouterr().err[-1500:])
        # A plugin is of its own command alone.
        _registry._variants.clear()
        _registry._variants.update(before)
        for module in [one for one in sys.modules if one.startswith("paddy_bench_plugin_")]:
            del sys.modules[module]
        done += 1
    assert done > 12
    assert list(Path("reports").glob("*/report.html"))
