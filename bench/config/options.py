"""Every option once: type, default, bounds and help.

The command line, the presets, the records and the report read them from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs import validators

from bench.config.fields import PARSERS, Bytes, Seconds, option
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
# Options that change no result: a sweep may go on elsewhere, in another folder, until later.
MOVABLE = (
    "data_dir", "device", "devices", "executor", "address", "slurm", "gather", "timing_on",
    "num_workers",
    "pin_memory", "cache", "cache_limit", "hours",
    "save_history", "tracker", "results_dir", "reports_dir",
)  # fmt: skip
# Options of earlier versions → what is used instead.
REMOVED = {"channels_last": "memory_format"}
_AT_LEAST_1 = validators.ge(1)
_RATE = validators.and_(validators.gt(0), validators.le(10))
_FRACTION = validators.and_(validators.gt(0), validators.lt(1))


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
    progressive: bool = option(
        bool,
        False,
        "progressive learning (EfficientNetV2, section 4): images, augmentation and dropout grow "
        "in four stages up to the recipe's; validation is at full size throughout",
        section="training",
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
        choices=("auto", *AMP_DTYPES),
    )
    memory_format: str = option(
        str,
        "auto",
        "memory format of all models in training and timing: auto is channels-last on a CPU and on "
        "CUDA",
        section="training",
        choices=("auto", "channels-last", "contiguous"),
    )
    tune: str = option(
        str,
        "off",
        "auto: measure on this machine, once for a sweep, in which memory format each variant "
        "trains fastest and whether compiling it pays for itself; results then depend on that "
        "measurement; off: one memory format for all, not compiled",
        section="training",
        choices=("auto", "off"),
    )
    seed: int = option(
        int,
        0,
        "seed of split, weights, order and augmentation",
        section="training",
        check=validators.and_(validators.ge(0), validators.lt(2**31)),
    )
    seeds: int = option(
        int,
        1,
        "train each variant this often, with --seed and the numbers after it: the same seeds and "
        "splits for all",
        section="training",
        check=validators.and_(_AT_LEAST_1, validators.le(100)),
    )

    hours: float | None = option(
        float,
        None,
        "stop between epochs before so many hours are over (--resume goes on); none: no limit",
        section="output",
        check=validators.and_(validators.gt(0), validators.le(1000)),
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
    folds: int | None = option(
        int,
        None,
        "cross-validate: each fold is the test part once (stratified, copies kept together)",
        section="data",
        check=validators.and_(validators.ge(2), validators.le(20)),
    )
    dedup: str = option(
        str,
        "none",
        "group: copies of an image (exact and near duplicates) stay in one part",
        section="data",
        choices=("none", "group"),
    )
    synthetic_images: int = option(
        int,
        1000,
        "size of the built-in synthetic set, when that is used",
        section="data",
        check=validators.and_(validators.ge(60), validators.le(100_000)),
    )
    num_workers: int | None = option(
        int,
        None,
        "processes that prepare batches beside the training; none: as many as a short measurement "
        "says, at most 4 and no more than the cores (their number changes no result)",
        section="data",
        check=validators.and_(validators.ge(0), validators.le(256)),
    )
    pin_memory: bool = option(
        bool,
        False,
        "accepted for the guide's sake: batches for a GPU are always page-locked",
        section="data",
    )
    cache: bool = option(
        bool,
        True,
        "keep decoded images between epochs, variants and sweeps (--no-cache: decode each time)",
        section="data",
    )
    cache_limit: float = option(
        Bytes,
        20e9,
        "most that decoded images and features may take on disk (500MB, 20GB); the least recently "
        "used go first",
        section="data",
        check=validators.gt(0),
    )

    # measuring
    device: str = option(
        str, "auto", "where to train", section="measuring", choices=("auto", "cpu", "cuda")
    )
    devices: int | None = option(
        int,
        None,
        "train on so many devices at once, a process for each; none: all GPUs, or the one CPU "
        "(more than 1 on a CPU: its threads are divided)",
        section="measuring",
        check=validators.and_(_AT_LEAST_1, validators.le(64)),
    )
    executor: str = option(
        str,
        "local",
        "who trains: local (this process, or one for each of --devices), ray (tasks of Ray: on "
        "this machine, or a cluster's), slurm (jobs of SLURM), slurm-local (the same jobs as "
        "processes here)",
        section="measuring",
        choices=("local", "ray", "slurm", "slurm-local"),
    )
    address: str | None = option(
        str,
        None,
        "of the Ray cluster: host:6379, ray://host:10001 or auto; none: RAY_ADDRESS, else Ray on "
        "this machine",
        section="measuring",
    )
    timing_on: str | None = option(
        str,
        None,
        "with --executor ray: time on a machine of this class, alone on it, when all is trained: "
        "an accelerator as Ray calls it (A10G), or a resource that a machine was started with; "
        "none: on this machine",
        section="measuring",
    )
    slurm: str | None = option(
        str,
        None,
        "parameters of SLURM jobs as submitit names them, comma-separated: partition=gpu,"
        "timeout_min=600",
        section="measuring",
    )
    threads: int | None = option(
        int,
        None,
        "CPU threads of PyTorch; none: one per core that the process may use",
        section="measuring",
        check=validators.and_(validators.ge(1), validators.le(1024)),
    )
    timing: bool = option(
        bool,
        True,
        "time all variants before training (--no-timing: counts only)",
        section="measuring",
    )
    rounds: int = option(
        int,
        10,
        "rounds of timing; in each, every variant is timed in one fresh process "
        "(below 6 no interval and no 'faster' is given)",
        section="measuring",
        check=validators.and_(_AT_LEAST_1, validators.le(1000)),
    )
    time_budget: float | None = option(
        Seconds,
        None,
        "most time that timing may take for all variants together (90s, 10m, 1h): fewer rounds "
        "are planned where it needs that; none: as long as the rounds take",
        section="measuring",
        check=validators.and_(validators.ge(1), validators.le(7 * 86_400)),
    )
    clocks: str = option(
        str,
        ",".join(CLOCKS),
        "what is inside the clock, comma-separated: model (alone), copy (model and copy to the "
        "GPU), pipeline (decode, transforms, copy, model), train (a training step)",
        section="measuring",
    )
    modes: str = option(
        str,
        "eager",
        "how models are run while timing inference, comma-separated: eager, channels-last or "
        "contiguous (the memory format that eager does not have), folded (batch norm folded into "
        "convolutions), compiled (torch.compile), onnxruntime, onnxruntime-int8 (statically "
        "quantised), openvino",
        section="measuring",
    )
    timing_batch: int = option(
        int,
        16,
        "images per step of throughput timing (latency is always timed at 1)",
        section="measuring",
        check=validators.and_(validators.ge(2), validators.le(4096)),
    )
    timing_amp: str = option(
        str,
        "off",
        "mixed precision while timing on CUDA, the same for all variants",
        section="measuring",
        choices=("off", "on", "both"),
    )

    # output
    save_history: bool = option(
        bool, False, "also write history.json, the training curves", section="output"
    )
    tracker: str = option(
        str,
        "none",
        "also tell TensorBoard (events in each run's folder) or MLflow (mlflow.db in "
        "--results-dir, or the server that MLFLOW_TRACKING_URI names) of every run",
        section="output",
        choices=("none", "tensorboard", "mlflow"),
    )
    gather: str | None = option(
        str,
        None,
        "also copy every run there as it ends: a URL that fsspec knows (s3://bucket/folder); "
        "workers that do not see --results-dir also keep there what a lost run goes on from",
        section="output",
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
            asked = getattr(self, name)
            if not _names(asked, known) or set(_names(asked, known)) - set(known):
                raise ValueError(
                    f"'{name}' takes {', '.join(known)}, comma-separated, not {asked!r}"
                )

    @property
    def clock_names(self) -> tuple[str, ...]:
        """The clocks to time with, in the order of :data:`CLOCKS` where they are known."""
        return _names(self.clocks, CLOCKS)

    @property
    def mode_names(self) -> tuple[str, ...]:
        """The modes of inference to time, in the order of :data:`MODES` where they are known."""
        return _names(self.modes, MODES)

    @property
    def schedule_epochs(self) -> int:
        """T_max of the cosine schedule, in epochs."""
        return self.scheduler_tmax or self.epochs

    def memory_format_on(self, device: str) -> str:
        """``channels_last`` or ``contiguous``: by the kind of device alone, unless it is given.

        A measurement would decide results: in another format the same seed gives other weights.

        Args:
            device: ``cpu``, ``cuda`` or ``mps``.
        """
        if self.memory_format != "auto":
            return self.memory_format.replace("-", "_")
        return "contiguous" if device == "mps" else "channels_last"

    def as_record(self) -> dict[str, Any]:
        """The values as JSON types, for run.json."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in attrs.asdict(self, recurse=False).items()
        }


def _names(text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Comma-separated names: the known ones in their own order, then what is not known."""
    asked = [name.strip() for name in text.split(",") if name.strip()]
    ordered = [name for name in known if name in asked]
    return (*ordered, *(name for name in asked if name not in known))


def options() -> tuple[Any, ...]:
    """The declared options (attrs attributes with ``name``, ``default`` and ``metadata``)."""
    return attrs.fields(RunConfig)


def config_default(name: str) -> Any:
    """The default of an option, as records have it."""
    value = getattr(attrs.fields(RunConfig), name).default
    return str(value) if isinstance(value, Path) else value


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
