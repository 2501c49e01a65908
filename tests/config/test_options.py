from __future__ import annotations

from pathlib import Path

import pytest

from bench.config import options as config
from bench.config.options import RunConfig, build, flag_of, options
from bench.config.presets import load_presets, resolve
from bench.errors import BenchError


def test_defaults_are_the_guides() -> None:
    c = RunConfig()
    assert (c.epochs, c.batch_size, c.image_size, c.dropout) == (15, 64, 224, 0.2)
    assert (c.base_lr, c.head_lr, c.weight_decay) == (3e-5, 3e-4, 1e-2)
    assert (c.patience, c.seed) == (7, 0)
    assert c.num_workers is None  # what a measurement says, at most the guide's 4
    assert (c.pretrained, c.pin_memory, c.save_history) == (False, False, False)
    assert (c.train_limit, c.valid_limit, c.reduction) == (None, None, None)
    assert c.schedule_epochs == 15
    assert RunConfig(scheduler_tmax=30).schedule_epochs == 30
    assert (c.results_dir, c.reports_dir) == (Path("results"), Path("reports"))


def test_precedence_is_flag_environment_preset_default() -> None:
    environ = {"PADDY_BENCH_EPOCHS": "7", "PADDY_BENCH_BATCH_SIZE": "9"}
    found = resolve({"epochs": 3}, preset="kaggle", environ=environ)
    assert (found.config.epochs, found.sources["epochs"]) == (3, "flag")
    assert (found.config.batch_size, found.sources["batch_size"]) == (9, "environment")
    assert (found.config.patience, found.sources["patience"]) == (8, "preset")
    assert (found.config.amp, found.sources["amp"]) == ("auto", "default")
    assert found.preset == "kaggle"


@pytest.mark.parametrize(
    ("flags", "environ", "tmax", "schedule"),
    [
        ({}, {}, 30, 30),
        ({"epochs": 60}, {}, None, 60),
        ({"epochs": 10}, {}, None, 10),
        ({}, {"PADDY_BENCH_EPOCHS": "60"}, None, 60),
        ({"epochs": 30}, {}, 30, 30),
        ({"epochs": 60, "scheduler_tmax": 30}, {}, 30, 30),
        ({"epochs": 60}, {"PADDY_BENCH_SCHEDULER_TMAX": "40"}, 40, 40),
    ],
)
def test_a_presets_schedule_follows_epochs_given_by_hand(
    flags: dict, environ: dict, tmax: int | None, schedule: int
) -> None:
    found = resolve(flags, preset="max-accuracy", environ=environ)
    assert found.config.scheduler_tmax == tmax
    assert found.config.schedule_epochs == schedule
    epochs = found.config.epochs
    assert bool(found.warnings) == (schedule != epochs)


def test_a_schedule_that_is_not_the_epochs_is_told() -> None:
    (line,) = resolve({"epochs": 7, "scheduler_tmax": 3}, environ={}).warnings
    assert line.startswith("--scheduler-tmax 3 with --epochs 7: the learning rate reaches")
    assert "after epoch 3 of 7 and climbs again" in line
    (line,) = resolve({"epochs": 7, "scheduler_tmax": 9}, environ={}).warnings
    assert "training ends at epoch 7, before the learning rate" in line
    assert resolve({"epochs": 7, "scheduler_tmax": 7}, environ={}).warnings == []


@pytest.mark.parametrize(
    ("preset", "flags", "words"),
    [
        ("max-accuracy", {"pretrained": False}, "meant for pretrained weights"),
        ("max-accuracy", {"pretrained": False, "weights": Path("w")}, None),
        ("max-accuracy", {"pretrained": False, "base_lr": 1e-3}, None),
        ("scratch", {"pretrained": True}, "meant for random weights"),
        ("scratch", {}, None),
    ],
)
def test_a_presets_rates_for_other_initial_weights_are_told(
    preset: str, flags: dict, words: str | None
) -> None:
    lines = resolve(flags, preset=preset, environ={}).warnings
    assert len(lines) == (words is not None)
    assert words is None or words in lines[0]


