#!/usr/bin/env python3
"""Reference memory of one real PyTorch training step.

Runs a real model (HuggingFace transformers, optionally peft) through real
PyTorch autograd, optimizer and sharding code, and records every tensor storage
that is allocated and freed. Three modes:

  fake  every tensor is a FakeTensor: shapes, dtypes and lifetimes are PyTorch's
        own, no memory is used, and no GPU is needed. A world of any size runs
        as one rank on the `fake` process group. Not for DDP.
  cpu   the same with real tensors in host memory: for DDP, on small models.
  cuda  the same step on a real GPU. Adds torch.cuda's own statistics
        (allocated, active, reserved peaks) and the device memory in use
        outside the allocator.

What `fake` cannot see: the 512-byte rounding and segments of the CUDA caching
allocator, cuBLAS workspaces, CUDA context, NCCL buffers, and temporaries inside
one kernel. `cuda` sees all but the NCCL buffers of a fake process group.

usage: trace_step.py --mode fake|cpu|cuda [--history DIR] [--events] CASE.json [CASE.json ...] > results.jsonl

--history (cuda only) also writes DIR/ID.json.gz: every event of the caching allocator, as
[action, address, bytes, stream] in PyTorch's own words (alloc, free_requested, free_completed,
segment_alloc, segment_free, segment_map, segment_unmap, oom).

--events prints, in place of the result line, one line for each ATen operator of the last step (and of its last
micro-batch), in order: `phase operator live_bytes live_delta module outputs`, separated by blanks. live_bytes is what lives when
the operator returns, live_delta what that is more than on the line before, frees between the two included; module is
the innermost nn.Module whose forward is running (in backward: "-", or the module that checkpointing runs again), and
outputs the dtype and sizes of the tensors it returned. A case starts with the line `# ID mode` and each phase with
`phase start live_bytes 0`.

A case (defaults in DEFAULTS below):
  id         a name
  config     a HuggingFace config.json as an object ("model_type" is required); its "architectures" may name the
             class, else a decoder is trained as ...ForCausalLM, bert, roberta and deberta-v2 as ...ForMaskedLM, t5 as
             T5ForConditionalGeneration. Labels are the input ids themselves; t5's decoder therefore runs over `seq`
             tokens too. Sequence classifiers get one class a sample.
  mode       the mode this case must run in, over --mode
  batch,seq  micro-batch size and sequence length
  weights    dtype that parameters are stored in: "bfloat16", "float16", "float32"
  autocast   dtype of torch.autocast, or null
  attention  "sdpa" or "eager"
  checkpoint true for HuggingFace gradient checkpointing, not reentrant where transformers lets it be chosen
  dropout    false sets every *_dropout/pdrop of the config to 0
  padding_mask  true passes an attention mask with real padding
  keep_outputs  true if the loop keeps the model's outputs alive in backward
  optimizer  {"name": "adamw"|"adam"|"sgd"|"sgd_momentum"|"adafactor"|"lomo"|"adalomo"|null,
              "impl": "foreach"|"fused"|"forloop"}; lomo and adalomo are those of the package lomo-optim, which spend
              each gradient inside backward
  optimizer_in_backward  true for an optimizer a parameter, which steps as soon as the gradient is accumulated
  clip       true for clip_grad_norm_
  micro_batches  gradient accumulation steps
  program    the training program, where it is not transformers': see trace_programs.py, whose words "peft" then takes
  peft       null or arguments of peft.LoraConfig; with "method" another of peft.PeftType, arguments of its config
  quantization  {"kind": "nf4", "fp4" or "int8", "double_quant": bool, "prepare": bool, "compute": dtype, "storage": dtype}: linear layers
             but the head stored by bitsandbytes, "weights" being the dtype of the rest and, without "compute", of
             4-bit products and "storage" bnb_4bit_quant_storage; "prepare" also calls peft.prepare_model_for_kbit_training. Mode cpu. The scales count
             as parameters' bytes.
  loss       null, or {"name": NAME, "chunks": 8}: the loss of another program, on the model's hidden states
             (trace_losses.py)
  kernels    null, or "liger": Liger-Kernel's norms, rotary embedding and MLPs (the same file)
  trainable  {"kind": "bias"}: only the model's biases are trained; {"kind": "last_layers", "layers": N}: embeddings and
             all layers but the last N are frozen
  parallel   {"kind": "none"}
             {"kind": "ddp", "bucket_view": bool, "bucket_mb": 25}   modes cpu and cuda
             {"kind": "fsdp2", "world": N, "param_dtype": "bfloat16",
              "reduce_dtype": "float32", "reshard_after_forward": true}: fully_shard on each layer and on the model.
              "rank": this rank's number, 0 by default. "root_reshard_after_forward": the model's own, where it is not
              that of the layers; null is fully_shard's None. "wrap": "all_layers" also shards the layers of a second
              stack (T5's decoder). "sync": "last" reduces gradients with the last micro-batch alone
              (set_requires_gradient_sync). "replicate": N makes HSDP's mesh, N copies of world/N shards
             {"kind": "fsdp1", "world": N, "param_dtype": "bfloat16", "reduce_dtype": "float32",
              "strategy": "FULL_SHARD"}: FullyShardedDataParallel on each layer and on the model; "param_dtype" null is no
              mixed precision. "rank", "sync" (by no_sync) and "replicate" (of the hybrid strategies) as of fsdp2.
              "use_orig_params", "forward_prefetch": FSDP's own, false by default; "backward_prefetch": "pre", "post" or
              "none"; "wrap": "none" makes one unit of the model.
             {"kind": "tp", "world": N}   Llama-like models: Megatron-style plan
             {"kind": "fsdp2_tp", "world": N, "tp": T, ...}

Result, one JSON object a line; all figures are bytes:
  parameters, trainable  numbers of parameters (whole model, not the shard)
  peft, bitsandbytes, lomo_optim  their versions, where a case uses them; so too the package of its "loss"
  categories   live bytes at the end of the second step's forward:
               parameters, gradients, optimizer, buffers, activations
  peak         {phase: bytes} highest live bytes within forward, backward, step,
               of the last step (optimizer states exist by then) and, with
               gradient accumulation, of its last micro-batch (gradients exist)
  peak_at      for each phase, the operator that reached it
  peak512      the same, each storage rounded up to 512 bytes
  resizes_seen  true where FSDP2's frees of unsharded parameters, UntypedStorage.resize_(0), are counted; lines of
               fsdp2 without it count such a parameter from its first use on, for good
  phases       live bytes, without the batch, once model and optimizer are made ("initial") and between steps
               ("between"); the peaks of the first step ("first.forward", ...); that of a forward in eval() mode under
               no_grad after the last step ("evaluation")
  cuda         only in cuda mode: torch.cuda.memory_stats figures and
               outside_allocator (device memory used minus reserved);
               {"oom": true, ...} where the step ran out of memory
"""
import argparse
import contextlib
import gc
import gzip
import importlib.metadata
import inspect
import json
import os
import sys
import traceback
import weakref

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
import torch.distributed as dist
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
try:
    from torch.utils._pytree import tree_leaves
