"""Losses and kernels of training programs in a transformers model.

For the "loss" of a case of trace_step.py: {"name": NAME, "chunks": N}. The loss itself is the installed program's; the
few lines around it are here, in the order, and with the lifetimes of variables, of the program's own training loop.
`ids` serve as labels; where the program's data set shifts them, nothing is left to do here.

  torchtune-chunked   torchtune 0.6: recipes/full_finetune_single_device.py, CEWithChunkedOutputLoss (8 chunks)
  torchtune-linear    torchtune 0.7 (its main branch): the same recipe, LinearCrossEntropyLoss (8 chunks)
  torchtitan          torchtitan 0.3: CrossEntropyLoss
  torchtitan-chunked  the same: ChunkedLossWrapper (8 chunks)
  litgpt-full         litgpt 0.5: finetune/full.py, chunked_cross_entropy of all logits
  litgpt-chunked      the same: finetune/lora.py, the head in chunks of 128 tokens
                      In both Fabric's wrapper (lightning/fabric/wrappers.py) turns what the model returns to fp32.
  liger               Liger-Kernel 0.8: the patched forward of the model, LigerFusedLinearCrossEntropy; mode cpu
  unsloth             unsloth_zoo 2026.10: unsloth_fused_ce_loss as unsloth's LlamaForCausalLM calls it, on the hidden
                      states of transformers' own model; mode cpu. It takes the way it takes on a GPU of compute
                      capability 8 with memory to spare: Triton's kernels are left out like Liger's, and products that
                      PyTorch has for CUDA alone give tensors of their shapes.

For the "kernels" of a case: "liger" patches norms, rotary embedding and MLPs as transformers' Trainer does with
use_liger_kernel; mode cpu. Liger's Triton kernels, which take their buffers from the caller and allocate none, do not
run: the numbers are garbage, the tensors are Liger's own.
"""
import importlib
import importlib.metadata
import importlib.util
import sys
import types

import torch


def torchtune_chunked(library, model, inputs, ids, chunks):
    ignored = torch.full((len(ids), 1), -100, device=ids.device)
    loss_fn = library.CEWithChunkedOutputLoss(num_output_chunks=chunks)

    def decoder():
        hidden = model.model(**inputs)[0]
        return [model.lm_head(chunk) for chunk in hidden.chunk(chunks, dim=1)]
    logits = decoder()
    labels = torch.hstack((ids[..., 1:], ignored))
    loss = loss_fn(logits, labels)
    del logits
    return loss, None


def torchtune_linear(library, model, inputs, ids, chunks):
    loss_fn = library.LinearCrossEntropyLoss(num_output_chunks=chunks)
    loss_fn.linear_projection = model.lm_head
    outputs = model.model(**inputs)[0]
    return loss_fn(outputs, ids), None


def torchtitan(library, model, inputs, ids, chunks):
    loss_fn = library.CrossEntropyLoss(library.CrossEntropyLoss.Config())
    tokens = torch.full((), ids.numel(), dtype=torch.int64, device=ids.device)

    def decoder():
        return model.lm_head(model.model(**inputs)[0])
    pred = decoder()
    loss, _ = loss_fn(pred, ids, tokens)
    del pred
    return loss, None


def torchtitan_chunked(library, model, inputs, ids, chunks):
    wrapper = library.ChunkedLossWrapper
    loss_fn = wrapper(wrapper.Config(num_chunks=chunks))
    loss_fn.set_lm_head(model.lm_head)
    tokens = torch.full((), ids.numel(), dtype=torch.int64, device=ids.device)
    pred = model.model(**inputs)[0]
    loss, _ = loss_fn(pred, ids, tokens)
    del pred
    return loss, None


def fabric_forward(module):
    from lightning.fabric.plugins.precision.half import HalfPrecision
    output = module()
    output = HalfPrecision("bf16-true").convert_output(output)
    return output


def litgpt_full(library, model, inputs, ids, chunks):
    def gpt():
        return model.lm_head(model.model(**inputs)[0])
    logits = fabric_forward(gpt)
    return library.chunked_cross_entropy(logits[..., :-1, :], ids[..., 1:]), logits


def litgpt_chunked(library, model, inputs, ids, chunks):
    def gpt():
        hidden = model.model(**inputs)[0]
        return [model.lm_head(part) for part in hidden.split(128, dim=1)]
    logits = fabric_forward(gpt)
    logits[-1] = logits[-1][..., :-1, :]
    return library.chunked_cross_entropy(logits, ids[..., 1:]), logits


def unsloth(library, model, inputs, ids, chunks):
    outputs = model.model(**inputs)
    hidden_states = outputs[0]
    loss = library.unsloth_fused_ce_loss(
        trainer=None, hidden_states=hidden_states, lm_head_weight=model.lm_head.weight, lm_head_bias=None, labels=ids,
        logit_softcapping=0, logit_scale_multiply=0, logit_scale_divide=0)
    return loss, None


