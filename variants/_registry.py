"""The registry of variants: declare, look up by name, select by the grammar of ``--variants``."""

from __future__ import annotations

import difflib
import fnmatch
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Protocol

ENTRY_POINT_GROUP = "paddy_bench.variants"
BASELINES = "baselines"
MAIN = "main"
# Names that :func:`select` takes for several variants.
GROUPS = ("all", BASELINES)


class VariantError(Exception):
    """A variant, name or plugin that cannot be used, and the mend, in one line."""


class AttentionSpec(Protocol):
    """What stands in ``Variant.attention``: data until ``build`` is called.

    A spec may also have ``attention_map(block, x)``: the block's (B, C, H, W) input → (B, H, W) of
    what ``explain`` shows of it.
    """

    def build(self, channels: int) -> Any:
        """Return the ``torch.nn.Module``: (B, C, H, W) → (B, C, H, W)."""

    def parameters(self, channels: int) -> int:
        """Number of trainable weights, in closed form."""

    def describe(self) -> str:
        """Return a few words for tables."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A backbone with attention on its last feature map, as data.

    Attributes:
        name: name in ``results/``, unique without regard to case.
        backbone: name of the timm architecture.
        weights_tag: the pretrained weights with their tag, as timm names them.
        attention: attention specs in order; empty for a plain backbone.
        channels: C of the backbone's last feature map.
        parameters: declared count by number of classes (two entries: it is affine in them).
        baseline: the variant that the gain and cost of the attention are measured against.
        use_case: what it is meant for, in a few words.
        paper: sources of the formulas.
        version: raised whenever the arithmetic changes; records carry it.
        earlier: the attention of earlier versions that can still be built, by version.
        group: ``main`` (part of ``all``) or ``baselines``.
        build: for what does not fit backbone + attention: ``build(num_classes=…, dropout=…,
            reduction=…) -> torch.nn.Module``.
    """

    name: str
    backbone: str
    weights_tag: str = ""
    attention: tuple[AttentionSpec, ...] = ()
    channels: int | None = None
    parameters: Mapping[int, int] = field(default_factory=dict)
    baseline: str | None = None
    use_case: str = ""
    paper: str = ""
    version: int = 1
    earlier: Mapping[int, tuple[AttentionSpec, ...]] = field(default_factory=dict)
    group: str = MAIN
    build: Callable[..., Any] | None = None

    @property
    def key(self) -> str:
        """What :func:`get` finds this very version by, in another process too: ``Name@1``."""
        return f"{self.name}@{self.version}"

    def at_version(self, version: int) -> Variant:
        """Return the variant as it was in a version.

        Raises:
            VariantError: that version cannot be built here.
        """
        if version == self.version:
            return self
        if version not in self.earlier:
            versions = " and ".join(map(str, sorted({self.version, *self.earlier})))
            raise VariantError(
                f"version {version} of {self.name}, and version {versions} can be built here"
            )
        return replace(self, version=version, attention=self.earlier[version])

    def with_reduction(self, reduction: int | None) -> tuple[AttentionSpec, ...]:
        """Return the attention specs, those with a ``reduction`` set to the one asked for."""
        if reduction is None:
            return self.attention
        return tuple(
            replace(spec, reduction=reduction) if hasattr(spec, "reduction") else spec  # type: ignore[type-var]
            for spec in self.attention
        )

    def declared_parameters(self, num_classes: int, reduction: int | None = None) -> int | None:
        """Return the count that a built model must have, or None where none is declared."""
        if len(self.parameters) < 2:
            return self.parameters.get(num_classes) if reduction is None else None
        (k0, p0), (k1, p1) = sorted(self.parameters.items())[:2]
        per_class, rest = divmod(p1 - p0, k1 - k0)
        if rest:
            raise VariantError(f"{self.name}: declared parameters are not affine in the classes")
        count = p0 + per_class * (num_classes - k0)
        if reduction is not None and self.channels:
            for spec, reduced in zip(self.attention, self.with_reduction(reduction), strict=True):
                count += reduced.parameters(self.channels) - spec.parameters(self.channels)
        return count


_variants: dict[str, Variant] = {}
_modules: dict[str, str] = {}
_loaded = False


def register(variant: Variant) -> Variant:
    """Add a variant; it then appears in ``list``, ``run`` and ``report``.

    Raises:
        VariantError: the name is taken (both modules are named) or unusable as a folder name.
    """
    module = sys._getframe(1).f_globals.get("__name__", "?")
    key = variant.name.lower()
    if not variant.name.replace("_", "").replace("-", "").isalnum() or not variant.name.isascii():
        raise VariantError(
            f"variant name {variant.name!r} (from {module}) must be made of ASCII letters, "
            "digits, - and _"
        )
    if key in GROUPS:
        raise VariantError(f"variant name {variant.name!r} (from {module}) is a group's name")
    if key in _variants:
        raise VariantError(
            f"variant {variant.name!r} is registered twice: by {_modules[key]} and by {module}; "
            "rename one of them"
        )
    _variants[key] = variant
    _modules[key] = module
    return variant


