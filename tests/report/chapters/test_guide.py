"""Tests of the guide's tables, the presets', the parameters' and the overview."""

from __future__ import annotations

import pytest

from bench.config.options import options
from bench.config.presets import get_preset
from bench.report.analysis.metrics import value_of
from bench.report.analysis.selection import (
    Selection,
    data_note,
    run_note,
    timing_note,
    training_note,
)
from bench.report.chapters.guide import (
    guide_table,
    parameter_tables,
    published_table,
    used,
    uses_of,
    written,
)
from bench.report.chapters.models import overview_tables
from bench.report.chapters.setup import (
    _versions,
    class_tables,
    failures_table,
    header,
    warnings_table,
)
from bench.report.claims.expected import presets_table
from bench.report.claims.model import load_claims
from bench.report.render.markdown import Table

CPU = "AMD EPYC 7B13"


def guide(records, identifier: str) -> Table:
    claims = load_claims()
    table = next(entry for entry in claims.tables if entry.id == identifier)
    return guide_table(table, Selection(records), claims)


def at(table: Table, row: str, heading: str) -> str:
    """The cell in the row that starts with ``row`` and the column of that heading."""
    line = next(entry for entry in table.rows if entry[0] == row)
    return line[list(table.headers).index(heading)]


def test_every_table_is_rectangular(sweep, make_failed):
    sweep[1]["counts"]["parameters_declared"] = 1
    records = [*sweep, make_failed("ResNet18", "RuntimeError", "x")]
    selection, claims = Selection(records), load_claims()
    tables = [guide_table(table, selection, claims) for table in claims.tables]
    tables += [presets_table(selection), published_table(claims)]
    tables += [*parameter_tables(selection, claims), *overview_tables(selection)]
    tables += [*class_tables(selection), failures_table(selection)]
    for table in tables:
        assert {len(row) for row in table.rows} == {len(table.headers)}, table.id
        assert all(isinstance(cell, str) for row in table.rows for cell in row)


def test_why_v2_s_puts_documented_and_measured_side_by_side(sweep):
    table = guide(sweep, "why-v2-s")
    assert list(table.headers[:6]) == [
        "Metric",
        "Unit",
        "MobileNetV3-Small, documented",
        "MobileNetV3-Small, measured",
        "ResNet18, documented",
        "ResNet18, measured",
    ]
    macs = "FLOPs in the guide: MACs at 224"
    assert at(table, macs, "Unit") == "GMACs (fvcore counts one multiply-add as one)"
    assert at(table, macs, "ResNet18, documented") == "1.8"
    assert at(table, macs, "ResNet18, measured") == "1.82"
    assert at(table, "FPS (guide: T4 GPU)", "ResNet18, measured").startswith("n/a (no CUDA device")
    assert at(table, "FPS (CPU)", "ResNet18, measured") == f"68 (1 round) ({CPU}, 2 threads)"
    assert at(table, "FPS (CPU)", "ResNet18, documented") == "~25"
    ratio = "FPS (CPU), ratio to ResNet18"
    assert at(table, ratio, "EfficientNetV2-S, documented") == "~1.4"
    assert at(table, ratio, "EfficientNetV2-S, measured") == f"0.33 ({CPU}, 2 threads)"
    training = "Training Speed, ratio to ResNet18"
    assert at(table, training, "EfficientNetV2-S, measured") == f"0.33 ({CPU}, 2 threads)"
    assert "not measured by" in at(table, "ImageNet Acc", "ResNet18, measured")


def test_parameters_are_compared_at_1000_classes(sweep):
    table = guide(sweep, "v2-s-ca-vs-resnet18-hybrid")
    assert at(table, "Params, 1000-class head", "ResNet18 Hybrid, documented") == "15"
    assert at(table, "Params, 1000-class head", "ResNet18 Hybrid, measured") == "11.90"
    assert at(table, "Params, the run's head", "ResNet18 Hybrid, measured") == "11.39"
    assert at(table, "Params, the run's head", "ResNet18 Hybrid, documented").startswith("n/a (")
    assert "1000" in table.caption


