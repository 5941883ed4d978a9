"""make_ready against an untouched UNet; resolve against what a pretended machine has."""

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from torch.nn.attention import SDPBackend, _cur_sdpa_kernel_backends
from torch.nn.functional import scaled_dot_product_attention

from hiper import execution
from hiper.execution import Execution, ExecutionError, graphed, has_fast_bf16, make_ready, resolve


@pytest.fixture
def machine(monkeypatch):
    """Pretends that a machine has a GPU of some compute capability, CPU instructions, or xformers."""

    def pretend(gpu=None, cpu=(), xformers=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: gpu)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(cpu, True))
        monkeypatch.setattr(execution, "has_xformers", lambda: xformers)

    return pretend


AUTO = Execution("auto", "auto", "auto")


@pytest.mark.parametrize(
    ("has", "latent_size", "device", "dtype", "attention"),
    [
        ({}, 64, "cpu", "fp32", "sdpa"),
        ({"cpu": ["avx512_f"]}, 16, "cpu", "fp32", "sdpa"),
        ({"cpu": ["avx512_bf16"]}, 16, "cpu", "bf16", "plain"),
        ({"cpu": ["amx_bf16"]}, 64, "cpu", "bf16", "sdpa"),
        ({"cpu": ["amx_bf16"], "xformers": True}, 16, "cpu", "bf16", "plain"),
        ({"gpu": (7, 5)}, 64, "cuda", "fp16", "sdpa"),
        ({"gpu": (9, 0)}, 64, "cuda", "bf16", "sdpa"),
        ({"gpu": (9, 0), "xformers": True}, 64, "cuda", "bf16", "sdpa"),
        ({"gpu": (9, 0)}, 16, "cuda", "bf16", "sdpa"),
    ],
)
def test_auto_is_what_the_machine_does_best(machine, has, latent_size, device, dtype, attention):
    machine(**has)
    assert resolve(AUTO, latent_size) == Execution(device, dtype, attention)


@pytest.mark.parametrize(
    ("has", "wish", "message"),
    [
        ({}, {"device": "cuda"}, "device cuda was asked for but torch .* finds no GPU; use --device auto"),
        ({"gpu": (9, 0)}, {"device": "cuda:1"}, "device cuda:1 was asked for but torch .* finds 1 GPU"),
        ({}, {"device": "gpu"}, "device 'gpu' is unknown; use cpu, cuda or cuda:0"),
        ({}, {"device": "mps"}, "device 'mps' is unknown; use cpu, cuda or cuda:0"),
        ({}, {"device": "meta"}, "device 'meta' is unknown; use cpu, cuda or cuda:0"),
        ({}, {"dtype": "bf16"}, "bf16 was asked for but cpu has no bf16 instructions; use --dtype fp32"),
        ({"gpu": (7, 5)}, {"device": "cuda", "dtype": "bf16"}, "bf16 was asked for but cuda has no bf16"),
        ({}, {"dtype": "fp16"}, "fp16 needs a GPU but the device is cpu; use --dtype fp32 or bf16"),
        ({}, {"attention": "xformers"}, r"not installed; run: pip install 'hiper\[xformers\]'"),
        ({"gpu": (9, 0)}, {"device": "cuda", "attention": "xformers"}, r"run: pip install 'hiper\[xformers\]'"),
        ({"xformers": True}, {"attention": "xformers"}, "xformers needs an NVIDIA GPU .* use --attention sdpa"),
        ({}, {"attention": "cudnn"}, "cudnn needs an NVIDIA GPU but the device is cpu; use --attention sdpa"),
        (
            {"gpu": (9, 0)},
            {"device": "cuda", "attention": "cudnn"},
            "cudnn attention needs bf16 or fp16 but the dtype is fp32; use --attention sdpa",
        ),
        (
            {"gpu": (7, 5)},
            {"device": "cuda", "dtype": "auto", "attention": "cudnn"},
            "cudnn attention needs compute capability 8.0 but cuda has 7.5; use --attention sdpa",
        ),
        ({}, {"cuda_graph": True}, "a CUDA graph needs an NVIDIA GPU but the device is cpu"),
    ],
)
def test_what_is_asked_for_and_missing_is_an_error(machine, has, wish, message):
    machine(**has)
    with pytest.raises(ExecutionError, match=message):
        resolve(Execution(**wish))


def test_unknown_choices_name_the_known_ones():
    with pytest.raises(ValueError, match="dtype is 'fp8' but must be one of auto, fp32, bf16, fp16"):
        Execution(dtype="fp8")
    with pytest.raises(ValueError, match="attention is 'flash' but must be one of auto, xformers, sdpa, cudnn, plain"):
        Execution(attention="flash")


def test_this_machine_agrees_with_its_kernel_about_bf16():
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        pytest.skip("only Linux lists the instructions of a processor in a file")
    flags = cpuinfo.read_text()
    assert has_fast_bf16("cpu") == ("amx_bf16" in flags or "avx512_bf16" in flags)


