"""Tests of the measured cells: which run, which gates, which comparisons are refused."""

from __future__ import annotations

import attrs
import pytest

from bench.report.analysis.metrics import metric, metrics, value_of
from bench.report.analysis.selection import Selection
from bench.report.analysis.timings import throughput
from bench.report.analysis.values import failure, significant
from bench.report.claims.compare import measured, related
from bench.report.claims.model import Row

CPU = "AMD EPYC 7B13"
SPEED = Row("k", "Speed", "cpu_images_per_s", "×", {}, against="ResNet18")


def cell(records, name, variant="EfficientNetV2_S_CA"):
    return measured(Selection(records), name, variant).cell()


def test_counts_are_in_millions_with_both_heads(make_record):
    records = [make_record()]
    assert cell(records, "parameters_1000") == "21.61"
    assert cell(records, "parameters_run") == "20.35"
    assert cell(records, "gmacs_224") == "2.88"
    assert value_of(records[0], "parameters_run").number == pytest.approx(20.346578)


def test_speeds_name_their_device(make_record):
    assert cell([make_record()], "cpu_images_per_s") == f"21 (1 round) ({CPU}, 2 threads)"
    assert cell([make_record()], "train_images_per_s") == f"7 ({CPU}, 2 threads)"
    assert cell([make_record()], "metrics_fps") == f"231.0 ({CPU}, 2 threads)"


def test_accuracy_has_its_interval_and_number_of_images(make_record):
    record = make_record(classes=["a", "b"])
    record["validation"] |= {"labels": [0, 1] * 10, "predictions": [0, 1] * 9 + [1, 0]}
    assert cell([record], "valid_accuracy") == "90.0 [69.9–97.2], n 20, validation"


def test_an_undertrained_accuracy_says_so_and_counts_stand(make_record):
    record = make_record(classes=["a", "b"])
    record["validation"] |= {"labels": [0, 1] * 10, "predictions": [1] * 20}
    assert (
        cell([record], "valid_accuracy")
        == "undertrained (50.0 %, validation: predicts a single class)"
    )
    assert cell([record], "metrics_valid_acc").startswith("undertrained (")
    assert cell([record], "parameters_run") == "20.35"
    assert cell([record], "cpu_images_per_s") == f"21 (1 round) ({CPU}, 2 threads)"


def test_an_invalid_run_has_its_reason_in_place_of_every_number(make_record):
    record = make_record()
    record["training"]["epochs"][0]["valid_loss"] = float("nan")
    for name in ("parameters_run", "valid_accuracy", "cpu_images_per_s", "metrics_valid_loss"):
        assert cell([record], name) == "invalid (valid_loss of epoch 1 is nan)"
    record["validation"]["predictions"] = [0] * len(record["validation"]["labels"])
    assert cell([record], "valid_accuracy").startswith("invalid (")
    assert cell([record], "use_case") == "Production"
    assert cell([record], "imagenet").startswith("n/a (")


def test_a_failed_run_keeps_its_counts_and_names_its_error(make_failed):
    records = [make_failed("EfficientNetV2_S_CA", "RuntimeError", "no\nspace")]
    assert cell(records, "parameters_run") == "20.35"
    assert cell(records, "valid_accuracy") == "n/a (run failed: RuntimeError: no space)"
    records[0]["counts"] = None
    assert cell(records, "parameters_run") == "n/a (run failed: RuntimeError: no space)"


def test_reasons_of_missing_figures(make_record):
    record = make_record()
    assert cell([record], "cpu_images_per_s", "ResNet18") == "n/a (variant not in this sweep)"
    assert cell([record], "gpu_images_per_s") == "n/a (no CUDA device on this machine)"
    assert cell([record], "gpu_memory_gb") == "n/a (no CUDA device on this machine)"
    assert "not measured by this project" in cell([record], "imagenet")
    record["config"]["device"] = "cpu"
    assert "--device cpu" in cell([record], "gpu_images_per_s")
    record["timing"] = record["timing"][:1]
    assert cell([record], "cpu_images_per_s") == "n/a (not timed at 224 pixels)"
    record["timing_error"] = "out of memory at batch 16"
    assert cell([record], "cpu_images_per_s") == "n/a (timing failed: out of memory at batch 16)"
    record["metrics"]["fps"] = None
    assert cell([record], "metrics_fps") == "n/a (out of memory at batch 16)"
    record["config"]["timing"] = False
    assert cell([record], "cpu_images_per_s") == "n/a (timing was off)"
    assert cell([record], "metrics_fps") == "n/a (timing was off)"