def test_no_measured_cell_says_t4(sweep):
    for table in load_claims().tables:
        shown = guide(sweep, table.id)
        for index, heading in enumerate(shown.headers):
            if "measured" in heading:
                assert all("T4" not in row[index] for row in shown.rows)


def test_variants_that_the_guide_lacks_are_added(sweep, make_record):
    table = guide([*sweep, make_record("My_Plugin")], "variants")
    assert [row[0] for row in table.rows][-1] == "My_Plugin"
    assert at(table, "My_Plugin", "Accuracy, documented (%)") == "n/a (not in the guide)"
    assert at(table, "My_Plugin", "Params, measured (M, 1000-class head)") == "2.00"
    elsewhere = "n/a (not in this table of the guide)"
    assert at(table, "ResNet18_Hybrid", "Speed, documented (in words)") == elsewhere
    assert at(table, "EfficientNetV2_S_ECA", "Speed, documented (in words)") == "Fastest"
    assert (
        at(table, "EfficientNetV2_S_ECA", "Speed, measured (images/s on CPU)")
        == "21.9 (1 round) (2 threads)"
    )
    assert at(table, "EfficientNetV2_S_ECA", "Use case, documented") == "Real-time"


def test_a_documented_variant_that_did_not_run_keeps_its_row(make_record):
    table = guide([make_record()], "variants")
    cell = at(table, "EfficientNetV2_S_Hybrid", "Accuracy, measured (%)")
    assert cell == "n/a (variant not in this sweep)"


def test_captions_carry_the_conditions_of_speed(sweep):
    caption = guide(sweep, "why-v2-s").caption
    for text in ("batch 16", "float32", "contiguous", "2 threads", CPU, "at 224 pixels"):
        assert text in caption


def test_the_caption_says_what_an_accuracy_is_of(sweep):
    text = (
        "Accuracy: the part named in the cell; one seed with a 95 % Wilson interval, several with "
        "mean, 95 % interval and range."
    )
    captions = [guide(sweep, table.id).caption for table in load_claims().tables]
    assert sum(text in caption for caption in captions) >= 2
    assert "validation part, 95 %" not in "".join(captions)


def test_synthetic_data_is_named_in_every_caption(make_record):
    selection, claims = Selection([make_record(synthetic=True, warnings=["w"])]), load_claims()
    tables = [guide_table(table, selection, claims) for table in claims.tables]
    tables += [presets_table(selection), *parameter_tables(selection, claims)]
    tables += [*overview_tables(selection), *class_tables(selection), warnings_table(selection)]
    assert all("SYNTHETIC" in table.caption for table in tables)
    assert "SYNTHETIC" in header(selection)


def test_photographs_are_not_called_synthetic(sweep):
    selection = Selection(sweep)
    assert "SYNTHETIC" not in header(selection) + overview_tables(selection)[0].caption


def test_notes_on_data_runs_and_timing(make_record):
    mixed = [make_record(synthetic=True), make_record("ResNet18", seed=1)]
    assert data_note(mixed).startswith("SYNTHETIC data, not photographs, in 1 of 2 runs.")
    assert data_note([]) == ""
    assert run_note(Selection(mixed)) == "One run for each variant, 2 seeds (0, 1)."
    twice = Selection([make_record(), make_record(minute=40), make_record("ResNet18")])
    assert "complete runs: EfficientNetV2_S_CA 2; else one" in run_note(twice)
    assert timing_note([make_record(timing=[])]) == "Inference was not timed."
    assert training_note([make_record(training=None)]) == ""


def test_the_note_on_timing_tells_rounds_blocks_warm_up_and_allocator(make_record, make_rounds):
    one = make_record()
    note = timing_note([one])
    assert "median over 1 round (each in a fresh process, 3 blocks after 3 warm-up steps)" in note
    assert "Allocator: environment MALLOC_MMAP_MAX_=0." in note
    assert "batch 16" in note
    assert "batch 1," not in note
    assert "at 64 and 224 pixels" in timing_note([one], at_run_size=True)
    many = make_rounds(make_record("ResNet18"), 10)
    many["timing"][0]["rounds"][0]["block_seconds"].pop()
    for entry in (many["timing"][0], many["timing"][1], one["timing"][0], one["timing"][1]):
        entry["warmup_steps"] = None
    many["timing"][1]["allocator"] = {}
    note = timing_note([one, many], at_run_size=True)
    assert "over 1–10 rounds (each in a fresh process, 2–3 blocks after an unrecorded" in note
    assert "Allocator: environment MALLOC_MMAP_MAX_=0; not recorded." in note


