"""Every option once: type, default, bounds and help.

The command line, the presets, the records and the report read them from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs import validators

from bench.config.fields import PARSERS, Bytes, Seconds, option, section, within
from bench.errors import BenchError

CLOCKS = ("model", "copy", "pipeline", "train")
MODES = (
    "eager", "channels-last", "contiguous", "folded", "compiled", "onnxruntime",
    "onnxruntime-int8", "openvino",
)  # fmt: skip
# What they compute is another model's, near to the one that was trained.
INEXACT_MODES = ("onnxruntime-int8",)
# Mixed precision, and how timings name what a model computes in with it.
AMP_DTYPES = {"off": "float32", "fp16": "float16 autocast", "bf16": "bfloat16 autocast"}
# Options of earlier versions → what is used instead.
REMOVED = {"channels_last": "memory_format"}
_AT_LEAST_1 = validators.ge(1)
_RATE = validators.and_(validators.gt(0), validators.le(10))
_FRACTION = validators.and_(validators.gt(0), validators.lt(1))


@attrs.frozen(
    kw_only=True, slots=False, field_transformer=section("model", compared=True, recipe=True)
)
class ModelConfig:
    """The model and where its weights come from."""

    pretrained: bool = option(False, "start from timm's pretrained weights of the backbone")
    weights: Path | None = option(
        None,
        "local pretrained weights: a .pth or .safetensors file, or a folder with one file per "
        "backbone; used instead of a download",
        kind=Path,
        compared=False,
        recipe=False,
    )
    reduction: int | None = option(
        None,
        "reduction ratio of Coordinate Attention; none: the variant's own",
        kind=int,
        check=_AT_LEAST_1,
        compared=False,
        recipe=False,
        timed=True,
    )
    dropout: float = option(
        0.2,
        "dropout probability before the classifier",
        check=validators.and_(validators.ge(0), validators.lt(1)),
    )
    freeze_backbone: bool = option(
        False,
        "train attention and classifier only, backbone frozen in eval mode (linear probe)",
        timed=True,
    )


@attrs.frozen(
    kw_only=True, slots=False, field_transformer=section("training", compared=True, recipe=True)
)
class TrainConfig:
    """The recipe of the training."""

    epochs: int = option(15, "most epochs to train", check=_AT_LEAST_1)
    batch_size: int = option(
        64,
        "images per training step (at least 2: BatchNorm cannot train on one)",
        check=validators.ge(2),
    )
    base_lr: float = option(3e-5, "learning rate of the backbone", check=_RATE)
    head_lr: float = option(3e-4, "learning rate of the classifier", check=_RATE)
    attention_lr: str = option(
        "head",
        "which rate trains the attention block: it starts from random weights, like the head",
        choices=("head", "base"),
        timed=True,
    )
    weight_decay: float = option(
        1e-2,
        "AdamW weight decay (none on biases and norm weights outside the classifier)",
        check=within(0, 1),
    )
    scheduler_tmax: int | None = option(
        None,
        "period of the cosine schedule in epochs; none: the epochs",
        kind=int,
        check=_AT_LEAST_1,
    )
    patience: int = option(
        7, "epochs without a better validation macro-F1 before stopping early", check=_AT_LEAST_1
    )
    progressive: bool = option(
        False,
        "progressive learning (EfficientNetV2, section 4): images, augmentation and dropout grow "
        "in four stages up to the recipe's; validation is at full size throughout",
    )
    class_weights: str = option(
        "none", "weigh the loss against class imbalance", choices=("none", "balanced")
    )
    amp: str = option(
        "auto",
        "mixed precision: auto is fp16 or bf16 on CUDA and off on a CPU",
        choices=("auto", *AMP_DTYPES),
    )
    memory_format: str = option(
        "auto",
        "memory format of all models in training and timing: auto is channels-last on a CPU and on "
        "CUDA",
        choices=("auto", "channels-last", "contiguous"),
        recipe=False,
        timed=True,
    )
    tune: str = option(
        "off",
        "auto: measure on this machine, once for a sweep, in which memory format each variant "
        "trains fastest and whether compiling it pays for itself; results then depend on that "
        "measurement; off: one memory format for all, not compiled",
        choices=("auto", "off"),
        recipe=False,
    )
    seed: int = option(
        0,
        "seed of split, weights, order and augmentation",
        check=validators.and_(validators.ge(0), validators.lt(2**31)),
        compared=False,
        recipe=False,
        timed=True,
    )
    seeds: int = option(
        1,
        "number of seeds per variant, starting at --seed: the same seeds and splits for all",
        check=within(1, 100),
        compared=False,
        recipe=False,
    )


@attrs.frozen(kw_only=True, slots=False, field_transformer=section("data", compared=True))
class DataConfig:
    """The images and their split."""

    data_dir: Path | None = option(
        None,
        "folder of labelled images; none: ./data or Kaggle's input when they are there, "
        "else the built-in synthetic set",
        kind=Path,
        movable=True,
        timed=True,
    )
    image_size: int = option(
        224,
        "images are padded to a square and resized to this many pixels a side",
        check=within(32, 1024),
        compared=False,
        recipe=True,
        timed=True,
    )
    train_limit: int | None = option(
        None, "train on a stratified subset of this many", kind=int, check=_AT_LEAST_1, recipe=True
    )
    valid_limit: int | None = option(
        None,
        "validate on a stratified subset of this many",
        kind=int,
        check=_AT_LEAST_1,
        recipe=True,
    )
    valid_fraction: float = option(
        0.15,
        "share held out for validation where the data has no split of its own",
        check=_FRACTION,
    )
    test_fraction: float = option(
        0.1,
        "share held out as test part where the data has no split of its own; 0: none",
        check=validators.and_(validators.ge(0), validators.lt(1)),
    )
    folds: int | None = option(
        None,
        "cross-validate: each fold is the test part once (stratified, copies kept together)",
        kind=int,
        check=within(2, 20),
    )
    dedup: str = option(
        "none",
        "group: copies of an image (exact and near duplicates) stay in one part",
        choices=("none", "group"),
    )
    synthetic_images: int = option(
        1000,
        "size of the built-in synthetic set, when that is used",
        check=within(60, 100_000),
        timed=True,
    )
    num_workers: int | None = option(
        None,
        "data-loader workers; none: chosen by a short benchmark, at most 4 and no more than the "
        "cores (their number changes no result)",
        kind=int,
        check=within(0, 256),
        movable=True,
    )
    pin_memory: bool = option(
        False,
        "accepted for the guide's sake: batches for a GPU are always page-locked",
        movable=True,
    )
    cache: bool = option(
        True,
        "keep decoded images between epochs, variants and sweeps (--no-cache: decode each time)",
        movable=True,
    )
    cache_limit: float = option(
        20e9,
        "most that decoded images and features may take on disk (500MB, 20GB); the least recently "
        "used go first",
        kind=Bytes,
        check=validators.gt(0),
        movable=True,
    )


@attrs.frozen(kw_only=True, slots=False, field_transformer=section("execution"))
class ExecutionConfig:
    """Where a sweep runs and for how long."""

    hours: float | None = option(
        None,
        "save the state and stop between epochs before so many hours are over (--resume "
        "continues); none: no limit",
        kind=float,
        check=validators.and_(validators.gt(0), validators.le(1000)),
        movable=True,
    )
    device: str = option(
        "auto", "where to train", choices=("auto", "cpu", "cuda"), movable=True, timed=True
    )
    devices: int | None = option(
        None,
        "train on so many devices at once, a process for each; none: all GPUs, or the one CPU "
        "(more than 1 on a CPU: its threads are divided)",
        kind=int,
        check=within(1, 64),
        movable=True,
    )
    executor: str = option(
        "local",
        "who trains: local (this process, or one for each of --devices), ray (tasks of Ray: on "
        "this machine, or a cluster's), slurm (jobs of SLURM), slurm-local (the same jobs as "
        "processes here)",
        choices=("local", "ray", "slurm", "slurm-local"),
        movable=True,
    )
    address: str | None = option(
        None,
        "of the Ray cluster: host:6379, ray://host:10001 or auto; none: RAY_ADDRESS, else Ray on "
        "this machine",
        kind=str,
        movable=True,
    )
    slurm: str | None = option(
        None,
        "parameters of SLURM jobs as submitit names them, comma-separated: partition=gpu,"
        "timeout_min=600",
        kind=str,
        movable=True,
    )
    threads: int | None = option(
        None,
        "CPU threads of PyTorch; none: one per core that the process may use",
        kind=int,
        check=within(1, 1024),
        timed=True,
    )


@attrs.frozen(kw_only=True, slots=False, field_transformer=section("timing"))
class TimingConfig:
    """What is timed and how."""

    timing_on: str | None = option(
        None,
        "with --executor ray: time on a machine of this class, alone on it, when all is trained: "
        "an accelerator as Ray calls it (A10G), or a resource that a machine was started with; "
        "none: on this machine",
        kind=str,
        movable=True,
    )
    timing: bool = option(True, "time all variants before training (--no-timing: counts only)")
    rounds: int = option(
        10,
        "rounds of timing; in each, every variant is timed in one fresh process "
        "(below 6 no interval and no 'faster' is given)",
        check=within(1, 1000),
        timed=True,
    )
    time_budget: float | None = option(
        None,
        "most time that timing may take for all variants together (90s, 10m, 1h): fewer rounds "
        "are planned where it needs that; none: as long as the rounds take",
        kind=Seconds,
        check=within(1, 7 * 86_400),
        timed=True,
    )
    clocks: str = option(
        ",".join(CLOCKS),
        "what is inside the clock, comma-separated: model (alone), copy (model and copy to the "
        "GPU), pipeline (decode, transforms, copy, model), train (a training step)",
        timed=True,
    )
    modes: str = option(
        "eager",
        "how models are run while timing inference, comma-separated: eager, channels-last or "
        "contiguous (the memory format that eager does not have), folded (batch norm folded into "
        "convolutions), compiled (torch.compile), onnxruntime, onnxruntime-int8 (statically "
        "quantised), openvino",
        timed=True,
    )
    timing_batch: int = option(
        16,
        "images per step of throughput timing (latency is always timed at 1)",
        check=within(2, 4096),
        timed=True,
    )
    timing_amp: str = option(
        "off",
        "mixed precision while timing on CUDA, the same for all variants",
        choices=("off", "on", "both"),
        timed=True,
    )


@attrs.frozen(kw_only=True, slots=False, field_transformer=section("output"))
class OutputConfig:
    """What is written where."""

    save_history: bool = option(False, "also write history.json, the training curves", movable=True)
    tracker: str = option(
        "none",
        "also tell TensorBoard (events in each run's folder) or MLflow (mlflow.db in "
        "--results-dir, or the server that MLFLOW_TRACKING_URI names) of every run",
        choices=("none", "tensorboard", "mlflow"),
        movable=True,
    )
    gather: str | None = option(
        None,
        "also copy every run there as it ends: a URL that fsspec knows (s3://bucket/folder); "
        "workers that do not see --results-dir also keep there what a lost run goes on from",
        kind=str,
        movable=True,
    )
    results_dir: Path = option(
        Path("results"), "where the records of runs go", kind=Path, movable=True, timed=True
    )
    reports_dir: Path = option(Path("reports"), "where reports go", kind=Path, movable=True)


GROUPS = (ModelConfig, TrainConfig, DataConfig, ExecutionConfig, TimingConfig, OutputConfig)


@attrs.frozen(kw_only=True, slots=False)
class RunConfig(ModelConfig, TrainConfig, DataConfig, ExecutionConfig, TimingConfig, OutputConfig):
    """All options of a training and its measurements.

    Raises:
        ValueError, TypeError: a value out of its bounds (attrs names the option first).
    """

    def __attrs_post_init__(self) -> None:
        if self.valid_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"'valid_fraction' and 'test_fraction' leave nothing to train on: "
                f"{self.valid_fraction} + {self.test_fraction}"
            )
        if self.progressive and self.freeze_backbone:
            raise ValueError(
                "'progressive' and 'freeze_backbone' exclude each other: a frozen backbone's "
                "features are those of one image size"
            )
        if self.address is not None and self.executor != "ray":
            raise ValueError("'address' is of a Ray cluster: it needs 'executor' to be ray")
        if self.timing_on is not None and self.executor != "ray":
            raise ValueError("'timing_on' is of a Ray cluster: it needs 'executor' to be ray")
        if self.slurm is not None and not self.executor.startswith("slurm"):
            raise ValueError("'slurm' has parameters of jobs: it needs 'executor' to be slurm")
        if self.seed + self.seeds > 2**31:
            raise ValueError(f"'seed' and 'seeds' pass the largest seed, {2**31 - 1}")
        for name, known in (("clocks", CLOCKS), ("modes", MODES)):
            value = getattr(self, name)
            if not _names(value, known) or set(_names(value, known)) - set(known):
                raise ValueError(
                    f"'{name}' takes {', '.join(known)}, comma-separated, not {value!r}"
                )

    @property
    def clock_names(self) -> tuple[str, ...]:
        """Return the clocks to time with, in the order of :data:`CLOCKS`."""
        return _names(self.clocks, CLOCKS)

    @property
    def mode_names(self) -> tuple[str, ...]:
        """Return the modes of inference to time, in the order of :data:`MODES`."""
        return _names(self.modes, MODES)

    @property
    def schedule_epochs(self) -> int:
        """Return T_max of the cosine schedule, in epochs."""
        return self.scheduler_tmax or self.epochs

    def memory_format_on(self, device: str) -> str:
        """Return ``channels_last`` or ``contiguous``, by the kind of device unless it is given.

        A measurement would decide results: in another format the same seed gives other weights.

        Args:
            device: ``cpu``, ``cuda`` or ``mps``.
        """
        if self.memory_format != "auto":
            return self.memory_format.replace("-", "_")
        return "contiguous" if device == "mps" else "channels_last"

    def as_record(self) -> dict[str, Any]:
        """Return the values as JSON types, for run.json."""
        return {
            field.name: str(value)
            if isinstance(value := getattr(self, field.name), Path)
            else value
            for field in options()
        }


def _names(text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Split comma-separated names: known ones in their own order, then the unknown ones."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    ordered = [name for name in known if name in names]
    return (*ordered, *(name for name in names if name not in known))


def options() -> tuple[Any, ...]:
    """Return the declared options (attrs attributes with ``name``, ``default``, ``metadata``)."""
    return tuple(field for group in GROUPS for field in attrs.fields(group))


def config_default(name: str) -> Any:
    """Return the default of an option as in records."""
    value = getattr(attrs.fields(RunConfig), name).default
    return str(value) if isinstance(value, Path) else value


def flag_of(name: str) -> str:
    """Return the flag of an option: ``batch_size`` → ``--batch-size``."""
    return "--" + name.replace("_", "-")


def parse_value(name: str, text: str, where: str) -> Any:
    """Parse an option's value; ``none`` unsets an optional one.

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


def build(values: Mapping[str, Any]) -> RunConfig:
    """Return a validated config.

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