except ImportError:  # torch 2.0
    from torch.utils._pytree import tree_flatten
    def tree_leaves(tree):
        return tree_flatten(tree)[0]

import trace_losses
import trace_programs
import trace_torchtitan

DEFAULTS = dict(
    batch=1, seq=512, weights="bfloat16", autocast=None, attention="sdpa", checkpoint=False,
    dropout=True, padding_mask=False, keep_outputs=True, clip=False, micro_batches=1, peft=None,
    program=None,
    optimizer=dict(name="adamw", impl="foreach"), parallel=dict(kind="none"),
)

# The class a family is trained with, where it is not AutoModelForCausalLM.
HEADS = {"bert": "AutoModelForMaskedLM", "roberta": "AutoModelForMaskedLM", "deberta-v2": "AutoModelForMaskedLM",
         "t5": "AutoModelForSeq2SeqLM"}


def local(tensor):
    """The tensor that really holds this rank's bytes."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


class StorageLedger(TorchDispatchMode):
    """Counts the bytes of every live storage created while it is on."""

    def __init__(self):
        super().__init__()
        self.live = {}
        self.bytes = self.bytes512 = 0
        self.phase = "setup"
        self.peak, self.peak512, self.peak_at = {}, {}, {}
        self.events = None  # while a list: what --events prints
        self.paused = False
        self.modules = []   # names of the modules whose forward is running
        self.polled = torch.__version__.startswith("2.0.")
        self.in_body = False  # of an operator that is a program of another package

    def track(self, tensor):
        if not isinstance(tensor, torch.Tensor):
            return
        try:
            storage = local(tensor).untyped_storage()
        except (NotImplementedError, RuntimeError):
            return
        key = storage._cdata
        if key in self.live and (self.polled or self.live[key][1]() is storage):
            self._resize(key, storage)
            return
        n = storage.nbytes()
        self.live[key] = [n, (StorageWeakRef if self.polled else weakref.ref)(storage)]
        self._add(n)
        if not self.polled:
            weakref.finalize(storage, self._free, key)

    def poll(self):
        """Frees what is gone, where a storage's Python object goes before it (torch 2.0)."""
        for key in [key for key, (_, ref) in self.live.items() if ref.expired()]:
            self._free(key)

    def _add(self, n, sign=1):
        self.bytes += sign * n
        self.bytes512 += sign * (-(-n // 512) * 512)

    def _resize(self, key, storage):
        n = storage.nbytes()
        if n != self.live[key][0]:
            self._add(self.live[key][0], -1)
            self._add(n)
            self.live[key][0] = n

    def _free(self, key):
        entry = self.live.pop(key, None)
        if entry:
            self._add(entry[0], -1)

    def watch_resizes(self):
        """Sees UntypedStorage.resize_, which is no operator: FSDP2 frees and allocates unsharded parameters by it.

        Nor are the tensors real from which DTensor tells the shapes of an operator that it meets for the first time.
        """
        from torch.distributed.tensor._sharding_prop import ShardingPropagator
        propagate = ShardingPropagator._propagate_tensor_meta_non_cached

        def unwatched_propagate(*args, **kwargs):
            self.paused = True
            try:
                return propagate(*args, **kwargs)
            finally:
                self.paused = False
        ShardingPropagator._propagate_tensor_meta_non_cached = unwatched_propagate

        resize = torch.UntypedStorage.resize_

        def watched_resize(storage, size):
            out = resize(storage, size)
            if storage._cdata in self.live:
                self._resize(storage._cdata, storage)
            return out
        torch.UntypedStorage.resize_ = watched_resize

    def enter(self, phase):
        if self.polled:
            self.poll()
        self.phase = phase
        self.peak[phase], self.peak512[phase], self.peak_at[phase] = self.bytes, self.bytes512, "start"
        self.record("start", None)

    def record(self, name, out):
        if self.events is None or name == "prim.device.default":  # a query, not an operator
            return
        before = self.events[-1][2] if self.events and name != "start" else self.bytes
        outputs = ",".join(f"{str(t.dtype).removeprefix('torch.')}{list(t.shape)}".replace(" ", "")
                           for t in tree_leaves(out) if isinstance(t, torch.Tensor))
        self.events.append((self.phase, name, self.bytes, self.bytes - before,
                            self.modules[-1] if self.modules else "-", outputs or "-"))

    def name_modules(self, model):
        """Keeps `modules` up to date in every call of a submodule."""
        names = {module: name or "(model)" for name, module in model.named_modules()}
        call = torch.nn.Module.__call__

        def named_call(module, *args, **kwargs):
            self.modules.append(names.get(module, type(module).__name__))
            try:
                return call(module, *args, **kwargs)
            finally:
                self.modules.pop()
        torch.nn.Module.__call__ = named_call

    def note(self, name):
        if self.phase not in self.peak:
            self.enter(self.phase)
        if self.bytes > self.peak[self.phase]:
            self.peak[self.phase], self.peak_at[self.phase] = self.bytes, name
        self.peak512[self.phase] = max(self.peak512[self.phase], self.bytes512)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(hasattr(t, "to_local") for t in types):
            return NotImplemented  # let DTensor unwrap: its local operators come back here
        if self.paused:
            return func(*args, **(kwargs or {}))
        if str(func) == "bitsandbytes.gemm_4bit.default":
            # One operator to PyTorch, but it unpacks the weight on the way: see its operators, which are CPU's and,
            # for more than some 1500 tokens, CUDA's too.
            from bitsandbytes.backends.default.ops import _gemm_4bit_default_impl
            with self:
                return _gemm_4bit_default_impl(*args, **(kwargs or {}))
        if str(func) in trace_losses.BODIES:
            self.in_body = True
            with self:
                out = trace_losses.BODIES[str(func)](*args, **(kwargs or {}))
            self.in_body = False
            return out
        if self.in_body and func._can_decompose():  # below autograd, composites arrive whole
            with self:
                return func.decompose(*args, **(kwargs or {}))
        out = trace_losses.STAND_INS.get(str(func), func)(*args, **(kwargs or {}))
        if self.polled:
            self.poll()
        for leaf in tree_leaves(out):
            self.track(leaf)
        if "resize_" in str(func) and args:
            self.track(args[0])
        self.note(str(func))
        self.record(str(func), out)
        return out


def live_bytes(tensors):
    seen, total = set(), 0
    for t in tensors:
        if not isinstance(t, torch.Tensor):
            continue
        storage = local(t).untyped_storage()
        if storage._cdata not in seen:
            seen.add(storage._cdata)
            total += storage.nbytes()
    return total


def build_model(case, device, loss=None):
    import transformers
    config_json = dict(case["config"])
    config = transformers.AutoConfig.for_model(config_json.pop("model_type"), **config_json)
    if not case["dropout"]:
        for name in vars(config):
            if "dropout" in name or name.endswith("pdrop"):
                if isinstance(getattr(config, name), float):
                    setattr(config, name, 0.0)
    config.use_cache = False
    config._attn_implementation = case["attention"]
    name = (config.architectures or [None])[0]
    if config.model_type == "t5" and getattr(config, "decoder_start_token_id", None) is None:
        config.decoder_start_token_id = config.pad_token_id
    kind = getattr(transformers, name or HEADS.get(config.model_type, "AutoModelForCausalLM"))
    build = kind._from_config if name else kind.from_config
    dtype = "dtype" if transformers.__version__ >= "4.56" else "torch_dtype"
    with torch.device(device):
        model = build(config, **{dtype: getattr(torch, case["weights"])})
    if case.get("quantization"):
        model = quantized(model, case, device)
    model.train()
    if case.get("kernels"):
        trace_losses.patch_kernels(model, case["kernels"])
    if loss:
        trace_losses.install(model, loss)
    if case["peft"]:
        import peft
        if case["checkpoint"]:
            model.enable_input_require_grads()
        method = dict(case["peft"])
        kind = peft.PeftType(method.pop("method", "lora").upper())
        adapter = peft.PEFT_TYPE_TO_CONFIG_MAPPING[kind]
        model = peft.get_peft_model(model, adapter(task_type=task_type(model), **method))
    elif case.get("trainable"):
        freeze(model, case["trainable"])
    if case["checkpoint"]:
        enable = model.gradient_checkpointing_enable
        if "gradient_checkpointing_kwargs" in inspect.signature(enable).parameters:
            enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        else:  # transformers before 4.35
            enable()
    return model, config


def quantized(model, case, device):
    """The model as from_pretrained gives it with a BitsAndBytesConfig."""
    import tempfile
    import transformers
    plan, dtype = case["quantization"], getattr(torch, case["weights"])
    if plan["kind"] == "int8":
        settings = transformers.BitsAndBytesConfig(load_in_8bit=True)
    else:
        settings = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type=plan["kind"],
            bnb_4bit_compute_dtype=getattr(torch, plan.get("compute", case["weights"])),
            bnb_4bit_use_double_quant=plan.get("double_quant", False),
            bnb_4bit_quant_storage=getattr(torch, plan.get("storage", "uint8")))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        model = type(model).from_pretrained(
            folder, quantization_config=settings, dtype=dtype, device_map=device,
            attn_implementation=case["attention"])
    model.config.use_cache = False
    model.train()
    if plan.get("prepare"):
        import peft
        model = peft.prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=case["checkpoint"],
            gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def quant_scales(model):
    """The tensors that bitsandbytes keeps beside each quantized weight."""
    # A weight that FSDP2 has cut has no state itself, but its module has.
    for holder in (*model.parameters(), *model.modules()):
        state = getattr(holder, "quant_state", None)
        while state is not None:
            yield from (t for t in (state.absmax, state.code, state.offset) if isinstance(t, torch.Tensor))
            state = state.state2
    for module in model.modules():  # int8: on the weight until the first forward, then on the module's state
        for holder in (getattr(module, "weight", None), getattr(module, "state", None)):
            scale = getattr(holder, "SCB", None)
            if isinstance(scale, torch.Tensor):
                yield scale


def stored_numel(p):
    """Elements of a parameter; a 4-bit one holds two a byte."""
    return p.numel() * 2 * p.element_size() if getattr(p, "quant_state", None) is not None else p.numel()


def task_type(model):
    """PEFT's word for the head of a model; PEFT has none for a masked LM."""
    head = type(model).__name__
    for suffix, name in (("ForCausalLM", "CAUSAL_LM"), ("LMHeadModel", "CAUSAL_LM"),
                         ("ForConditionalGeneration", "SEQ_2_SEQ_LM"), ("ForSequenceClassification", "SEQ_CLS")):
        if head.endswith(suffix):
            return name
    return None


def freeze(model, plan):
    """Leaves the parameters of a case's "trainable" trainable; a tied weight goes with the embedding."""
    layers = next(name for name, m in model.named_modules() if isinstance(m, torch.nn.ModuleList) and len(m) > 0)
    total = len(model.get_submodule(layers))
    for name, p in model.named_parameters():
        if plan["kind"] == "bias":
            p.requires_grad = name.endswith("bias")
        elif name.startswith(layers + "."):
            p.requires_grad = int(name[len(layers) + 1:].split(".")[0]) >= total - plan["layers"]
        else:
            p.requires_grad = not any(word in name for word in ("embed", "wte", "wpe"))


def undo_tracing_detection():
    """Makes transformers take the branches of a real run, not those it keeps for graph tracing.

    Under fake tensors it would otherwise build an explicit causal mask and repeat K and V to all heads.
    """
    try:
        import transformers.masking_utils as masks
    except ImportError:  # transformers before 4.53 asks torch.jit and torch._dynamo, which say no
        return
    masks.is_tracing = lambda tensor=None: tensor is not None  # a padding mask counts as one with real padding
    masks.find_packed_sequence_indices = lambda position_ids: None
    rand = torch.rand
    torch.rand = lambda *size, **kw: 0.5 if size == ([],) else rand(*size, **kw)  # layerdrop draws


def allow_fake_conversion():
    """Lets nn.Module.to() convert fake parameters in place of swapping them, which fake tensors refuse."""
    def apply(module, convert, recurse=True):
        for child in module.children():
            child._apply(convert)
        for name, p in module._parameters.items():
            if p is not None:
                new = convert(p.data)
                if new.dtype != p.dtype or new.device != p.device:
                    module._parameters[name] = torch.nn.Parameter(new, p.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = convert(buffer)
        return module
    torch.nn.Module._apply = apply


def with_real_meshes():
    """Lets reshard_after_forward=N make its mesh from the values of the world's, which fake tensors have none of."""
    import torch.distributed.fsdp._fully_shard._fully_shard as fully_shard_module
    from torch.utils._python_dispatch import _disable_current_modes
    post_forward = fully_shard_module._get_post_forward_mesh_info

    def real(*args):
        with _disable_current_modes():
            return post_forward(*args)
    fully_shard_module._get_post_forward_mesh_info = real


def build_mesh(case, device):
    """The (dp, tp) mesh of this rank, on a process group that never communicates."""
    plan = case["parallel"]
    if plan["kind"] == "none":
        return None
    if plan["kind"] == "ddp":  # its buckets do not depend on the world, and its reducer needs a real group
        dist.init_process_group("nccl" if device == "cuda" else "gloo", store=dist.HashStore(), rank=0, world_size=1)
        return None
    from torch.distributed.device_mesh import init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore
    with_real_meshes()
    dist.init_process_group("fake", store=FakeStore(), rank=plan.get("rank", 0), world_size=plan["world"])
    if plan["kind"] == "torchtitan":
        return trace_torchtitan.build_dims(case, device)
    if "replicate" in plan:
        copies = plan["replicate"]
        return {"dp": init_device_mesh(device, (copies, plan["world"] // copies), mesh_dim_names=("replicate", "shard"))}
    tp = plan.get("tp", plan["world"] if plan["kind"] == "tp" else 1)
    return init_device_mesh(device, (plan["world"] // tp, tp), mesh_dim_names=("dp", "tp"))


def parallelize(model, case, mesh, program):
    plan = case["parallel"]
    kind = plan["kind"]
    if kind == "none":
        return model
    if program and hasattr(program, "parallelize"):
        return program.parallelize(model, mesh)
    layers = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) > 0)
    if kind == "ddp":
        return torch.nn.parallel.DistributedDataParallel(
            model, gradient_as_bucket_view=plan.get("bucket_view", False), bucket_cap_mb=plan.get("bucket_mb", 25))
    if kind == "fsdp1":
        return flatten(model, layers, plan, mesh)
    if kind in ("tp", "fsdp2_tp"):
        from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
        for layer in layers:
            parallelize_module(layer, mesh["tp"], {
                "self_attn.q_proj": ColwiseParallel(), "self_attn.k_proj": ColwiseParallel(),
                "self_attn.v_proj": ColwiseParallel(), "self_attn.o_proj": RowwiseParallel(),
                "mlp.gate_proj": ColwiseParallel(), "mlp.up_proj": ColwiseParallel(),
                "mlp.down_proj": RowwiseParallel()})
    if kind in ("fsdp2", "fsdp2_tp"):
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
        policy = MixedPrecisionPolicy(
            param_dtype=getattr(torch, plan.get("param_dtype", "bfloat16")),
            reduce_dtype=getattr(torch, plan.get("reduce_dtype", "float32")))
        reshard = plan.get("reshard_after_forward", True)
        # accelerate 1.15, fsdp2_prepare_model: 4-bit weights in integers stay whole
        whole = {p for p in model.parameters() if not p.is_floating_point()}
        stacks = all_stacks(model) if plan.get("wrap") == "all_layers" else [layers]
        for layer in (layer for stack in stacks for layer in stack):
            fully_shard(layer, mesh=mesh["dp"], mp_policy=policy, reshard_after_forward=reshard, ignored_params=whole)
        fully_shard(model, mesh=mesh["dp"], mp_policy=policy, ignored_params=whole,
                    reshard_after_forward=plan.get("root_reshard_after_forward", reshard))
    return model


def flatten(model, layers, plan, mesh):
    """FSDP1's units."""
    from torch.distributed import fsdp
    from torch.distributed.fsdp import _common_utils, _init_utils
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy
    from torch.distributed.fsdp import fully_sharded_data_parallel

    def on_this_device(state, module, ignored, device_id):  # FSDP1 refuses a CPU without an accelerator
        device = next(module.parameters()).device
        state._device_handle = _common_utils._FSDPDeviceHandle.from_device(device)
        return state
    _init_utils._init_device_handle = fully_sharded_data_parallel._init_device_handle = on_this_device
    policy = None
    if plan.get("param_dtype", "bfloat16"):
        policy = fsdp.MixedPrecision(param_dtype=getattr(torch, plan.get("param_dtype", "bfloat16")),
                                     reduce_dtype=getattr(torch, plan.get("reduce_dtype", "float32")))
    prefetch = {"pre": fsdp.BackwardPrefetch.BACKWARD_PRE, "post": fsdp.BackwardPrefetch.BACKWARD_POST, "none": None}
    strategy = plan.get("strategy", "FULL_SHARD")
    return fsdp.FullyShardedDataParallel(
        model, device_mesh=mesh["dp"], sharding_strategy=fsdp.ShardingStrategy[strategy], mixed_precision=policy,
        auto_wrap_policy=None if plan.get("wrap") == "none" else ModuleWrapPolicy({type(layers[0])}),
        backward_prefetch=prefetch[plan.get("backward_prefetch", "pre")],
        forward_prefetch=plan.get("forward_prefetch", False), use_orig_params=plan.get("use_orig_params", False))


def all_stacks(model):
    """Its lists of layers: an encoder-decoder has two."""
    stacks = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) > 0]
    inner = {m for stack in stacks for layer in stack for m in layer.modules()}
    return [stack for stack in stacks if stack not in inner]


def build_optimizer(case, model):
    spec = case["optimizer"]
    if not spec or not spec.get("name"):
        return None
    if spec["name"] in ("lomo", "adalomo"):
        import lomo_optim
        torch.Tensor.cuda = lambda tensor, *args, **kw: tensor.to(next(model.parameters()).device)  # AdaLomo's states
        return {"lomo": lomo_optim.Lomo, "adalomo": lomo_optim.AdaLomo}[spec["name"]](model, lr=1e-4)
    trained = [p for p in model.parameters() if p.requires_grad]
    if case.get("optimizer_in_backward"):
        return OptimizersInBackward({p: torch_optimizer(spec, [p]) for p in trained})
    return torch_optimizer(spec, trained)


class OptimizersInBackward:
    """torchtune's register_optim_in_bwd_hooks: one optimizer a parameter, stepped by a hook."""

    def __init__(self, optimizers):
        self.optimizers = optimizers
        for p in optimizers:
            p.register_post_accumulate_grad_hook(self.step_one)

    def step_one(self, p):
        self.optimizers[p].step()
        self.optimizers[p].zero_grad()

    @property
    def state(self):
        return {p: state for optimizer in self.optimizers.values() for p, state in optimizer.state.items()}

    def step(self):
        pass

    def zero_grad(self):
        pass


def optimizer_states(optimizer):
    """The tensors an optimizer keeps."""
    for name in ("exp_avg_sq", "exp_avg_sq_row", "exp_avg_sq_col"):  # AdaLomo's, by name of the parameter
        yield from getattr(optimizer, name, {}).values()
    for state in optimizer.state.values():
        yield from state.values()


def torch_optimizer(spec, params):
    impl = {"foreach": dict(foreach=True), "fused": dict(fused=True), "forloop": dict(foreach=False)}[
        spec.get("impl", "foreach")]
    name = spec["name"]
    if name == "adafactor":
        return torch.optim.Adafactor(params, foreach=impl.get("foreach", False))
    if name == "sgd_momentum":
        return torch.optim.SGD(params, lr=1e-4, momentum=0.9, **impl)
    return {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}[name](
        params, lr=1e-4, **impl)


def cuda_figures():
    stats = torch.cuda.memory_stats()
    free, total = torch.cuda.mem_get_info()
    figures = {k: stats[f"{k}_bytes.all.peak"] for k in ("requested", "allocated", "active", "reserved")}
    figures["device_total"] = total
    figures["outside_allocator"] = total - free - stats["reserved_bytes.all.current"]
    figures["retries"] = stats["num_alloc_retries"]
    figures["device"] = torch.cuda.get_device_name()
    figures["driver_cuda"] = torch.version.cuda
    return figures


def write_history(path):
    events = torch.cuda.memory._snapshot()["device_traces"][torch.cuda.current_device()]
    with gzip.open(path, "wt") as f:
        json.dump([[e["action"], e.get("addr", e.get("device_free", 0)), e.get("size", 0), e.get("stream", 0)]
                   for e in events], f)


def run(case, mode, history=None, events=False):
    case = {**DEFAULTS, **case}
    try:
        return run_steps(case, mode, history, events)
    except torch.OutOfMemoryError:
        figures = {**cuda_figures(), "oom": True}
        if history:
            write_history(os.path.join(history, case["id"] + ".json.gz"))
        return dict(id=case["id"], mode=mode, torch=torch.__version__.split("+")[0], case=case, cuda=figures)


def run_steps(case, mode, history, events):
    device = "cuda" if mode == "cuda" else "cpu"
    ledger = StorageLedger()
    result = dict(id=case["id"], mode=mode, torch=torch.__version__.split("+")[0], case=case)
    if not case["program"]:
        import transformers
        result["transformers"] = transformers.__version__
    if mode == "cuda":
        if history:
            torch.cuda.memory._record_memory_history("all", context=None, max_entries=2_000_000)
        fake = contextlib.nullcontext()
    elif mode == "cpu":
        fake = contextlib.nullcontext()
    else:
        from torch._subclasses.fake_tensor import FakeTensorMode
        fake = FakeTensorMode(allow_non_fake_inputs=True)
        allow_fake_conversion()
        undo_tracing_detection()
    if case["peft"] and not case["program"]:
        result["peft"] = importlib.metadata.version("peft")
    if case.get("quantization"):
        result["bitsandbytes"] = importlib.metadata.version("bitsandbytes")
    if case["program"]:
        trace_programs.import_program(case)
    loss = None
    if case.get("loss"):
        package, version, loss = trace_losses.load(case["loss"])
        result[package] = version
    if (case["optimizer"] or {}).get("name") in ("lomo", "adalomo"):
        result["lomo_optim"] = importlib.metadata.version("lomo-optim")
    if case.get("kernels"):
        import liger_kernel.transformers  # its tensors are not the step's
        result["liger_kernel"] = importlib.metadata.version("liger_kernel")
    mesh = build_mesh(case, device)
    if "fsdp" in case["parallel"]["kind"] or case["program"] == "torchtitan":
        ledger.watch_resizes()
        result["resizes_seen"] = True
    with fake, ledger:
        program = None
        if case["program"]:
            program = trace_programs.open_program(case, device)
            model = config = program.model
        else:
            model, config = build_model(case, device, loss)
        for tensor in (*model.parameters(), *model.buffers(), *quant_scales(model)):
            ledger.track(tensor)  # loading has threads of its own
        del tensor  # FSDP2 puts another in the place of the last
        result["parameters"] = sum(stored_numel(p) for p in model.parameters())
        result["trainable"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
        model = parallelize(model, case, mesh, program)
        gc.collect()
        if events:
            ledger.name_modules(model)
        optimizer = build_optimizer(case, model)
        phases = result["phases"] = {"initial": ledger.bytes}
        b, s = case["batch"], case["seq"]
        ids = torch.randint(0, (program or config).vocab_size, (b, s), device=device)
        if program:
            labels = ids.clone()
        else:
            classes = "ForSequenceClassification" in str(config.architectures)
            labels = torch.zeros(b, dtype=torch.int64, device=device) if classes else ids
        mask = None
        if case["padding_mask"]:
            mask = torch.ones((b, s), dtype=torch.int64, device=device)
            if mode != "fake":
                mask[:, s // 2:] = 0
        for step in range(2):
            last = step == 1
            if mode == "cuda" and last:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            for micro in range(case["micro_batches"]):
                if events and last and micro == case["micro_batches"] - 1:
                    ledger.events = []
                syncs = case["parallel"].get("sync") != "last" or micro == case["micro_batches"] - 1
                apart = contextlib.ExitStack()
                if case["parallel"]["kind"] == "fsdp2":
                    model.set_requires_gradient_sync(syncs)
                elif not syncs:
                    apart.enter_context(model.no_sync())
                ledger.enter("forward")
                amp = (torch.autocast(device, dtype=getattr(torch, case["autocast"]))
                       if case["autocast"] else contextlib.nullcontext())
                with amp:
                    if program:
                        loss, outputs = program(ids, labels, case["micro_batches"])
                    else:
                        outputs = model(input_ids=ids, attention_mask=mask, labels=labels)
                        loss = outputs.loss
                if not case["keep_outputs"]:
                    del outputs
                if last and micro == case["micro_batches"] - 1:
                    held = dict(
                        parameters=live_bytes((*model.parameters(), *quant_scales(model))),
                        buffers=live_bytes((program or model).buffers()),
                        gradients=live_bytes(p.grad for p in model.parameters() if p.grad is not None),
                        optimizer=live_bytes(optimizer_states(optimizer)) if optimizer else 0)
                    if ledger.polled:
                        ledger.poll()
                    given = [ids, mask, labels, *getattr(program, "inputs", {}).values()]
                    held["activations"] = ledger.bytes - sum(held.values()) - live_bytes(given)
                    result["categories"] = held
                ledger.enter("backward")
                if hasattr(optimizer, "fused_backward"):
                    optimizer.fused_backward(loss, 1e-4)
                elif hasattr(program, "backward"):
                    program.backward(loss)
                else:
                    loss.backward()
                outputs = loss = None
                apart.close()
            ledger.enter("step")
            params = [p for p in model.parameters() if p.requires_grad]
            if case["clip"] and hasattr(program, "clip"):
                program.clip(params)
            elif case["clip"] and case["parallel"]["kind"] == "fsdp1":
                model.clip_grad_norm_(1.0)
            elif case["clip"]:
                torch.nn.utils.clip_grad_norm_(params, 1.0)
            if hasattr(optimizer, "fused_backward"):
                pass  # nothing is left to do
            elif optimizer:
                optimizer.step()
                optimizer.zero_grad()
            else:
                model.zero_grad()
            if not last:
                phases.update({f"first.{phase}": ledger.peak[phase] for phase in ("forward", "backward", "step")})
            if mode == "cuda" and last:
                torch.cuda.synchronize()
                result["cuda"] = cuda_figures()
                if history:
                    write_history(os.path.join(history, case["id"] + ".json.gz"))
        if not events:
            phases["between"] = ledger.bytes - live_bytes([ids, mask, labels, *getattr(program, "inputs", {}).values()])
        if not events and not program:
            model.eval()
            ledger.enter("evaluation")
            with torch.no_grad(), amp:
                outputs = model(input_ids=ids, attention_mask=mask, labels=labels)
            phases["evaluation"] = ledger.peak.pop("evaluation")
            del ledger.peak512["evaluation"], ledger.peak_at["evaluation"]
    if events:
        return [f"# {case['id']} {mode}"] + [" ".join(map(str, e)) for e in ledger.events]
    result.update(peak=ledger.peak, peak512=ledger.peak512, peak_at=ledger.peak_at)
    result["peak"].pop("setup", None), result["peak512"].pop("setup", None), result["peak_at"].pop("setup", None)
    return result


def preload():
    """Imports once what every case's process would import.

    Not peft: two 8-byte tensors that its import creates have counted among the activations of every peft case so far.
    """
    with contextlib.suppress(ImportError):  # programs do without
        import transformers  # noqa: F401
    import torch._dynamo  # noqa: F401
    from torch._subclasses.fake_tensor import FakeTensorMode
    FakeTensorMode()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=("fake", "cpu", "cuda"), default="fake")
    parser.add_argument("--history", metavar="DIR")
    parser.add_argument("--events", action="store_true")
    parser.add_argument("cases", nargs="+")
    options = parser.parse_args()
    if options.history:
        os.makedirs(options.history, exist_ok=True)
    preload()
    failed = 0
    for path in options.cases:
        with open(path) as f:
            cases = json.load(f)
        for case in cases if isinstance(cases, list) else [cases]:
            # one process a case: a process group, and a CUDA context, belong to one world
            child = os.fork()
            if child == 0:
                try:
                    out = run(case, case.get("mode", options.mode), options.history, options.events)
                    print("\n".join(out) if options.events else json.dumps(out), flush=True)
                    os._exit(0)
                except BaseException:
                    sys.stderr.write(f"{case.get('id')}: {traceback.format_exc(limit=-6)}\n")
                    os._exit(1)
            failed += os.waitpid(child, 0)[1] != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
