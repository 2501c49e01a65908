"""Counting, for all ten variants: two counters, the known answer, and BoTLinear's closed form."""

from __future__ import annotations

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import variants
from bench.models import complexity
from experiments.rows import Row, percent
from experiments.suite import Json, Record, Tables
from variants.blocks.bot_linear import BoTLinearBlock
from variants.model import build_model

PACKAGES = ("torch", "timm", "fvcore")
IMAGE_SIZE, CLASSES, TOLERANCE = 224, 10, 1e-3
PARAMETERS = {
    "image_size": IMAGE_SIZE,
    "classes": CLASSES,
    "tolerance": TOLERANCE,
    "gate_gmacs": list(complexity.RESNET18_GMACS),
}
QUICK: Json = {}


def measure(chosen: Record) -> Json:
    """Count every registered variant; a quick run ResNet18 and its hybrid only.

    BoTLinear's block is counted alone as well, on the feature map that its backbone hands it.
    """
    outcome = []
    for name in ["ResNet18", "ResNet18_Hybrid"] if chosen["quick"] else variants.names():
        model = build_model(variants.get(name), num_classes=CLASSES)
        macs = complexity.count_macs(model, IMAGE_SIZE)
        outcome.append({"variant": name, "macs": macs, "bot_linear": _bot_linear(model)})
    return {"outcome": outcome}


def closed_form(channels: int, positions: int, heads: int) -> int:
    """MACs of a BoTLinear block as its docstring derives them."""
    width = channels // 4
    projections = positions * channels * width + 3 * positions * width**2
    attention = 2 * positions * width**2 // heads
    return projections + attention + positions * width * channels


def _bot_linear(model: nn.Module) -> Json | None:
    """MACs of the model's BoTLinear block by both counters and by the formula, if it has one."""
    blocks = [module for module in model.modules() if isinstance(module, BoTLinearBlock)]
    if not blocks:
        return None
    (block,) = blocks
    maps: list[torch.Tensor] = []
    hook = block.register_forward_pre_hook(lambda _, inputs: maps.append(inputs[0]))
    model.eval()
    with torch.no_grad():
        model(torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE))
        hook.remove()
        with FlopCounterMode(display=False) as counter:
            block(maps[0])
        analysis = FlopCountAnalysis(block, maps[0])
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        by_operator = analysis.by_operator()
    _, channels, height, width = maps[0].shape
    return {
        "feature_map": [channels, height, width],
        "heads": block.attention.heads,
        "fvcore": int(
            sum(n for key, n in by_operator.items() if key in complexity.MATRIX_OPERATORS)
        ),
        "flop_counter": counter.get_total_flops() // 2,
        "closed_form": closed_form(channels, height * width, block.attention.heads),
    }


# --- the table -------------------------------------------------------------------------------


def _gap(macs: Record) -> float:
    ours, theirs = macs["gmacs_matrix"], macs["gmacs_flop_counter"]
    return abs(ours - theirs) / max(ours, theirs)


def rows(record: Record) -> list[Row]:
    """Both counters over all variants, the gate, and each block with its closed form."""
    outcome, (least, most) = record["outcome"], record["parameters"]["gate_gmacs"]
    worst = max(outcome, key=lambda case: _gap(case["macs"]))
    gap = _gap(worst["macs"])
    made = f"counted once at {IMAGE_SIZE} pixels, {CLASSES} classes; no randomness"
    result = [
        Row(
            f"Two counters agree in convolution and matrix work, {len(outcome)} variants",
            "within 0.1 %",
            f"largest gap {percent(gap, 4)} ({worst['variant']})",
            gap <= TOLERANCE,
            made,
        )
    ]
    for case in outcome:
        if case["variant"] == "ResNet18":
            gmacs = case["macs"]["gmacs"]
            result.append(
                Row(
                    "Known answer: plain ResNet18",
                    f"{least}–{most} GMACs",
                    f"{gmacs:.4f} GMACs",
                    least <= gmacs <= most,
                    made,
                )
            )
        if (block := case["bot_linear"]) is not None:
            counts = (block["fvcore"], block["flop_counter"], block["closed_form"])
            result.append(
                Row(
                    f"BoTLinear of {case['variant']}: MACs equal the closed form",
                    "exactly",
                    "fvcore {:,}, FlopCounterMode {:,}, formula {:,}".format(*counts),
                    len(set(counts)) == 1,
                    made,
                )
            )
    return result


def details(record: Record) -> Tables:
    """Each variant, with what only one counter counts."""
    cells = []
    for case in record["outcome"]:
        macs = case["macs"]
        remainder = [
            f"{name} {1e3 * n:.4g}" for name, n in macs["uncounted_flop_counter"].items() if n
        ]
        skipped = [f"{name} ×{calls}" for name, calls in sorted(macs["uncounted_fvcore"].items())]
        cells.append(
            [
                case["variant"],
                f"{macs['gmacs']:.4f}",
                f"{macs['gmacs_matrix']:.6f}",
                f"{macs['gmacs_flop_counter']:.6f}",
                percent(_gap(macs), 4),
                ", ".join(remainder) or "none",
                ", ".join(skipped) or "none",
            ]
        )
    header = [
        "variant",
        "GMACs (fvcore, all)",
        "fvcore, matrix work",
        "FlopCounterMode ÷ 2",
        "gap",
        "fvcore alone counts, 10⁶ MACs",
        "neither counts (calls)",
    ]
    caption = (
        f"GMACs of one image of {IMAGE_SIZE}×{IMAGE_SIZE} (one multiply-add counts as one), "
        f"{CLASSES} classes, float32, eval mode. The gap is that of the two middle columns, the "
        "next column the remainder of fvcore's total, operator by operator."
    )
    return [(caption, header, cells)]
