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

For the "kernels" of a case: "liger" patches norms, rotary embedding and MLPs as transformers' Trainer does with
use_liger_kernel; mode cpu. Liger's Triton kernels, which take their buffers from the caller and allocate none, do not
run: the numbers are garbage, the tensors are Liger's own.
"""
import importlib
import importlib.metadata
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


# name: (package, module of its loss, the function above)
LOSSES = {
    "torchtune-chunked": ("torchtune", "torchtune.modules.loss", torchtune_chunked),
    "torchtune-linear": ("torchtune", "torchtune.modules.loss.cross_entropy_loss", torchtune_linear),
    "torchtitan": ("torchtitan", "torchtitan.components.loss", torchtitan),
    "torchtitan-chunked": ("torchtitan", "torchtitan.components.loss", torchtitan_chunked),
    "litgpt-full": ("litgpt", "litgpt.utils", litgpt_full),
    "litgpt-chunked": ("litgpt", "litgpt.utils", litgpt_chunked),
    "liger": ("liger_kernel", "liger_kernel.transformers", None),
}


def load(plan):
    """(package, its version, what install() needs): imports everything, for tensors are not counted yet."""
    package, module, compute = LOSSES[plan["name"]]
    return package, importlib.metadata.version(package), (importlib.import_module(module), compute, plan.get("chunks", 8))


def install(model, loaded):
    """Replaces the forward of `model`, a decoder with a language model's head, by the program's."""
    library, compute, chunks = loaded
    if compute is None:
        return patch_with_liger(model, fused_linear_cross_entropy=True)

    def forward(input_ids, attention_mask=None, labels=None, **_):
        loss, logits = compute(library, model, dict(input_ids=input_ids, attention_mask=attention_mask), labels, chunks)
        return types.SimpleNamespace(loss=loss, logits=logits)
    model.forward = forward