def test_captions_and_cells_say_the_threads_that_the_cells_hold(make_record):
    """A session times one thread too; the cells hold the figures of most threads."""
    record = make_record()
    record["timing"] += [{**entry, "threads": 1} for entry in record["timing"]]
    note = timing_note([record], at_run_size=True)
    assert "2 threads" in note
    assert "1 thread" not in note
    speed = "CPU images/s at the run's size"
    _, table = overview_tables(Selection([record]))
    assert table.rows[0][table.headers.index(speed)] == "231 (1 round) at 64 (2 threads)"
    assert "1 thread" not in table.caption
    assert f"Training images/s: {CPU}, 2 threads, batch 16" in table.caption
    for entry in record["timing"]:
        entry["threads"] = 1
    record["environment"]["threads"] = 1
    _, table = overview_tables(Selection([record]))
    assert table.rows[0][table.headers.index(speed)] == "231 (1 round) at 64 (1 thread)"
    assert table.rows[0][table.headers.index("Training images/s")] == "7 (1 thread)"
    assert "1 thread," in table.caption
    assert "threads" not in table.caption


def test_a_gpus_figures_name_no_threads(make_record, on_gpu):
    record = on_gpu(make_record(), "NVIDIA H100")
    _, table = overview_tables(Selection([record]))
    assert table.rows[0][table.headers.index("GPU images/s at 224")] == "2,100 (1 round)"
    assert table.rows[0][table.headers.index("Training images/s")] == "7"
    assert table.rows[0][table.headers.index("Peak memory of training (MB)")] == (
        "13,500 in use by this process, 13,100 reserved by PyTorch, 12,500 allocated by PyTorch"
    )


def test_small_figures_keep_their_digits(make_record, on_gpu):
    record = on_gpu(make_record(), "NVIDIA H100")
    record["counts"]["parameters_1000_classes"] = 54_500
    record["training"]["gpu_memory"]["in_use_mb"] = 54.5
    record["training"]["seconds"] = 3.28
    record["metrics"] |= {"valid_loss": 0.0000545, "fps": 0.0545}
    assert value_of(record, "parameters_1000").text == "0.0545"
    assert value_of(record, "gpu_memory_gb").text.startswith("0.0545 in use")
    assert value_of(record, "metrics_valid_loss").text == "0.0000545"
    assert value_of(record, "metrics_fps").text == "0.0545"
    kaggle = get_preset("kaggle")
    record["sweep"]["preset"], record["config"] = "kaggle", {**record["config"], **kaggle.options}
    table = presets_table(Selection([record]))
    minutes = at(table, "kaggle", "Minutes of training, measured")
    assert minutes == "0.055 (NVIDIA H100)"


def test_a_batch_lowered_for_all_is_told_with_its_reason(make_record):
    record = make_record()
    reason = {"from": 64, "to": 32, "variant": "EfficientNetV2_S", "reason": "out of memory"}
    record["session"]["lowered_batch"] = [reason]
    assert timing_note([record]).endswith(
        "Lowered: batch 32 instead of 64 for all variants, because EfficientNetV2_S failed with "
        "it: out of memory."
    )


# --- presets ---------------------------------------------------------------------------------


def preset_run(make_record, on_gpu, name="kaggle", device="Tesla T4", **changes):
    from bench.config.presets import get_preset

    record = on_gpu(make_record(), device)
    record["sweep"]["preset"] = name
    record["config"] |= dict(get_preset(name).options) | changes
    return record


