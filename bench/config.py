"""Every option once: type, default, bounds and help.

The command line, the presets, the records and the report read them from here.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import attrs
from attrs import validators

from bench.errors import BenchError

ENVIRONMENT_PREFIX = "PADDY_BENCH_"
SOURCES = ("flag", "environment", "preset", "default")


# --- how an option is declared ---------------------------------------------------------------


def _parse_bool(text: str) -> bool:
    values = {"1": True, "true": True, "yes": True, "on": True}
    values |= {"0": False, "false": False, "no": False, "off": False}
    if text.strip().lower() not in values:
        raise ValueError("yes or no")
    return values[text.strip().lower()]


PARSERS: dict[type, tuple[Callable[[str], Any], str]] = {
    bool: (_parse_bool, "yes or no"),
    int: (int, "a whole number"),
    float: (float, "a number"),
    str: (str, "a text"),
    Path: (lambda text: Path(text).expanduser(), "a path"),
}


def option(
    kind: type,
    default: Any,
    help: str,
    *,
    section: str,
    check: Any = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare one option of :class:`RunConfig`; ``default=None`` makes the value optional."""
    rules = [check] if check is not None else []
    if choices:
        rules.append(validators.in_(choices))
    validator: Any = validators.and_(validators.instance_of(kind), *rules)
    if kind is float:
        validator = validators.and_(validators.instance_of((int, float)), _finite, *rules)
    if default is None:
        validator = validators.optional(validator)
    return attrs.field(
        default=default,
        validator=validator,
        metadata={
            "kind": kind,
            "help": help,
            "section": section,
            "choices": choices,
            "optional": default is None,
        },
    )


def _finite(_: Any, attribute: Any, value: float) -> None:
    if not -1e308 < value < 1e308:
        raise ValueError(f"'{attribute.name}' must be a finite number: {value}")


_AT_LEAST_1 = validators.ge(1)
_RATE = validators.and_(validators.gt(0), validators.le(10))
_FRACTION = validators.and_(validators.gt(0), validators.lt(1))


