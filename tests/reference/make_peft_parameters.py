#!/usr/bin/env python3
"""Writes peft_parameters.jsonl: the parameters that peft itself gives to small models.

    python3 make_peft_parameters.py       writes peft_parameters.jsonl beside this script

The base model is fp32 (then peft keeps every flag as its update_layer sets it) unless `dtype` says bf16,
which shows what peft casts. A line:
  id           "MODEL/METHOD/N"
  peft         version measured, with transformers
  config       the base model's config.json
  adapter      the adapter_config.json
  total        what get_nb_trainable_parameters counts, adapters included
  trainable
  fp32         of a bf16 base model: parameters stored in fp32
  buffers      elements of tensors that peft's modules register beside parameters
"""

import collections
import json
import pathlib
import sys
import warnings

import peft
import torch
import transformers
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from transformers.models.auto import modeling_auto

from peft_cases import CASES, MODELS

EXPECTED = {"peft": "0.21.2", "transformers": "5.12.1"}
HERE = pathlib.Path(__file__).resolve().parent
HEADS = {
    **modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    "bert": "BertForMaskedLM",
    "t5": "T5ForConditionalGeneration",
}


def build(config, dtype, architecture):
    parsed = transformers.CONFIG_MAPPING[config["model_type"]].from_dict(config)
    name = architecture or HEADS[config["model_type"]]
    return name, getattr(transformers, name)(parsed).to(dtype)


def buffer_elements(model, before):
    """Buffers, and the index tensors that some methods keep in plain dictionaries."""
    seen = {id(b): b.numel() for n, b in model.named_buffers() if id(b) not in before}
    for module in model.modules():
        for name in ("indices", "waveft_indices", "shira_indices"):
            held = getattr(module, name, None)
            if isinstance(held, dict):
                seen.update({id(t): t.numel() for t in held.values()})
    return sum(seen.values())


def measure(name, adapter, dtype):
    fields = dict(adapter)
    architecture = fields.pop("architectures", None)
    kind = fields.pop("peft_type")
    config_class = PEFT_TYPE_TO_CONFIG_MAPPING[getattr(peft.PeftType, kind)]
    fields.setdefault("task_type", "CAUSAL_LM" if name not in ("bert", "t5") else None)
    if kind == "CPT":
        fields.update(cpt_mask=[1] * len(fields["cpt_token_ids"]),
                      cpt_tokens_type_mask=[1] * len(fields["cpt_token_ids"]))
    if "use_bdlora" in fields:
        fields["use_bdlora"] = peft.tuners.lora.config.BdLoraConfig(**fields["use_bdlora"])
    built, model = build(MODELS[name], dtype, architecture)
    before = {id(b) for b in model.buffers()}
    wrapped = peft.get_peft_model(model, config_class(**fields))
    trainable, total = wrapped.get_nb_trainable_parameters()
    recorded = {k: v for k, v in adapter.items() if k != "architectures"}
    line = {
        "id": f"{name}/{kind.lower()}",
        **EXPECTED,
        "config": {**MODELS[name], "architectures": [built]},
        "adapter": recorded,
        "dtype": str(dtype).removeprefix("torch."),
        "total": total,
        "trainable": trainable,
        "buffers": buffer_elements(wrapped, before),
    }
    if dtype == torch.bfloat16:
        line["fp32"] = sum(p.numel() for p in wrapped.parameters() if p.dtype == torch.float32)
    return line


def main():
    found = {"peft": peft.__version__, "transformers": transformers.__version__}
    if found != EXPECTED:
        sys.exit(f"make_peft_parameters.py: needs {EXPECTED}, found {found}")
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    lines, numbers = [], collections.Counter()
    for name, adapter in CASES:
        for dtype in (torch.float32, torch.bfloat16):
            try:
                line = measure(name, adapter, dtype)
            except Exception as problem:
                print(f"{name} {adapter}: {type(problem).__name__}: {problem}", file=sys.stderr)
                continue
            numbers[line["id"]] += 1
            line["id"] += f"/{numbers[line['id']]}"
            lines.append(json.dumps(line, separators=(",", ":")) + "\n")
    (HERE / "peft_parameters.jsonl").write_text("".join(lines))


if __name__ == "__main__":
    main()