def test_a_presets_run_stands_beside_its_documented_figures(make_record, on_gpu):
    table = presets_table(Selection([preset_run(make_record, on_gpu)]))
    assert at(table, "kaggle", "Minutes of training, documented") == "25–30"
    assert at(table, "kaggle", "Minutes of training, measured") == "22.0 (Tesla T4)"
    assert at(table, "kaggle", "GPU memory (GB), documented") == "13–14"
    assert at(table, "kaggle", "GPU memory (GB), measured") == (
        "13.5 in use by this process, 13.1 reserved by PyTorch, 12.5 allocated by PyTorch "
        "(Tesla T4)"
    )
    assert at(table, "kaggle", "Accuracy (%), measured").endswith("n 120, validation (Tesla T4)")
    absent = "n/a (no run of this preset with EfficientNetV2_S_CA)"
    assert at(table, "basic", "Minutes of training, measured") == absent
    assert at(table, "scratch", "Minutes of training, documented") == "n/a (not stated)"


def test_a_presets_run_with_other_options_is_not_compared(make_record, on_gpu):
    table = presets_table(Selection([preset_run(make_record, on_gpu, epochs=2, dropout=0.5)]))
    cell = at(table, "kaggle", "Minutes of training, measured")
    assert cell == "n/a (the run changed the preset's --epochs, --dropout)"


def test_a_presets_run_of_another_variant_is_not_compared(make_record, on_gpu):
    record = preset_run(make_record, on_gpu)
    record["variant"]["name"] = "ResNet18"
    cell = at(presets_table(Selection([record])), "kaggle", "Minutes of training, measured")
    assert cell.startswith("n/a (no run of this preset")


def test_presets_runs_that_failed_or_are_invalid(make_record, make_failed, monkeypatch):
    from bench.report.claims import expected

    presets = expected.load_presets()
    del presets["smoke"].expected["minutes_of"]
    monkeypatch.setattr(expected, "load_presets", lambda: presets)
    failed = make_failed("EfficientNetV2_S_CA", "RuntimeError", "x")
    cell = at(presets_table(Selection([failed])), "smoke", "Minutes of training, measured")
    assert cell == "n/a (run failed: RuntimeError: x)"
    invalid = make_record()
    invalid["training"]["images_per_s"] = 0
    cell = at(presets_table(Selection([invalid])), "smoke", "Minutes of training, measured")
    assert cell.startswith("invalid (")
    untimed = make_record()
    untimed["training"]["seconds"] = None
    cell = at(presets_table(Selection([untimed])), "smoke", "Minutes of training, measured")
    assert cell == "n/a (training time not recorded)"


def test_a_preset_documented_by_sweep_counts_the_whole_sweep(make_record, monkeypatch):
    from bench.report.claims import expected

    presets = expected.load_presets()
    presets["smoke"].expected["minutes_of"] = "sweep"
    monkeypatch.setattr(expected, "load_presets", lambda: presets)
    records = [make_record(minute=10), make_record("ResNet18", minute=13)]
    cell = at(presets_table(Selection(records)), "smoke", "Minutes of training, measured")
    # 3.7 minutes of training after a session of 11 seconds, which both records carry.
    assert cell == f"3.9 for the sweep's 2 runs with timing ({CPU}, 2 threads)"
    for record in records:
        record["session"] = None
    cell = at(presets_table(Selection(records)), "smoke", "Minutes of training, measured")
    assert cell == f"3.7 for the sweep's 2 runs ({CPU}, 2 threads)"


# --- parameters ------------------------------------------------------------------------------


def test_parameter_tables_show_documented_program_and_used_values(make_record):
    selection = Selection([make_record(), make_record("ResNet18", epochs=7)])
    tables = {table.id: table for table in parameter_tables(selection, load_claims())}
    training = tables["parameters-training"]
    assert training.rows[0][:5] == ["--epochs", "15", "15", "15-25", "5 (preset); 7 (preset)"]
    assert at(training, "--base-lr", "Default, program") == "3e-5"
    assert at(training, "--base-lr", "Used in these runs") == "1e-3 (preset)"
    assert at(tables["parameters-model"], "--pretrained", "Default, program") == "off"
    assert at(tables["parameters-model"], "--reduction", "Default, program") == "none"