# --- the options -----------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class RunConfig:
    """Everything that one training and its measurements are asked for.

    Raises:
        ValueError, TypeError: a value out of its bounds (attrs names the option first).
    """

    # model
    pretrained: bool = option(
        bool, False, "start from timm's pretrained weights of the backbone", section="model"
    )
    weights: Path | None = option(
        Path,
        None,
        "local pretrained weights: a .pth or .safetensors file, or a folder with one file per "
        "backbone; used instead of a download",
        section="model",
    )
    reduction: int | None = option(
        int,
        None,
        "reduction ratio of Coordinate Attention; none: the variant's own",
        section="model",
        check=_AT_LEAST_1,
    )
    dropout: float = option(
        float,
        0.2,
        "dropout probability before the classifier",
        section="model",
        check=validators.and_(validators.ge(0), validators.lt(1)),
    )
    freeze_backbone: bool = option(
        bool,
        False,
        "train attention and classifier only, backbone frozen in eval mode (linear probe)",
        section="model",
    )

    # training
    epochs: int = option(int, 15, "most epochs to train", section="training", check=_AT_LEAST_1)
    batch_size: int = option(
        int,
        64,
        "images per training step (at least 2: BatchNorm cannot train on one)",
        section="training",
        check=validators.ge(2),
    )
    base_lr: float = option(
        float, 3e-5, "learning rate of the backbone", section="training", check=_RATE
    )
    head_lr: float = option(
        float, 3e-4, "learning rate of the classifier", section="training", check=_RATE
    )
    attention_lr: str = option(
        str,
        "head",
        "which rate trains the attention block: it starts from random weights, like the head",
        section="training",
        choices=("head", "base"),
    )
    weight_decay: float = option(
        float,
        1e-2,
        "AdamW weight decay (none on biases and norm weights outside the classifier)",
        section="training",
        check=validators.and_(validators.ge(0), validators.le(1)),
    )
    scheduler_tmax: int | None = option(
        int,
        None,
        "period of the cosine schedule in epochs; none: the epochs",
        section="training",
        check=_AT_LEAST_1,
    )
    patience: int = option(
        int,
        7,
        "epochs without a better validation macro-F1 before stopping early",
        section="training",
        check=_AT_LEAST_1,
    )
    class_weights: str = option(
        str,
        "none",
        "weigh the loss against class imbalance",
        section="training",
        choices=("none", "balanced"),
    )
    amp: str = option(
        str,
        "auto",
        "mixed precision: auto is fp16 or bf16 on CUDA and off on a CPU",
        section="training",
        choices=("auto", "off", "fp16", "bf16"),
    )
    seed: int = option(
        int,
        0,
        "seed of split, weights, order and augmentation",
        section="training",
        check=validators.and_(validators.ge(0), validators.lt(2**31)),
    )

    # data
    data_dir: Path | None = option(
        Path,
        None,
        "folder of labelled images; none: ./data or Kaggle's input when they are there, "
        "else the built-in synthetic set",
        section="data",
    )
    image_size: int = option(
        int,
        224,
        "images are padded to a square and resized to this many pixels a side",
        section="data",
        check=validators.and_(validators.ge(32), validators.le(1024)),
    )
    train_limit: int | None = option(
        int, None, "train on a stratified subset of this many", section="data", check=_AT_LEAST_1
    )
    valid_limit: int | None = option(
        int, None, "validate on a stratified subset of this many", section="data", check=_AT_LEAST_1
    )
    valid_fraction: float = option(
        float,
        0.15,
        "share held out for validation where the data has no split of its own",
        section="data",
        check=_FRACTION,
    )
    test_fraction: float = option(
        float,
        0.1,
        "share held out as test part where the data has no split of its own; 0: none",
        section="data",
        check=validators.and_(validators.ge(0), validators.lt(1)),
    )
    synthetic_images: int = option(
        int,
        1000,
        "size of the built-in synthetic set, when that is used",
        section="data",
        check=validators.and_(validators.ge(60), validators.le(100_000)),
    )
    num_workers: int = option(
        int,
        4,
        "processes that prepare batches beside the training",
        section="data",
        check=validators.and_(validators.ge(0), validators.le(256)),
    )
    pin_memory: bool = option(
        bool, False, "page-locked batches for faster copies to a GPU", section="data"
    )

    # measuring
    device: str = option(
        str, "auto", "where to train", section="measuring", choices=("auto", "cpu", "cuda")
    )
    threads: int | None = option(
        int,
        None,
        "CPU threads of PyTorch; none: one per core that the process may use",
        section="measuring",
        check=validators.and_(validators.ge(1), validators.le(1024)),
    )
    timing: bool = option(
        bool, True, "time inference after training (--no-timing: counts only)", section="measuring"
    )
    time_budget: float = option(
        float,
        30.0,
        "seconds that timing may take for each variant, device and image size; the guide's "
        "protocol (20 warm-up and 100 timed steps of batch 16) ends early when they are over",
        section="measuring",
        check=validators.and_(validators.ge(0.5), validators.le(86_400)),
    )

    # output
    save_history: bool = option(
        bool, False, "also write history.json, the training curves", section="output"
    )
    results_dir: Path = option(
        Path, Path("results"), "where the records of runs go", section="output"
    )
    reports_dir: Path = option(Path, Path("reports"), "where reports go", section="output")

    def __attrs_post_init__(self) -> None:
        if self.valid_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"'valid_fraction' and 'test_fraction' leave nothing to train on: "
                f"{self.valid_fraction} + {self.test_fraction}"
            )

    @property
    def schedule_epochs(self) -> int:
        """T_max of the cosine schedule, in epochs."""
        return self.scheduler_tmax or self.epochs

    def as_record(self) -> dict[str, Any]:
        """The values as JSON types, for run.json."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in attrs.asdict(self, recurse=False).items()
        }


def options() -> tuple[Any, ...]:
    """The declared options (attrs attributes with ``name``, ``default`` and ``metadata``)."""
    return attrs.fields(RunConfig)


def flag_of(name: str) -> str:
    """The command-line flag of an option: ``batch_size`` → ``--batch-size``."""
    return "--" + name.replace("_", "-")


def parse_value(name: str, text: str, where: str) -> Any:
    """Read an option's value from text; ``none`` unsets an optional one.

    Raises:
        BenchError: the text does not fit the option's type.
    """
    meta = getattr(attrs.fields(RunConfig), name).metadata
    if meta["optional"] and text.strip().lower() == "none":
        return None
    parse, expected = PARSERS[meta["kind"]]
    try:
        return parse(text)
    except ValueError as error:
        raise BenchError(f"{where} must be {expected}, not {text!r}") from error


# --- presets ---------------------------------------------------------------------------------


@attrs.frozen
class Preset:
    """A named set of option values, with the documents that belong to it."""

    name: str
    title: str
    command: str
    hardware: str
    options: Mapping[str, Any]
    expected: Mapping[str, Any]


def load_presets() -> dict[str, Preset]:
    """All presets by name, their expected figures joined from the file of documented numbers."""
    texts = resources.files("bench")
    presets = tomllib.loads(texts.joinpath("presets.toml").read_text(encoding="utf8"))
    documented = tomllib.loads(texts.joinpath("report", "claims.toml").read_text(encoding="utf8"))
    return {
        name: Preset(
            name=name,
            title=entry["title"],
            command=entry["command"],
            hardware=entry["hardware"],
            options=entry["options"],
            expected=documented["presets"].get(name, {}),
        )
        for name, entry in presets.items()
    }


def get_preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        BenchError: there is none; near names are suggested and all are listed.
    """
    presets = load_presets()
    if name not in presets:
        near = difflib.get_close_matches(name, presets, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise BenchError(f"unknown preset {name!r}: {hint}presets are {', '.join(presets)}")
    return presets[name]


# --- precedence ------------------------------------------------------------------------------


@attrs.frozen
class Resolved:
    """A config, and for each option which of :data:`SOURCES` its value came from."""

    config: RunConfig
    sources: Mapping[str, str]
    preset: str | None


def resolve(
    flags: Mapping[str, Any],
    *,
    preset: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Resolved:
    """Combine flag > environment > preset > default.

    Args:
        flags: values given on the command line, by option name, already parsed.
        preset: name of a preset, or none.
        environ: variables named ``PADDY_BENCH_<OPTION>`` are read.

    Raises:
        BenchError: an unknown preset, or a value that is out of bounds or not of its type.
    """
    chosen = dict(get_preset(preset).options) if preset else {}
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for field in options():
        variable = ENVIRONMENT_PREFIX + field.name.upper()
        if field.name in flags:
            values[field.name], sources[field.name] = flags[field.name], "flag"
        elif environ.get(variable, "") != "":
            values[field.name] = parse_value(field.name, environ[variable], variable)
            sources[field.name] = "environment"
        elif field.name in chosen:
            values[field.name], sources[field.name] = chosen[field.name], "preset"
        else:
            values[field.name], sources[field.name] = field.default, "default"
    return Resolved(build(values), sources, preset)


def build(values: Mapping[str, Any]) -> RunConfig:
    """A checked config.

    Raises:
        BenchError: naming the flag and the bound that a value breaks.
    """
    try:
        return RunConfig(**values)
    except (ValueError, TypeError) as error:
        message = str(error.args[0])
        for field in options():
            message = message.replace(f"'{field.name}'", flag_of(field.name))
        raise BenchError(message.partition(" (got")[0]) from error