def test_reasons_where_a_record_is_thin(make_record):
    record = make_record(metrics={}, validation=None, counts={"macs": []})
    record["training"].pop("images_per_s")
    record["variant"].pop("use_case")
    for name, reason in {
        "parameters_run": "not counted in this run",
        "gmacs_224": "MACs not counted at 224 pixels",
        "valid_accuracy": "accuracy not recorded",
        "train_images_per_s": "training speed not recorded",
        "metrics_best_epoch": "best_epoch not recorded",
        "use_case": "the variant declares none",
    }.items():
        assert cell([record], name) == f"n/a ({reason})"


def test_a_gpu_run_shows_the_gpus_name_and_memory(make_record, on_gpu):
    record = on_gpu(make_record(), "NVIDIA H100")
    assert cell([record], "gpu_images_per_s") == "2,100 (1 round) (NVIDIA H100)"
    assert cell([record], "any_images_per_s") == "2,100 (1 round) (NVIDIA H100)"
    assert cell([record], "gpu_memory_gb") == (
        "13.5 in use by this process, 13.1 reserved by PyTorch, 12.5 allocated by PyTorch "
        "(NVIDIA H100)"
    )
    assert value_of(record, "gpu_memory_gb").number == 13.5
    record["timing"].pop()
    assert cell([record], "gpu_images_per_s") == "n/a (not timed at 224 pixels)"
    record["training"] |= {"peak_memory_mb": None, "gpu_memory": None}
    assert cell([record], "gpu_memory_gb") == "n/a (peak memory not recorded)"


def test_weights_are_named_as_used(make_record):
    record = make_record()
    assert cell([record], "weights_tag").startswith("random weights in this run (declared: tf_")
    record["training"]["initial_weights"] = "timm: resnet18.tv_in1k"
    assert cell([record], "weights_tag") == "timm: resnet18.tv_in1k"


def test_the_latest_complete_run_is_chosen(make_record, make_failed):
    old, new = make_record(minute=10), make_record(minute=40, accuracy=0.7)
    failed = make_failed("EfficientNetV2_S_CA", "RuntimeError", "x", minute=50)
    selection = Selection([new, old, failed])
    assert selection.chosen("EfficientNetV2_S_CA") is new
    assert Selection([failed]).chosen("EfficientNetV2_S_CA") is failed
    twin = make_record(minute=40)
    assert Selection([new, twin]).chosen("EfficientNetV2_S_CA") is twin
    unreadable = make_record(started="yesterday")
    assert Selection([new, unreadable]).chosen("EfficientNetV2_S_CA") is new


def test_ratio_to_another_variant(make_record):
    selection = Selection([make_record("EfficientNetV2_S"), make_record("ResNet18")])
    assert related(selection, SPEED, "EfficientNetV2_S").cell() == f"0.33 ({CPU}, 2 threads)"
    assert related(selection, SPEED, "ResNet18").cell() == "1 (reference)"


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("batch_size", 32, "batch size"),
        ("dtype", "bfloat16", "dtype"),
        ("threads", 4, "threads"),
        ("device_name", "Another CPU", "device name"),
        ("memory_format", "channels_last", "memory format"),
    ],
)
def test_ratio_of_speeds_under_different_settings_is_refused(make_record, key, value, shown):
    other = make_record("ResNet18")
    other["timing"][1][key] = value
    selection = Selection([make_record("EfficientNetV2_S"), other])
    expected = f"n/a (the two runs differ in {shown})"
    assert related(selection, SPEED, "EfficientNetV2_S").cell() == expected


def test_ratio_of_training_speeds_needs_equal_batch_and_size(make_record):
    row = attrs.evolve(SPEED, metric="train_images_per_s")
    other = make_record("ResNet18")
    other["config"]["image_size"] = 96
    selection = Selection([make_record("EfficientNetV2_S"), other])
    cell = related(selection, row, "EfficientNetV2_S").cell()
    assert cell == "n/a (the two runs differ in image size)"


def test_cpu_speed_is_never_held_against_gpu_speed(make_record, on_gpu):
    row = attrs.evolve(SPEED, metric="any_images_per_s")
    selection = Selection(
        [on_gpu(make_record("EfficientNetV2_S"), "NVIDIA H100"), make_record("ResNet18")]
    )
    assert "device name" in related(selection, row, "EfficientNetV2_S").cell()


def test_ratio_without_the_other_run_says_why(make_record):
    selection = Selection([make_record("EfficientNetV2_S")])
    cell = related(selection, SPEED, "EfficientNetV2_S").cell()
    assert cell == "n/a (ResNet18: n/a: variant not in this sweep)"