def test_every_option_but_paths_is_in_one_parameter_table(make_record):
    tables = parameter_tables(Selection([make_record()]), load_claims())
    shown = [row[0] for table in tables for row in table.rows]
    assert len(shown) == len(set(shown))
    paths = {"weights", "data_dir", "results_dir", "reports_dir"}
    assert len(shown) == len([field for field in options() if field.name not in paths])
    assert "--data-dir" not in shown


def test_an_option_that_no_record_has(make_record):
    assert used(uses_of([{"config": {}}]), "epochs") == "n/a (not recorded)"


def test_versions_are_each_named_once_and_the_platform_last():
    runs = [
        {"environment": {"torch": torch, "numpy": "2.4", "platform": platform}}
        for torch, platform in (("2.14", "Linux"), ("2.13", "Linux"), ("2.14", "Darwin"))
    ]
    assert _versions([*runs, {}]) == "torch 2.14 / 2.13, numpy 2.4, Linux, Darwin"
    assert _versions([{}]) == _versions([]) == "not recorded"


def test_a_layout_that_only_a_hostile_record_has():
    assert "1 classes, ['a']" in data_note([{"data": {"layout": ["a"], "classes": ["x"]}}])


def test_values_that_are_equal_are_told_apart_by_their_types():
    runs = [
        {"config": {"a": value}, "config_sources": {"a": source}}
        for value, source in ((1, "flag"), (True, "flag"), (1.0, "preset"), (1, "flag"))
    ]
    assert used(uses_of(runs), "a") == "1 (flag, preset); on (flag)"
    # Only a hostile record has such.
    odd = uses_of([{"config": {"a": [1, {}]}, "config_sources": {"a": [None]}}])
    assert used(odd, "a") == "[1, {}] ([None])"


@pytest.mark.parametrize(
    ("value", "text"), [(3e-05, "3e-5"), (0.0125, "0.0125"), (True, "on"), (64, "64"), (0.2, "0.2")]
)
def test_option_values_are_written_as_typed(value, text):
    assert written(value) == text


# --- overview, header, failures --------------------------------------------------------------


def test_overview_has_a_row_for_every_run(sweep, make_record, make_failed):
    failed = make_failed("ResNet18", "RuntimeError", "out of memory")
    records = [*sweep, make_record(seed=1), failed]
    size, speed = overview_tables(Selection(records))
    assert len(size.rows) == len(speed.rows) == 12
    assert size.rows[0][:6] == [
        "EfficientNetV2_S_CA", "0", "complete", "20,346,578", "yes", "21,614,768",
    ]  # fmt: skip
    assert at(size, "MobileNetV3_Small", "GMACs at the run's size") == "0.00477 at 64"
    assert (
        at(speed, "MobileNetV3_Small", "CPU images/s at the run's size")
        == "2,530 (1 round) at 64 (2 threads)"
    )
    assert size.rows[10][1] == "1"
    last = size.rows[11]
    assert last[2] == "failed (RuntimeError: out of memory)"
    assert last[3] == "11,181,642"
    assert last[-1] == "n/a (run failed)"
    assert set(speed.rows[11][3:]) == {"n/a (run failed)"}


def test_overview_of_an_invalid_run_holds_no_numbers(make_record):
    record = make_record()
    record["counts"]["parameters_declared"] = 1
    size, speed = overview_tables(Selection([record]))
    assert size.rows[0][2] == "invalid (20,346,578 parameters, declared 1)"
    assert set(size.rows[0][3:]) | set(speed.rows[0][3:]) == {"invalid"}
    headers, rows = size.raw
    raw = dict(zip(headers, rows[0], strict=True))
    assert raw["state"].startswith("invalid: ")
    assert raw["parameters"] is None
    assert raw["cpu_images_per_s_224"] is None


def test_overview_csv_is_unrounded(make_record):
    headers, rows = overview_tables(Selection([make_record("ResNet18")]))[0].raw
    raw = dict(zip(headers, rows[0], strict=True))
    assert raw["gmacs_run_size_fvcore"] == pytest.approx(1.8186 * (64 / 224) ** 2, rel=1e-12)
    assert raw["gmacs_224_flop_counter"] == pytest.approx(1.8186 * 0.99)
    assert raw["cpu_images_per_s_224"] == 68.0
    assert raw["valid_images"] == raw["judged_images"] == 120
    assert raw["judged_part"] == "validation"