def get(name: str) -> Variant:
    """The variant of that name, without regard to case; of a version where ``name@version`` asks.

    Raises:
        VariantError: unknown; near names are suggested and all are listed. What follows ``@`` is no
            number. Or as :meth:`Variant.at_version`.
    """
    load()
    name, at, version = name.partition("@")
    variant = _variants.get(name.lower())
    if variant is not None:
        if at and not (version.isascii() and version.isdecimal()):
            raise VariantError(
                f"version {version!r} of {variant.name}: give its number, as in {variant.key}"
            )
        return variant.at_version(int(version)) if at else variant
    near = difflib.get_close_matches(name.lower(), _variants, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(_variants[key].name for key in near)}? " if near else ""
    raise VariantError(f"unknown variant {name!r}: {hint}known are {', '.join(names())}")


def module_of(variant: Variant) -> str:
    """Return the module that registered it."""
    return _modules.get(variant.name.lower(), "?")


def names() -> list[str]:
    """Return all registered names, in order of registration."""
    load()
    return [variant.name for variant in _variants.values()]


def select(patterns: Iterable[str]) -> list[Variant]:
    """Return variants by names, globs and the groups ``all`` and ``baselines``.

    A pattern may hold several, separated by commas. ``all`` is every variant that is no baseline,
    plugins included. Each variant comes once, in the order first asked for.

    Raises:
        VariantError: a name or pattern that nothing matches, one name in two versions, or nothing
            asked for.
    """
    load()
    chosen: dict[str, Variant] = {}
    for pattern in (part.strip() for text in patterns for part in text.split(",")):
        if not pattern:
            continue
        lowered = pattern.lower()
        if lowered in GROUPS:
            is_baseline = lowered == BASELINES
            matches = [v for v in _variants.values() if (v.group == BASELINES) == is_baseline]
        elif any(char in pattern for char in "*?["):
            matches = [v for key, v in _variants.items() if fnmatch.fnmatchcase(key, lowered)]
            if not matches:
                raise VariantError(
                    f"no variant matches {pattern!r}: known are {', '.join(names())}"
                )
        else:
            matches = [get(pattern)]
        for variant in matches:
            first = chosen.setdefault(variant.name, variant)
            if first.version != variant.version:
                raise VariantError(
                    f"{first.key} and {variant.key} are asked for, and their records would be "
                    "told apart by nothing but the version: run one after the other"
                )
    if not chosen:
        raise VariantError("no variant is asked for: name some, or use --variants all")
    return list(chosen.values())


# --- what comes from outside -----------------------------------------------------------------


def load() -> None:
    """Import the built-in declarations and the installed packages' entry points, once."""
    global _loaded
    if _loaded:
        return
    _loaded = True
    for module in ("efficientnetv2_s", "efficientnet_lite0", "resnet18", "mobilenetv3_small"):
        import_module(f"variants.{module}")
    for entry in sorted(metadata.entry_points(group=ENTRY_POINT_GROUP)):
        _guarded(
            f"the installed package behind entry point {entry.name!r}",
            entry.load,
            "repair or uninstall it",
        )


def load_plugin(path: Path) -> None:
    """Run a Python file that registers variants. Its code runs with your rights.

    Raises:
        VariantError: no such file, it fails to import, or it registers a taken name.
    """
    load()
    if not path.is_file():
        raise VariantError(f"plugin {path} is not a file: give the path of a Python file")
    name = f"paddy_bench_plugin_{path.stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and Path(loaded.__file__ or "").resolve() == path.resolve():
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise VariantError(f"plugin {path} is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    before = set(_variants)
    try:
        _guarded(f"plugin {path}", partial(spec.loader.exec_module, module), "repair the file")
    except VariantError:
        sys.modules.pop(name, None)
        for key in set(_variants) - before:
            del _variants[key], _modules[key]
        raise
    if set(_variants) == before:
        sys.modules.pop(name, None)
        raise VariantError(f"plugin {path} registers no variant: call variants.register in it")


def _guarded(what: str, run: Callable[[], Any], mend: str) -> None:
    try:
        run()
    except VariantError as error:
        raise VariantError(f"{what}: {error}") from error
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())
        raise VariantError(
            f"{what} fails to import: {type(error).__name__}: {text}: {mend}"
        ) from error