def load_unsloth():
    """unsloth_zoo's losses without the package's own start, which wants an accelerator and patches transformers."""
    package = importlib.util.find_spec("unsloth_zoo")
    for name, contents in (
            ("", dict(__path__=package.submodule_search_locations)),
            (".device_type", dict(DEVICE_TYPE="cuda")),
            (".tiled_mlp", dict(_default_target_gb=lambda device: 64.0)),  # half of what is free
            (".temporary_patches", {}),
            (".temporary_patches.common", dict(
                UNSLOTH_ENABLE_LOGGING=False, UNSLOTH_COMPILE_DISABLE=False, torch_compile_options={}, logger=None,
                CHUNK_ALIGN_ROWS=0, chunk_row_bounds=None))):
        module = sys.modules["unsloth_zoo" + name] = types.ModuleType("unsloth_zoo" + name)
        vars(module).update(contents)
    library = importlib.import_module("unsloth_zoo.fused_losses.cross_entropy_loss")
    fused = importlib.import_module("unsloth_zoo.fused_losses.fused_linear")
    skip_triton()
    fused._use_triton = fused._flash_ce_ok = fused._fp32_out_ok = lambda *args: True
    fused._logits_mode = lambda device, dtype: (dtype in fused._HALF, False)
    fused._launch = lambda device, kernel: kernel()

    def on_cuda(body):
        def run(*args):
            torch.Tensor.is_cuda = property(lambda tensor: True)
            try:
                return body(*args)
            finally:
                del torch.Tensor.is_cuda
        return run
    BODIES["unsloth_zoo.fused_linear_ce_v2.default"] = on_cuda(fused._OPS["ce_impl"])
    BODIES["unsloth_zoo.fused_linear_scale_rows.default"] = on_cuda(fused._OPS["scale_rows_impl"])
    STAND_INS["aten.mm.dtype"] = lambda a, b, dtype: a.new_empty(a.shape[0], b.shape[1], dtype=dtype)
    for name in ("aten.mm.dtype_out", "aten.addmm.dtype_out"):
        STAND_INS[name] = lambda *args, out: out
    return library


# What a loss brings along: operators that are programs of others, by their bodies, and operators without a CPU kernel.
BODIES, STAND_INS = {}, {}


def skip_triton():
    from triton.runtime.jit import JITFunction
    JITFunction.run = lambda *args, **kwargs: None


def patch_with_liger(model, **what):
    import liger_kernel.transformers.monkey_patch as liger
    skip_triton()
    options = dict(rope=False, cross_entropy=False, fused_linear_cross_entropy=False, rms_norm=False)
    patch = liger.MODEL_TYPE_TO_APPLY_LIGER_FN[model.config.model_type]
    mlp = "geglu" if "geglu" in patch.__code__.co_varnames else "swiglu"
    patch(model=model, **{**options, mlp: what.pop("mlp", False), **what})


def patch_kernels(model, name):
    assert name == "liger", name
    patch_with_liger(model, rope=True, rms_norm=True, mlp=True)


# name: (package, module of its loss or what loads it, the function above)
LOSSES = {
    "torchtune-chunked": ("torchtune", "torchtune.modules.loss", torchtune_chunked),
    "torchtune-linear": ("torchtune", "torchtune.modules.loss.cross_entropy_loss", torchtune_linear),
    "torchtitan": ("torchtitan", "torchtitan.components.loss", torchtitan),
    "torchtitan-chunked": ("torchtitan", "torchtitan.components.loss", torchtitan_chunked),
    "litgpt-full": ("litgpt", "litgpt.utils", litgpt_full),
    "litgpt-chunked": ("litgpt", "litgpt.utils", litgpt_chunked),
    "liger": ("liger_kernel", "liger_kernel.transformers", None),
    "unsloth": ("unsloth_zoo", load_unsloth, unsloth),
}


def load(plan):
    """(package, its version, what install() needs): imports everything, for tensors are not counted yet."""
    package, module, compute = LOSSES[plan["name"]]
    library = module() if callable(module) else importlib.import_module(module)
    return package, importlib.metadata.version(package), (library, compute, plan.get("chunks", 8))


def install(model, loaded):
    """Replaces the forward of `model`, a decoder with a language model's head, by the program's."""
    library, compute, chunks = loaded
    if compute is None:
        return patch_with_liger(model, fused_linear_cross_entropy=True)

    def forward(input_ids, attention_mask=None, labels=None, **_):
        loss, logits = compute(library, model, dict(input_ids=input_ids, attention_mask=attention_mask), labels, chunks)
        return types.SimpleNamespace(loss=loss, logits=logits)
    model.forward = forward