def test_overview_cells_of_a_thin_record(make_record):
    record = make_record(counts={}, validation=None, metrics={})
    record["training"] |= {"best_epoch": None, "peak_memory_mb": None}
    size, speed = overview_tables(Selection([record]))
    assert at(size, "EfficientNetV2_S_CA", "As declared") == "n/a (not counted)"
    assert at(size, "EfficientNetV2_S_CA", "Best epoch") == "n/a (not recorded)"
    assert at(speed, "EfficientNetV2_S_CA", "Peak memory of training (MB)").startswith("n/a")
    record["counts"] = {"parameters": 5}
    size = overview_tables(Selection([record]))[0]
    assert at(size, "EfficientNetV2_S_CA", "As declared") == "n/a (none declared)"


def test_overview_shows_the_judged_part_and_keeps_both_in_the_csv(make_record, make_tested):
    table = overview_tables(Selection([make_tested(make_record(), 22, 23)]))[0]
    cell = at(table, "EfficientNetV2_S_CA", "Accuracy (%), 95 % interval")
    assert cell == "95.7 [79.0–99.2], n 23, test"
    # Image 22, of class 2, was taken for class 3: F1 of both is 4/5, of the others 1.
    cell = at(table, "EfficientNetV2_S_CA", "Macro-F1, 95 % interval")
    assert cell.startswith("0.960 [0.")
    assert cell.endswith("–1.000]")
    raw = dict(zip(table.raw[0], table.raw[1][0], strict=True))
    assert (raw["judged_part"], raw["judged_images"], raw["valid_images"]) == ("test", 23, 120)
    assert raw["judged_accuracy"] == pytest.approx(22 / 23)


def test_overview_shows_seed_and_fold(make_record):
    plain, folded = make_record(seed=3), make_record("ResNet18")
    folded["data"]["fold"] = {"number": 2, "of": 5}
    table = overview_tables(Selection([plain, folded]))[0]
    assert at(table, "EfficientNetV2_S_CA", "Seed and fold") == "3"
    assert at(table, "ResNet18", "Seed and fold") == "0, fold 2 of 5"
    assert "Seed and fold" not in overview_tables(Selection([plain]))[0].headers


def test_overview_marks_what_disturbed_the_timings(make_record):
    record = make_record()
    record["timing"][0]["marks"] = record["timing"][1]["marks"] = ["4,000 page faults a step"]
    record["environment"] |= {"load_before": 0.14, "load_after": 0.10}
    speed = overview_tables(Selection([record, make_record("ResNet18")]))[1]
    marks = at(speed, "EfficientNetV2_S_CA", "Marks")
    assert marks == ("4,000 page faults a step; other programs used 14 % of the machine before it")
    assert at(speed, "ResNet18", "Marks") == "none"


def test_runs_of_several_machines_data_and_sizes_are_told_apart(make_record):
    other = make_record("ResNet18")
    other["environment"] |= {"machine": "ffff0000", "cpu_model": "Xeon", "device_name": "Xeon"}
    other["data"]["fingerprint"] = "beef"
    other["config"]["image_size"] = 224
    for table in overview_tables(Selection([make_record(), other])):
        assert table.headers[2:5] == ["Machine", "Data", "Image size"]
        assert [row[2:5] for row in table.rows] == [["M1", "D1", "64"], ["M2", "D2", "224"]]
        assert "M2: machine ffff0000 (Xeon)" in table.caption
        assert "D2: data beef" in table.caption
    assert "Machine" not in overview_tables(Selection([make_record()]))[0].headers
    assert "Machine M2:** ffff0000, CPU Xeon" in header(Selection([make_record(), other]))


def test_early_stopping_is_shown(make_record):
    record = make_record()
    record["training"] |= {"best_epoch": 3, "stopped_early": True}
    cell = at(overview_tables(Selection([record]))[0], "EfficientNetV2_S_CA", "Best epoch")
    assert cell == "3 of 5, stopped early"


