"""Tests of the pictures: what they show, of which runs, and that they are the same every time."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from bench.report.analysis.seeds import accuracy_of
from bench.report.analysis.selection import Selection
from bench.report.render.figures import (
    MOST_PANELS,
    confusion,
    confusion_matrices,
    reliability_diagrams,
    training_curves,
)
from bench.report.render.scatter import accuracy_vs_throughput, bars_note
from tests.report.sessions import set_predictions


def shown(figure):
    return list(figure.axes)


def line(axes, label):
    return next(entry for entry in axes.get_lines() if entry.get_label() == label)


def test_training_curves_have_a_panel_for_each_run(sweep, drawn, tmp_path):
    training_curves(sweep, tmp_path / "a.png", "accuracy")
    titles = [axes.get_title() for axes in shown(drawn[0])]
    assert titles == [record["variant"]["name"] for record in sweep]
    training_curves(sweep[:3], tmp_path / "l.png", "loss")
    assert len(shown(drawn[1])) == 3
    assert training_curves([], tmp_path / "n.png", "loss") is None


@pytest.mark.parametrize("count", [1, 2, 7])
def test_no_legend_is_cut_off_and_no_title_lies_on_labels(make_record, drawn, tmp_path, count):
    hits = [True, False] * 10
    runs = [set_predictions(make_record(f"EfficientNetV2_S_{n}"), hits) for n in range(count)]
    training_curves(runs, tmp_path / "a.png", "accuracy")
    reliability_diagrams(runs, tmp_path / "r.png")
    assert len(drawn) == 2
    for figure in drawn:
        renderer = FigureCanvasAgg(figure).get_renderer()
        for legend in figure.legends:
            box = legend.get_window_extent(renderer)
            assert figure.bbox.x0 <= box.x0
            assert box.x1 <= figure.bbox.x1
        titles = [axes.title.get_window_extent(renderer) for axes in shown(figure)]
        labels = [
            label.get_window_extent(renderer)
            for axes in shown(figure)
            for label in axes.get_xticklabels()
        ]
        assert not [one for one in titles for other in labels if one.overlaps(other)]


def test_many_runs_are_cut_to_what_can_be_read(make_record, drawn, tmp_path):
    classes = ["a", "b"]
    count = MOST_PANELS + 5
    records = [make_record(f"V{n}", epochs=1, classes=classes) for n in range(count)]
    training_curves(records, tmp_path / "a.png", "loss")
    confusion_matrices(records, tmp_path / "c.png")
    assert [len(shown(figure)) for figure in drawn] == [MOST_PANELS, MOST_PANELS]


def test_titles_say_synthetic(make_record, drawn, tmp_path):
    records = [make_record(synthetic=True)]
    training_curves(records, tmp_path / "a.png", "loss")
    confusion_matrices(records, tmp_path / "b.png")
    accuracy_vs_throughput(records, tmp_path / "c.png")
    assert all("SYNTHETIC" in figure.get_suptitle() for figure in drawn)


def test_scatter_has_a_distinct_marker_for_each_variant(sweep, drawn, tmp_path):
    accuracy_vs_throughput(sweep, tmp_path / "s.png")
    (axes,) = shown(drawn[0])
    handles, labels = axes.get_legend_handles_labels()
    assert labels == [record["variant"]["name"] for record in sweep]
    styles = {(handle[0].get_color(), handle[0].get_marker()) for handle in handles}
    assert len(styles) == 10
    x, y = handles[-1][0].get_data()
    assert x[0] == 68.0
    assert y[0] == pytest.approx(100 * sweep[-1]["validation"]["accuracy"])


def test_scatter_marks_undertrained_models(make_record, drawn, tmp_path):
    record = make_record()
    record["validation"]["predictions"] = [0] * len(record["validation"]["labels"])
    accuracy_vs_throughput([record], tmp_path / "s.png")
    handles, labels = shown(drawn[0])[0].get_legend_handles_labels()
    assert labels == ["EfficientNetV2_S_CA (undertrained)"]
    assert handles[0][0].get_markerfacecolor() == "white"


def test_scatter_shows_the_test_part_and_says_so(make_record, make_tested, drawn, tmp_path):
    selection = Selection([make_tested(make_record(), 90, 100)])
    accuracy_vs_throughput(selection, tmp_path / "s.png")
    (axes,) = shown(drawn[0])
    assert axes.get_ylabel() == "test accuracy (%), 95 % interval"
    assert axes.containers[0][0].get_ydata()[0] == pytest.approx(90)
    assert bars_note(selection) == (
        "Accuracy: test part. Bars: 95 % Wilson interval of one run's accuracy. "
        "Hollow: undertrained."
    )
    assert bars_note(Selection([])) == ""


def test_scatter_of_several_seeds_is_their_mean_with_its_interval(
    make_record, make_tested, drawn, tmp_path
):
    seeds = [make_tested(make_record(seed=s), hit, 100) for s, hit in enumerate((85, 92, 93))]
    selection = Selection([*seeds, make_tested(make_record("ResNet18"), 80, 100)])
    accuracy_vs_throughput(selection, tmp_path / "s.png")
    (axes,) = shown(drawn[0])
    several, single = axes.containers
    assert several[0].get_ydata()[0] == pytest.approx(90)
    ends = several[2][0].get_segments()[0][:, 1]
    found = accuracy_of(selection, "EfficientNetV2_S_CA")
    assert list(ends) == pytest.approx([100 * found.low, 100 * found.high])
    assert ends[0] < 84
    assert list(single[2][0].get_segments()[0][:, 1]) == pytest.approx([71.1, 86.7], abs=0.05)
    assert axes.get_ylabel() == "test accuracy (%), 95 % interval"
    note = bars_note(selection)
    assert "Points are the mean of 3 seeds, their bars their 95 % interval." in note
    assert "Bars: 95 % Wilson interval of one run's accuracy." in note


def test_scatter_of_seeds_without_single_images_has_their_range(make_record, drawn, tmp_path):
    runs = [make_record(seed=seed) for seed in (0, 1)]
    for run, share in zip(runs, (0.8, 0.9), strict=True):
        run["validation"], run["metrics"]["valid_acc"] = {"macro_f1": share}, share
    selection = Selection(runs)
    accuracy_vs_throughput(selection, tmp_path / "s.png")
    (axes,) = shown(drawn[0])
    ends = axes.containers[0][2][0].get_segments()[0][:, 1]
    assert list(ends) == pytest.approx([80, 90])
    assert axes.get_ylabel() == "validation accuracy (%), 95 % interval or range"
    assert "their bars the range over the seeds." in bars_note(selection)


def test_scatter_takes_the_speed_of_the_timed_run(make_record, drawn, tmp_path):
    trained = make_record(timing=[], session=None)
    timed = make_record(minute=40, training=None, validation=None, metrics=None)
    accuracy_vs_throughput([trained, timed], tmp_path / "s.png")
    assert shown(drawn[0])[0].containers[0][0].get_xdata()[0] == 21.0
    timed["timing"][1]["rounds"][0]["block_seconds"][0] = -1.0
    assert accuracy_vs_throughput([trained, timed], tmp_path / "s.png") is None


def test_scatter_has_a_panel_for_the_gpu(make_record, on_gpu, drawn, tmp_path):
    records = [on_gpu(make_record(), "NVIDIA H100"), make_record("ResNet18")]
    accuracy_vs_throughput(records, tmp_path / "s.png")
    cpu, gpu = shown(drawn[0])
    assert "GPU images/s" in gpu.get_xlabel()
    assert "NVIDIA H100" in gpu.get_xlabel()
    assert len(gpu.containers) == 1
    assert len(cpu.containers) == 2


def test_scatter_without_timing_is_none(make_record, tmp_path):
    assert accuracy_vs_throughput([make_record(timing=[])], tmp_path / "s.png") is None


def test_confusion_counts_true_classes_in_rows_of_the_judged_part(make_record, make_tested):
    record = make_record(classes=["a", "b"])
    record["validation"] |= {"labels": [0, 0, 0, 1], "predictions": [0, 1, 1, 1]}
    assert confusion(record) == [[1, 2], [0, 1]]
    make_tested(record, 1, 2)
    assert confusion(record) == [[1, 0], [1, 0]]
    record["test"] = None
    record["validation"]["predictions"] = [0, 1, 1, 2]
    assert confusion(record) is None
    record["validation"]["predictions"] = [0]
    assert confusion(record) is None


def test_confusion_figure_names_classes_once_a_row(sweep, drawn, tmp_path):
    sweep[0]["data"]["classes"][0] = "a class with a name of more than thirty letters"
    confusion_matrices(sweep, tmp_path / "c.png")
    panels = shown(drawn[0])
    assert len(panels) == 10
    names = [label.get_text() for label in panels[0].get_yticklabels()]
    assert names[0] == "a class with a name of more t…"
    assert names[3] == "blast"
    assert list(panels[1].get_yticklabels()) == []
    assert len(panels[9].get_xticklabels()) == 10
    # Colour is the share of the true class: every row of one that occurs sums to 1.
    shares = [np.asarray(panel.images[0].get_array()).sum(axis=1) for panel in panels]
    assert np.allclose(shares, 1)


def test_confusion_of_very_many_classes_has_no_numbers(make_record, drawn, tmp_path):
    classes = [f"c{index}" for index in range(30)]
    confusion_matrices([make_record(classes=classes, per_class=1)], tmp_path / "c.png")
    assert len(shown(drawn[0])[0].texts) == 0


def test_confusion_without_predictions_is_none(make_record, tmp_path):
    assert confusion_matrices([make_record(validation=None)], tmp_path / "c.png") is None


def test_other_seeds_are_drawn_pale_behind_the_run(make_record, tmp_path, drawn):
    runs = [make_record("ResNet18", seed=seed, epochs=4) for seed in range(3)]
    alone = [runs[0]]
    training_curves(alone, tmp_path / "one.png", "loss")
    training_curves(alone, tmp_path / "three.png", "loss", lambda variant: runs)
    one, three = (figure.axes[0].get_lines() for figure in drawn)
    pale = [line for line in three if line.get_alpha() is not None]
    assert len(pale) == len(three) - len(one) == 4
    losses = [epoch["valid_loss"] for epoch in runs[2]["training"]["epochs"]]
    assert losses in [list(line.get_ydata()) for line in pale]
