"""Models and losses of training programs that are not transformers': cases of trace_step.py with a "program".

litgpt    Lightning-AI/litgpt in the layout of 2023 (`lit_gpt` on PYTHONPATH): the model of finetune/lora.py and full.py at
          8641822 (with lightning 2.1), of adapter.py and adapter_v2.py at 0f021f3 (lightning 2.2) on one device under
          Lightning Fabric, with its loss in chunks of 128 tokens. Adapters run in mode cpu: their loss looks at values.
          "weights" is Fabric's precision "bf16-true", "16-true" or "32-true". "peft" is null (finetune/full.py: neither
          chunked head nor adapters) or {"method": "lora", "r", "lora_alpha", "lora_dropout", "targets": litgpt's words
          without "to_"} or {"method": "adapter" | "adapter_v2"}.

torchtune see trace_torchtune.py.

torchtitan see trace_torchtitan.py.

Configs are HuggingFace's, as in other cases. Targets are a tensor of their own, as these programs' batches hold one.
"""
import importlib

import torch

import trace_torchtitan
import trace_torchtune

CHUNK = 128  # lm_head_chunk_size of litgpt's scripts


def litgpt_settings(config):
    """A HuggingFace config in the words of lit_gpt.config.Config."""
    heads = config["num_attention_heads"]
    words = dict(
        block_size=config.get("max_position_embeddings", 2048), vocab_size=config["vocab_size"],
        padded_vocab_size=config["vocab_size"], n_layer=config["num_hidden_layers"], n_head=heads,
        n_embd=config["hidden_size"], n_query_groups=config.get("num_key_value_heads", heads),
        intermediate_size=config.get("intermediate_size"))
    family = config["model_type"]
    if family == "llama":
        words.update(rotary_percentage=1.0, parallel_residual=False, bias=False, _norm_class="RMSNorm",
                     _mlp_class="LLaMAMLP")
    elif family == "phi":
        words.update(rotary_percentage=config.get("partial_rotary_factor", 0.5), shared_attention_norm=True, bias=True,
                     lm_head_bias=True, gelu_approximate="tanh")
    elif family == "gpt_neox":
        words.update(rotary_percentage=config.get("rotary_pct", 0.25), bias=True,
                     parallel_residual=config.get("use_parallel_residual", True))
    else:
        raise ValueError(f"no litgpt model for {family}")
    return words


class LitGPT:
    def __init__(self, case, device):
        from lightning.fabric.plugins.precision import HalfPrecision, Precision
        from lightning.fabric.wrappers import _FabricModule
        from lit_gpt.utils import chunked_cross_entropy
        peft = dict(case["peft"] or {})
        method = peft.get("method", "model")
        module = importlib.import_module("lit_gpt." + method)
        words = litgpt_settings(case["config"])
        if method == "lora":
            words.update(r=peft["r"], alpha=peft.get("lora_alpha", 16), dropout=peft.get("lora_dropout", 0.0),
                         **{"to_" + target: True for target in peft["targets"]})
        dtype = getattr(torch, case["weights"])
        precision = {torch.bfloat16: lambda: HalfPrecision("bf16-true"), torch.float16: lambda: HalfPrecision("16-true"),
                     torch.float32: Precision}[dtype]()
        config = importlib.import_module("lit_gpt.config" if method == "model" else "lit_gpt." + method).Config(**words)
        with precision.module_init_context(), torch.device(device):
            model = module.GPT(config)
        if method != "model":
            getattr(module, f"mark_only_{method}_as_trainable")(model)
        model = precision.convert_module(model)
        self.model = _FabricModule(model, precision)
        self.model.max_seq_length = case["seq"]
        self.chunk = 0 if method == "model" else CHUNK
        self.chunked_cross_entropy = chunked_cross_entropy
        self.vocab_size = config.padded_vocab_size
        if method.startswith("adapter"):  # validate() runs first, and the prompts' keys and values stay cached
            model.eval()
            with torch.no_grad():
                self.model(torch.zeros((1, 8), dtype=torch.int64, device=device))
            model.train()

    def __call__(self, ids, targets, micro_batches):
        if self.chunk:
            logits = self.model(ids, lm_head_chunk_size=self.chunk)
            logits[-1] = logits[-1][..., :-1, :]
            loss = self.chunked_cross_entropy(logits, targets[..., 1:])
        else:
            logits = self.model(ids)
            loss = self.chunked_cross_entropy(logits[..., :-1, :], targets[..., 1:], chunk_size=0)
        return loss / micro_batches, (logits, loss)


    def buffers(self):
        """Tensors that live like buffers: the model's, and the adapters' cached prompts."""
        yield from self.model.buffers()
        for module in self.model.modules():
            yield from getattr(module, "adapter_kv_cache", None) or ()


PROGRAMS = {"litgpt": (LitGPT, ("lightning.fabric.plugins.precision", "lit_gpt.lora", "lit_gpt.adapter_v2")),
            "torchtune": (trace_torchtune.Torchtune, trace_torchtune.MODULES),
            "torchtitan": (trace_torchtitan.Torchtitan, trace_torchtitan.MODULES)}


def import_program(case):
    """Imports what a program needs while no tensor is counted."""
    if case["program"] == "torchtitan":
        return trace_torchtitan.import_release(case)
    for name in PROGRAMS[case["program"]][1]:
        importlib.import_module(name)


def open_program(case, device):
    program = PROGRAMS[case["program"]][0](case, device)
    program.model.train()
    return program