def test_environment_values_are_parsed() -> None:
    environ = {"PADDY_BENCH_PRETRAINED": "yes", "PADDY_BENCH_TRAIN_LIMIT": "none"}
    environ |= {
        "PADDY_BENCH_HEAD_LR": "1e-3",
        "PADDY_BENCH_DATA_DIR": "x",
        "PADDY_BENCH_EPOCHS": "",
    }
    c = resolve({}, preset="quick", environ=environ).config
    assert (c.pretrained, c.train_limit, c.head_lr) == (True, None, 1e-3)
    assert (c.data_dir, c.epochs) == (Path("x"), 3)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"PADDY_BENCH_EPOCHS": "many"}, "PADDY_BENCH_EPOCHS must be a whole number, not 'many'"),
        ({"PADDY_BENCH_PRETRAINED": "maybe"}, "PADDY_BENCH_PRETRAINED must be yes or no"),
        ({"PADDY_BENCH_DROPOUT": "x"}, "must be a number"),
    ],
)
def test_environment_values_of_another_type(environ: dict[str, str], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        resolve({}, environ=environ)


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"epochs": 0}, "--epochs"),
        ({"batch_size": 1}, "--batch-size"),
        ({"base_lr": -1e-3}, "--base-lr"),
        ({"head_lr": 0.0}, "--head-lr"),
        ({"weight_decay": -0.1}, "--weight-decay"),
        ({"dropout": 1.0}, "--dropout"),
        ({"dropout": float("nan")}, "--dropout"),
        ({"image_size": 31}, "--image-size"),
        ({"image_size": 4096}, "--image-size"),
        ({"patience": 0}, "--patience"),
        ({"train_limit": 0}, "--train-limit"),
        ({"num_workers": -1}, "--num-workers"),
        ({"valid_fraction": 0.0}, "--valid-fraction"),
        ({"valid_fraction": 0.6, "test_fraction": 0.4}, "--valid-fraction and --test-fraction"),
        ({"device": "tpu"}, "--device"),
        ({"seed": -1}, "--seed"),
        ({"epochs": "3"}, "--epochs"),
        ({"time_budget": 0.0}, "--time-budget"),
        ({"rounds": 0}, "--rounds"),
        ({"clocks": "model,moon"}, "--clocks"),
        ({"clocks": ""}, "--clocks"),
        ({"timing_batch": 1}, "--timing-batch"),
        ({"seeds": 0}, "--seeds"),
        ({"seed": 2**31 - 1, "seeds": 2}, "--seed and --seeds"),
        ({"folds": 1}, "--folds"),
        ({"dedup": "some"}, "--dedup"),
    ],
)
def test_values_out_of_bounds_name_the_flag(values: dict, flag: str) -> None:
    with pytest.raises(BenchError) as caught:
        build({**{f.name: f.default for f in options()}, **values})
    assert flag in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_six_presets_are_valid_and_documented() -> None:
    presets = load_presets()
    assert set(presets) == {"smoke", "quick", "basic", "kaggle", "max-accuracy", "scratch"}
    for name, preset in presets.items():
        resolve({}, preset=name, environ={})
        assert preset.command.startswith("python ")
        assert preset.hardware
        assert preset.title
        assert preset.expected["source"]
    assert presets["kaggle"].expected["minutes"] == [25, 30]
    assert presets["kaggle"].expected["accuracy_percent"] == [94, 96]
    assert presets["smoke"].expected["minutes"]


@pytest.mark.parametrize("name", ["quick", "basic", "kaggle", "max-accuracy", "scratch"])
def test_a_presets_command_and_its_options_agree(name: str) -> None:
    """The script's command, parsed, gives the preset's options (reduction 32 is CA's own)."""
    import shlex

    from bench.cli.parsing import Parser, add_options, flags_of

    parser = Parser()
    add_options(parser)
    words = shlex.split(load_presets()[name].command)[2:]
    flags = flags_of(parser.parse_args(words))
    flags.pop("reduction", None)
    by_command = resolve(flags, environ={}).config
    assert by_command == resolve({}, preset=name, environ={}).config


def test_an_unknown_preset_suggests_a_near_one() -> None:
    with pytest.raises(BenchError, match=r"unknown preset 'kagle': did you mean 'kaggle'\?"):
        resolve({}, preset="kagle")


def test_every_option_has_help_and_reaches_the_record() -> None:
    record = RunConfig(weights=Path("w")).as_record()
    assert set(record) == {field.name for field in options()}
    assert record["weights"] == "w"
    assert record["results_dir"] == "results"
    assert all(field.metadata["help"] for field in options())
    assert flag_of("batch_size") == "--batch-size"
    assert {field.metadata["kind"] for field in options()} <= set(config.PARSERS)


def test_a_variable_of_a_removed_option_is_refused() -> None:
    with pytest.raises(BenchError, match=r"PADDY_BENCH_CHANNELS_LAST .*PADDY_BENCH_MEMORY_FORMAT"):
        resolve({}, environ={"PADDY_BENCH_CHANNELS_LAST": "no"})
    assert resolve({}, environ={"PADDY_BENCH_CHANNELS_LAST": ""}).config == RunConfig()
