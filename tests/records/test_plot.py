"""The picture in a run's folder."""

from __future__ import annotations

from matplotlib.image import imread

from bench.records.plot import training_plot


def rows(count: int = 5) -> list[dict]:
    names = ("train_loss", "valid_loss", "train_acc", "valid_acc", "valid_macro_f1")
    return [
        {"epoch": e, **{name: 0.1 * e / count + 0.01 * n for n, name in enumerate(names)}}
        for e in range(1, count + 1)
    ]


def shown(figure):
    return list(figure.axes)


def line(axes, label):
    return next(entry for entry in axes.get_lines() if entry.get_label() == label)


def test_training_plot_draws_both_curves_and_marks_the_best_epoch(drawn, tmp_path):
    epochs = rows()
    epochs[2]["valid_macro_f1"] = 0.99
    path = training_plot(epochs, tmp_path / "new" / "training_plot.png", "ResNet18 $x$")
    assert imread(path).shape[1] > 900
    loss, share = shown(drawn[0])
    assert list(line(loss, "train").get_ydata()) == [entry["train_loss"] for entry in epochs]
    assert list(line(share, "valid macro-F1").get_ydata())[2] == 0.99
    assert list(line(share, "best epoch").get_xdata()) == [3, 3]


def test_training_plot_of_one_epoch_is_visible(drawn, tmp_path):
    training_plot(rows(1), tmp_path / "p.png", "one")
    loss, share = shown(drawn[0])
    for axes, label in ((loss, "valid"), (share, "valid accuracy")):
        assert line(axes, label).get_marker() == "o"
        assert axes.get_xlim() == (0.5, 1.5)


def test_training_plot_of_no_epoch_and_of_missing_values(tmp_path):
    assert training_plot([], tmp_path / "none.png", "nothing").is_file()
    epochs = rows(2)
    for entry in epochs:
        entry["valid_macro_f1"] = None
    assert training_plot(epochs, tmp_path / "gap.png", "gap").is_file()


def test_pictures_are_the_same_bytes_every_time(tmp_path):
    epochs = rows()
    one, two = (
        training_plot(epochs, tmp_path / "1.png", "t"),
        training_plot(epochs, tmp_path / "2.png", "t"),
    )
    assert one.read_bytes() == two.read_bytes()


def test_long_training_has_fewer_markers_than_epochs(drawn, tmp_path):
    training_plot(rows(100), tmp_path / "p.png", "t")
    assert line(shown(drawn[0])[0], "valid").get_markevery() == 4
