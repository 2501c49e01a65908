"""The notebook runs from top to bottom, on small data."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "kaggle.ipynb"


@pytest.fixture
def cells() -> list[dict[str, Any]]:
    return json.loads(NOTEBOOK.read_text("utf8"))["cells"]


def test_it_is_committed_without_outputs(cells) -> None:
    for cell in cells:
        assert cell["cell_type"] in ("markdown", "code")
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.slow
def test_its_cells_run_in_order(
    cells, photos: Path, tiny_plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    display = types.ModuleType("IPython.display")
    display.HTML = shown.append  # type: ignore[attr-defined]
    notebook: Any = types.ModuleType("IPython")
    # What matplotlib asks of it.
    notebook.version_info, notebook.get_ipython = (9, 0), lambda: None
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    folder = tmp_path / "working"
    folder.mkdir()
    monkeypatch.chdir(folder)
    # A real variant would take minutes: the plugin's are two layers deep.
    import variants

    variants.load_plugin(tiny_plugin)
    small = {
        "VARIANTS": "Tiny,Tiny_CA",
        "PRESET": None,
        "DATA": str(photos),
        "OPTIONS": {
            "epochs": 2, "batch_size": 8, "image_size": 32, "base_lr": 1e-2, "head_lr": 1e-2,
            "timing": False, "threads": 1, "dedup": "group", "hours": 1,
        },
    }  # fmt: skip
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            lines = [line for line in cell["source"] if not line.startswith(("%", "!"))]
            exec(compile("".join(lines), str(NOTEBOOK), "exec"), names)
            if "parameters" in cell["metadata"].get("tags", ()):
                assert set(small) <= set(names)
                names.update(small)
    assert [record["status"] for record in names["records"]] == ["complete"] * 2
    assert len(names["table"]) == 2
    assert names["differences"]["variant"].tolist() == ["Tiny_CA"]
    (page,) = shown
    assert page.startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert "Tiny_CA" in page
    assert page.count('"') == 6
    assert len(Path("submission.csv").read_text().splitlines()) == 41