def test_difference_of_accuracies_is_in_points_on_the_same_images(make_record):
    row = attrs.evolve(SPEED, metric="valid_accuracy", form="difference")
    one, two = make_record("EfficientNetV2_S", classes=["a", "b"]), make_record("ResNet18")
    one["validation"] |= {"labels": [0, 1] * 10, "predictions": [0, 1] * 9 + [1, 0]}
    two["validation"] |= {"labels": [0, 1] * 10, "predictions": [0, 1] * 8 + [1, 0] * 2}
    cell = related(Selection([one, two]), row, "EfficientNetV2_S").cell()
    assert cell == "+10.0 [-8.3 to +26.5] (~ tie)"
    ids = [f"{n}.jpg" for n in range(200)]
    one["validation"] |= {"labels": [0, 1] * 100, "predictions": [0, 1] * 90 + [1, 0] * 10}
    two["validation"] |= {"labels": [0, 1] * 100, "predictions": [0, 1] * 60 + [1, 0] * 40}
    one["validation"]["ids"] = two["validation"]["ids"] = ids
    cell = related(Selection([one, two]), row, "EfficientNetV2_S").cell()
    assert cell == "+30.0 [+23.3 to +36.2] (better)"
    two["data"]["fingerprint"] = "another"
    assert "differ in data" in related(Selection([one, two]), row, "EfficientNetV2_S").cell()


def test_accuracy_is_that_of_the_test_part_where_there_is_one(make_record, make_tested):
    record = make_tested(make_record(), 22, 23)
    for name in ("accuracy", "valid_accuracy"):
        assert cell([record], name) == "95.7 [79.0–99.2], n 23, test"
    assert cell([record], "valid_part_accuracy").endswith("n 120, validation")
    assert cell([record], "metrics_valid_acc") == f"{record['metrics']['valid_acc']:.4f}"
    setting = value_of(record, "accuracy").setting
    assert setting == {"data": "3f9a1c0de4b7", "image size": 64, "part": "test", "images": 23}
    row = attrs.evolve(SPEED, metric="accuracy", form="difference")
    shown = related(Selection([record, make_record("ResNet18")]), row, "EfficientNetV2_S_CA")
    assert shown.cell() == "n/a (the two runs differ in part, images)"


def test_the_timing_shown_is_float32_with_most_threads(make_record):
    record = make_record()
    base = record["timing"][1]
    assert base["image_size"] == 224
    base["memory_format"] = "channels_last"
    for change in (
        {"threads": 1}, {"dtype": "bfloat16 autocast", "threads": 8}, {"clock": "pipeline"},
        {"memory_format": "contiguous"}, {"regime": "latency"},
    ):  # fmt: skip
        record["timing"].insert(0, {**base, "images_per_s": 999.0, **change})
    assert cell([record], "cpu_images_per_s") == f"21 (1 round) ({CPU}, 2 threads)"
    record["timing"].append({**base, "images_per_s": 40.0, "threads": 4})
    assert cell([record], "cpu_images_per_s") == f"40 (1 round) ({CPU}, 4 threads)"
    assert cell([record], "train_step_images_per_s") == "n/a (not timed at 224 pixels)"
    record["timing"].append({**base, "images_per_s": 7.0, "clock": "train"})
    assert cell([record], "train_step_images_per_s") == f"7 (1 round) ({CPU}, 2 threads)"


def test_a_speed_has_its_interval_from_six_rounds_on(make_record, make_rounds):
    record = make_rounds(make_record(), 10)
    value = measured(Selection([record]), "cpu_images_per_s", "EfficientNetV2_S_CA")
    low, high = value.interval
    assert low < value.number < high
    assert value.text == f"{significant(value.number)} [{significant(low)}–{significant(high)}]"
    few = make_rounds(make_record(), 3)
    value = measured(Selection([few]), "cpu_images_per_s", "EfficientNetV2_S_CA")
    assert value.text.endswith(" (3 rounds)")
    assert value.interval is None


def test_ratios_are_taken_round_by_round(make_record, make_rounds):
    records = [make_rounds(make_record(name), 10) for name in ("EfficientNetV2_S", "ResNet18")]
    # The machine halves its speed from the fifth round on, for both alike.
    for record in records:
        for one in record["timing"][1]["rounds"][5:]:
            one["block_seconds"] = [2 * seconds for seconds in one["block_seconds"]]
    value = related(Selection(records), SPEED, "EfficientNetV2_S")
    low, high = value.interval
    assert low < 22.2 / 68 < high
    assert high / low < 1.03
    assert value.text == f"{value.number:.2f} [{low:.2f}–{high:.2f}]"


