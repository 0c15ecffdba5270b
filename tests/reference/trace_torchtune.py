"""torchtune's single-device recipes, for cases of trace_step.py with "program": "torchtune".

The lines of recipes/full_finetune_single_device.py and lora_finetune_single_device.py, torchtune 0.4.0 (torch 2.5.1,
torchao 0.6.1), around torchtune's own models, losses, checkpointing and OffloadActivations. Words of a case:

  config   HuggingFace's; "rope_scaling" of type llama3 makes a llama Llama 3.1's, with tied embeddings 3.2's
  loss     null for torch.nn.CrossEntropyLoss, or {"name": "torchtune-chunked", "chunks": 8}
  peft     null or {"method": "lora", "r", "lora_alpha", "lora_dropout", "targets": q_proj, k_proj, v_proj, output_proj,
           all of w1, w2 and w3, output}
  quantization  {"kind": "nf4"}: quantize_base, with "peft"
  packed   true for batches of PackedDataset: position ids and a mask, the boolean one that torch before 2.5 is given
  offload  true for enable_activation_offloading. There being no second device, copies "to the CPU" are not counted, and
           copies back are; streams and events do nothing
"""
import importlib.metadata

import torch

MODULES = ("torchtune.models.llama3_2", "torchtune.modules.peft", "torchtune.training", "torchtune.modules.loss",
           "torchtune.models.gemma", "torchtune.models.mistral", "torchtune.models.qwen2", "torchtune.models.llama2")
MLP = ["w1", "w2", "w3"]


def builder(config):
    """(torchtune's package of models, the word for its builder, its own arguments)."""
    family = config["model_type"]
    if family == "llama":
        scaled = (config.get("rope_scaling") or {}).get("rope_type") == "llama3"
        return ("llama3_2" if config.get("tie_word_embeddings") else "llama3_1") if scaled else "llama2", {}
    if family == "qwen2":
        return "qwen2", dict(tie_word_embeddings=config.get("tie_word_embeddings", False))
    if family == "gemma":
        return "gemma", dict(head_dim=config["head_dim"])
    if family == "mistral":
        return "mistral", {}
    raise ValueError(f"no torchtune model for {family}")


def build(case):
    import importlib
    config = case["config"]
    name, arguments = builder(config)
    package = importlib.import_module("torchtune.models." + name + "._component_builders")
    heads = config["num_attention_heads"]
    arguments.update(
        vocab_size=config["vocab_size"], num_layers=config["num_hidden_layers"], num_heads=heads,
        num_kv_heads=config.get("num_key_value_heads", heads), embed_dim=config["hidden_size"],
        max_seq_len=config.get("max_position_embeddings", 2048), intermediate_dim=config["intermediate_size"])
    peft = case["peft"]
    if peft is None:
        return getattr(package, name)(**arguments)
    assert peft["method"] == "lora", peft
    targets = list(peft["targets"])
    if name != "gemma":
        arguments.update(apply_lora_to_output="output" in targets)
    return getattr(package, "lora_" + name)(
        lora_attn_modules=[t for t in targets if t.endswith("_proj")], apply_lora_to_mlp="w1" in targets,
        lora_rank=peft["r"], lora_alpha=peft.get("lora_alpha", 16), lora_dropout=peft.get("lora_dropout", 0.0),
        quantize_base=bool(case.get("quantization")), **arguments)


class NoStream:
    """A CUDA stream or event that has nothing to wait for."""

    def __init__(self, *args, **kwargs):
        pass

    def record_event(self, *args):
        return self

    def wait_event(self, *args):
        pass

    def wait_stream(self, *args):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *args):
        pass


def stand_in_for_cuda(ledger):
    """Makes OffloadActivations run on one device: what it puts on the CPU is counted nowhere."""
    torch.cuda.default_stream = torch.cuda.Stream = NoStream
    torch.cuda.stream = lambda stream: stream
    torch.Tensor.record_stream = lambda tensor, stream: None
    empty_like, to, copy = torch.empty_like, torch.Tensor.to, torch.Tensor.copy_
    host = {}

    def to_host(tensor, **kw):
        if "pin_memory" not in kw:
            return empty_like(tensor, **kw)
        with torch.utils._python_dispatch._disable_current_modes():
            out = torch.empty_like(tensor, device="meta")
        host[id(out)] = tensor.device
        return out

    def back(tensor, *args, **kw):
        if args and args[0] == "cuda":
            return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=host.pop(id(tensor)))
        return to(tensor, *args, **kw)

    torch.empty_like, torch.Tensor.to = to_host, back
    torch.Tensor.copy_ = lambda tensor, *args, **kw: tensor if tensor.is_meta else copy(tensor, *args, **kw)


class Torchtune:
    def __init__(self, case, device):
        from torchtune import modules, training
        from torchtune.models.llama3_1 import Llama3ScaledRoPE
        from torchtune.modules.loss import CEWithChunkedOutputLoss
        from torchtune.modules.peft import get_adapter_params, set_trainable_params
        self.version = importlib.metadata.version("torchtune")
        Llama3ScaledRoPE.apply_scaling = lambda self, freqs, *args: freqs.clone()  # looks at values
        if case.get("offload"):
            stand_in_for_cuda(None)
        with training.set_default_dtype(getattr(torch, case["weights"])), torch.device(device):
            model = build(case)
        if case["peft"]:
            set_trainable_params(model, get_adapter_params(model))
        if case["checkpoint"]:
            training.set_activation_checkpointing(
                model, auto_wrap_policy={modules.TransformerSelfAttentionLayer})
        self.offloading = training.get_act_offloading_ctx_manager(model, bool(case.get("offload")))
        self.model = model
        self.vocab_size = case["config"]["vocab_size"]
        if case.get("loss"):
            self.loss_fn = CEWithChunkedOutputLoss(num_output_chunks=case["loss"].get("chunks", 8))
            model.set_num_output_chunks(self.loss_fn.num_output_chunks)
        else:
            self.loss_fn = torch.nn.CrossEntropyLoss()
        b, s = case["batch"], case["seq"]
        self.ignored = torch.full((b, 1), -100, device=device)
        self.inputs = {}
        if case.get("packed"):
            self.inputs = dict(input_pos=torch.arange(s, device=device).repeat(b, 1),
                               mask=torch.ones((b, s, s), dtype=torch.bool, device=device).tril())
        self.running_loss = self.num_tokens = self.micro = 0

    def loss_step(self, batch, labels):
        with self.offloading:
            logits = self.model(**batch)
        labels = torch.hstack((labels[..., 1:], self.ignored[:labels.shape[0]]))
        if not isinstance(logits, list):
            labels = labels.reshape(-1)
            logits = logits.reshape(-1, logits.size(-1))
        loss = self.loss_fn(logits, labels)
        del logits
        return loss

    def __call__(self, ids, labels, micro_batches):
        if self.micro == 0:
            self.running_loss = self.num_tokens = 0
        self.micro = (self.micro + 1) % micro_batches
        self.current_num_tokens = (labels != self.loss_fn.ignore_index).sum()
        self.num_tokens += self.current_num_tokens
        self.current_loss = self.loss_step(dict(tokens=ids, **self.inputs), labels) * self.current_num_tokens
        self.running_loss += self.current_loss
        return self.current_loss, None

    def buffers(self):
        """The model's, and what the recipe keeps from step to step."""
        yield from self.model.buffers()
        yield self.ignored