def test_header_says_what_was_run(make_record, make_failed):
    record = make_record()
    record["environment"]["git_dirty"] = True
    record["data"]["unreadable"] = ["a.jpg", "b.jpg"]
    text = header(Selection([record, make_failed("ResNet18", "E", "x", minute=50)]))
    for part in (
        "20261124-161503-a1b2",
        "1 complete, 1 failed",
        "python -m bench run --variants all --preset smoke",
        f"{CPU}, 2 cores, 2 threads",
        f"**Machine:** 1a2b3c4d, CPU {CPU}, 2 cores, affinity 0, 1, 2 threads, OMP_NUM_THREADS "
        "unset, governor unreadable, 25.3 GB memory, 24.8 GB available at the start, load by "
        "other programs 1 % before and 2 % after the runs",
        "torch 2.14.1",
        "layout class-folders, 10 classes, images used: 120 train, 120 valid, 120 test; 2 unread",
        "1 seed (0)",
        "with uncommitted changes",
        "2026-11-24T16:15:03+00:00 to 2026-11-24T16:50:44+00:00",
    ):
        assert part in text


def test_header_of_a_gpu_run_names_gpu_and_host(make_record, on_gpu):
    text = header(Selection([on_gpu(make_record(), "NVIDIA H100")]))
    assert f"NVIDIA H100, host CPU {CPU}" in text


def test_header_has_the_gpu_as_its_driver_tells_it(make_record, on_gpu):
    record = on_gpu(make_record(), "Tesla T4")
    record["environment"]["gpu"] = {
        "name": "Tesla T4", "driver": "570.86", "memory_mb": 16106.1, "sm_clock_mhz": 1215,
        "max_sm_clock_mhz": 1590, "temperature_c": 71, "throttle_reasons": ["software power cap"],
        "other_processes": 0, "power_limit_w": None,
    }  # fmt: skip
    assert (
        "**GPU:** Tesla T4, driver 570.86, 16,106 MB, SM clock 1215 of 1590 MHz, 71 °C, throttle "
        "reasons: software power cap, 0 other processes, power limit n/a W"
    ) in header(Selection([record]))
    record["environment"]["gpu"] |= {"throttle_reasons": None, "memory_mb": None}
    assert "n/a MB" in header(Selection([record]))
    assert "throttle reasons: not told" in header(Selection([record]))
    record["environment"]["gpu"]["throttle_reasons"] = []
    assert "throttle reasons: none" in header(Selection([record]))


def test_header_has_every_command(make_record):
    other = make_record(minute=40)
    other["sweep"] = {"id": "second"}
    other["environment"]["command"] = "python -m bench time"
    text = header(Selection([make_record(), other]))
    assert "**Commands:**" in text
    assert "--preset smoke\npython -m bench time" in text


def test_header_of_nothing():
    text = header(Selection([]))
    assert "0 complete, 0 failed" in text
    assert "not recorded" in text


def test_class_counts_for_each_different_data(make_record):
    other = make_record("ResNet18", classes=["a", "b"], per_class=4)
    other["data"]["fingerprint"] = "ffff"
    tables = class_tables(Selection([make_record(), make_record("ResNet18"), other]))
    assert [table.id for table in tables] == ["data", "data-2"]
    assert tables[1].rows == [
        ["a", "4", "4", "4"],
        ["b", "4", "4", "4"],
        ["all classes", "8", "8", "8"],
    ]


def test_failures_have_their_whole_message(make_failed):
    record = make_failed("ResNet18", "RuntimeError", "y" * 300)
    rows = failures_table(Selection([record])).rows
    assert rows == [["ResNet18", "0", "RuntimeError: " + "y" * 300]]
    assert failures_table(Selection([])).rows == []


def test_equal_warnings_share_a_row(make_record):
    records = [make_record(warnings=["w"]), make_record("ResNet18", warnings=["w", "other"])]
    assert warnings_table(Selection(records)).rows == [
        ["other", "1", "ResNet18"],
        ["w", "2", "EfficientNetV2_S_CA, ResNet18"],
    ]