def test_speeds_of_different_machines_and_sessions_are_not_related(make_record):
    one, two = make_record("EfficientNetV2_S"), make_record("ResNet18")
    two["session"]["id"] = "another"
    shown = related(Selection([one, two]), SPEED, "EfficientNetV2_S").cell()
    assert shown == "n/a (the two runs differ in timing session)"
    two["environment"]["machine"] = "ffff0000"
    shown = related(Selection([one, two]), SPEED, "EfficientNetV2_S").cell()
    assert shown == "n/a (the two runs differ in machine, timing session)"
    row = attrs.evolve(SPEED, metric="train_images_per_s")
    shown = related(Selection([one, two]), row, "EfficientNetV2_S").cell()
    assert shown == "n/a (the two runs differ in machine)"
    assert (
        cell([one, two], "cpu_images_per_s", "ResNet18") == f"68 (1 round) on M2 ({CPU}, 2 threads)"
    )
    assert cell([one, two], "parameters_run", "ResNet18") == "11.18"


def test_timings_alone_do_not_replace_a_trained_run(make_record):
    trained = make_record(minute=10)
    alone = make_record(minute=40, training=None, metrics=None, validation=None)
    alone["timing"][1]["images_per_s"] = 25.0
    assert cell([trained, alone], "cpu_images_per_s") == f"25 (1 round) ({CPU}, 2 threads)"
    assert cell([trained, alone], "accuracy").endswith("validation")
    assert cell([alone], "accuracy") == "n/a (not trained in this run)"
    assert cell([alone], "train_images_per_s") == "n/a (training speed not recorded)"


# --- seeds -----------------------------------------------------------------------------------


def three_seeds(make_record, make_tested, hits=(92, 93, 94)):
    return [make_tested(make_record(seed=s), hit, 100) for s, hit in enumerate(hits)]


def test_accuracy_of_several_seeds_is_their_mean_with_range(make_record, make_tested):
    records = three_seeds(make_record, make_tested)
    assert cell(records, "accuracy") == (
        "93.0 [86.4–96.5], n 100 (mean of 3 seeds, 92.0–94.0), test"
    )
    value = measured(Selection(records), "valid_accuracy", "EfficientNetV2_S_CA")
    assert value.number == pytest.approx(93)
    low, high = value.interval
    assert low < 92 < 94 < high
    two = measured(Selection(records[:2]), "accuracy", "EfficientNetV2_S_CA")
    assert two.text.endswith(", n 100 (mean of 2 seeds, 92.0–93.0), test")
    low, high = two.interval
    assert low < 92 < 93 < high


def test_one_collapsed_seed_marks_the_variant(make_record, make_tested):
    records = three_seeds(make_record, make_tested)
    records[1]["test"]["predictions"] = [0] * 100
    assert cell(records, "accuracy") == (
        "undertrained (65.3 [6.0–98.2], n 100 (mean of 3 seeds, 10.0–94.0), test: 1 of 3 seeds: "
        "predicts a single class)"
    )


def test_an_invalid_seed_is_left_out_and_counted(make_record, make_tested):
    records = three_seeds(make_record, make_tested)
    records[0]["test"]["loss"] = None
    assert cell(records, "accuracy") == (
        "93.5 [87.0–96.9], n 100 (mean of 2 seeds, 93.0–94.0), test, 1 invalid left out"
    )
    for record in records:
        record["test"]["loss"] = None
    assert cell(records, "accuracy") == "invalid (test loss is NaN or infinite)"
    bare = [make_record(seed=s, validation=None, metrics={}) for s in range(2)]
    assert cell(bare, "accuracy") == "n/a (accuracy not recorded)"


def test_folds_are_pooled_with_wilsons_interval(make_record, make_tested):
    records = three_seeds(make_record, make_tested, (18, 20, 19))
    for number, record in enumerate(records, start=1):
        make_tested(record, (18, 20, 19)[number - 1], 20)
        record["config"]["seed"] = 0
        record["data"]["fold"] = {"number": number, "of": 3}
        record["test"]["ids"] = [f"{number}-{name}" for name in record["test"]["ids"]]
    assert cell(records, "accuracy") == "95.0 [86.3–98.3], n 60, test, 3 folds pooled"


def test_a_metric_name_is_registered_once():
    with pytest.raises(ValueError, match="twice"):
        metric("valid_accuracy")(lambda record: None)
    assert len(metrics()) == len(set(metrics()))


def test_timing_at_the_runs_size_is_another_figure(make_record):
    assert throughput(make_record(), "cpu", 64).number == pytest.approx(231)
    with pytest.raises(KeyError):
        value_of(make_record(), "nonsense")


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.05841, "0.0584"), (2.873, "2.87"), (99.96, "100"), (345.2, "345"), (31435, "31,435")],
)
def test_three_significant_digits(number, text):
    assert significant(number) == text


def test_a_long_error_is_cut():
    record = {"error": {"type": "ValueError", "message": "x" * 500}}
    assert len(failure(record)) == 120
    assert failure({}) == "unknown error"