def predict(unet, latents, prompt_embedding):
    with torch.no_grad():
        timesteps = torch.tensor([7, 930])
        return unet(latents, timesteps, encoder_hidden_states=prompt_embedding.expand(2, -1, -1)).sample


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "plain"])
def test_attention_and_layout_do_not_change_the_prediction(fit_inputs, attention, channels_last):
    unet = copy.deepcopy(fit_inputs.unet)
    made = make_ready(unet, Execution(attention=attention, channels_last=channels_last))
    assert made == Execution("cpu", "fp32", attention, channels_last)
    ours = predict(unet, *fit_inputs[1:3])
    torch.testing.assert_close(ours, predict(fit_inputs.unet, *fit_inputs[1:3]), rtol=0, atol=1e-5)
    wanted = {"sdpa": AttnProcessor2_0, "plain": AttnProcessor}[attention]
    assert {type(processor) for processor in unet.attn_processors.values()} == {wanted}
    assert unet.conv_in.weight.is_contiguous(
        memory_format=torch.channels_last if channels_last else torch.contiguous_format
    )


def test_attention_can_be_chosen_again(fit_inputs):
    for attention in ("plain", "sdpa", "plain"):
        assert make_ready(fit_inputs.unet, Execution(attention=attention)).attention == attention
    assert {type(processor) for processor in fit_inputs.unet.attn_processors.values()} == {AttnProcessor}


def test_bf16_rounds_the_weights_once(fit_inputs, machine, caplog):
    machine(cpu=["avx512_bf16"])
    weight = fit_inputs.unet.conv_in.weight.detach().clone()
    made = make_ready(fit_inputs.unet, Execution(dtype="bf16"))
    assert torch.equal(fit_inputs.unet.conv_in.weight, weight.bfloat16())
    with made.autocast():
        assert predict(fit_inputs.unet, *fit_inputs[1:3]).dtype == torch.bfloat16
    assert not caplog.records


def test_xformers_is_really_switched_on(machine):
    machine(gpu=(9, 0), xformers=True)
    calls = []
    unet = SimpleNamespace(
        disable_xformers_memory_efficient_attention=lambda: calls.append("sdpa"),
        enable_xformers_memory_efficient_attention=lambda: calls.append("xformers"),
    )
    execution._set_attention(unet, resolve(Execution("cuda", attention="xformers")).attention)
    assert calls == ["sdpa", "xformers"]


def test_xformers_that_does_not_run_is_an_error(fit_inputs, monkeypatch):
    def fail():
        raise NotImplementedError("No operator found for `memory_efficient_attention_forward`\nwith inputs:\n")

    monkeypatch.setattr(fit_inputs.unet, "enable_xformers_memory_efficient_attention", fail)
    wanted = "xformers does not run here: No operator found for `memory_efficient_attention_forward`; use --attention"
    with pytest.raises(ExecutionError, match=wanted):
        execution._set_attention(fit_inputs.unet, "xformers")


def test_cudnn_is_asked_first_and_changes_nothing_else(fit_inputs, monkeypatch):
    orders = []

    def attention(*inputs, **options):
        orders.append(_cur_sdpa_kernel_backends(with_priority=True))
        return scaled_dot_product_attention(*inputs, **options)

    wanted = predict(fit_inputs.unet, *fit_inputs[1:3])
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attention)
    execution._set_attention(fit_inputs.unet, "cudnn")
    assert torch.equal(predict(fit_inputs.unet, *fit_inputs[1:3]), wanted)
    assert {tuple(order) for order in orders} == {(SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION)}
    assert make_ready(fit_inputs.unet, Execution(attention="plain")).attention == "plain"
    assert {type(processor) for processor in fit_inputs.unet.attn_processors.values()} == {AttnProcessor}


def test_a_recording_repeats_the_function_and_not_what_it_changed_meanwhile(graphs):
    count = torch.zeros(())

    def function(value):
        count.add_(1)
        return (value * 2 + count,)

    replay = graphed(function, torch.zeros(3), changed=[count])
    assert count == 0
    for calls in (1, 2):
        assert torch.equal(replay(torch.tensor([5.0, 6, 7]))[0], torch.tensor([10.0, 12, 14]) + calls)
    with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
        graphed(lambda value: (value * value.sum().item(),), torch.ones(3))


@pytest.mark.slow
def test_a_compiled_unet_predicts_the_same(fit_inputs):
    wanted = predict(fit_inputs.unet, *fit_inputs[1:3])
    make_ready(fit_inputs.unet, Execution(compile=True))
    torch.testing.assert_close(predict(fit_inputs.unet, *fit_inputs[1:3]), wanted, rtol=0, atol=1e-5)


@pytest.mark.gpu
def test_a_graph_gives_the_results_of_its_function():
    weight = torch.randn(4, 4, device="cuda", requires_grad=True)

    def loss_and_gradient(rows):
        loss = (rows @ weight).square().mean()
        return loss.detach(), *torch.autograd.grad(loss, weight)

    replay = graphed(loss_and_gradient, torch.zeros(3, 4, device="cuda"))
    for _ in range(3):
        rows = torch.randn(3, 4, device="cuda")
        for ours, wanted in zip(replay(rows), loss_and_gradient(rows), strict=True):
            torch.testing.assert_close(ours, wanted)
        with torch.no_grad():
            weight.add_(1)
