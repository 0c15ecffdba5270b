#!/usr/bin/env python3
"""Writes parameters.jsonl: the parameters that transformers itself gives to each model.

Every model is built on torch's meta device (no memory, no weights, no network) and its
named_parameters() are recorded, so a tied weight appears once. Needs the versions below.

    python3 make_parameters.py            writes parameters.jsonl beside this script
    python3 make_parameters.py --table    also prints each preset's total

A line:
  id            "preset/NAME", "synthetic/FAMILY/N" or "multimodal/NAME"
  transformers  version measured
  class         the class that was built
  config        "@NAME" (models/NAME.json), or the config.json itself
  multimodal    true when only `text_config` was built (its text model's ForCausalLM class)
  total         number of parameters
  tensors       name -> shape; `{0..3,7}` in a name stands for each of these indices
"""

import argparse
import json
import math
import pathlib
import re
import sys

import torch
import transformers
from transformers.models.auto import modeling_auto

from parameter_cases import MULTIMODAL, SYNTHETIC

EXPECTED_TRANSFORMERS = "5.12.1"
HERE = pathlib.Path(__file__).resolve().parent
MODELS = HERE.parent.parent / "models"

# The task a config without `architectures` is taken to train.
DEFAULT_CLASSES = {
    **modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    **{t: modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES[t] for t in ("bert", "roberta", "deberta-v2")},
    "t5": "T5ForConditionalGeneration",
}


def build(config):
    """Returns (class name, model on the meta device) of a config.json's content."""
    fields = {k: v for k, v in config.items() if k != "_source"}
    config_class = transformers.CONFIG_MAPPING[fields["model_type"]]
    parsed = config_class.from_dict(fields)
    names = fields.get("architectures") or [DEFAULT_CLASSES[fields["model_type"]]]
    with torch.device("meta"):
        return names[0], getattr(transformers, names[0])(parsed)


def ranges(indices):
    """[0, 1, 2, 5] -> "0..2,5"."""
    parts = []
    for index in sorted(indices):
        if parts and parts[-1][1] == index - 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ",".join(str(a) if a == b else f"{a}..{b}" for a, b in parts)


def compress(tensors):
    """Folds layer indices: tensors of one shape whose names differ in the first number only share a line."""
    groups = {}
    for name, shape in tensors.items():
        number = re.search(r"(?<=\.)\d+(?=\.)", name)
        if number:
            key = (name[: number.start()], name[number.end() :], shape)
            groups.setdefault(key, []).append(int(number.group()))
        else:
            groups[(name, None, shape)] = []
    folded = {}
    for (head, tail, shape), indices in groups.items():
        name = head if tail is None else head + "{" + ranges(indices) + "}" + tail
        folded[name] = list(shape)
    return folded


def measure(identity, config, recorded, **extra):
    name, model = build(config)
    tensors = {n: tuple(p.shape) for n, p in model.named_parameters()}
    return {
        "id": identity,
        "transformers": transformers.__version__,
        "class": name,
        "config": recorded,
        **extra,
        "total": sum(math.prod(shape) for shape in tensors.values()),
        "tensors": compress(tensors),
    }


def text_part(config):
    """The config.json of a multimodal model's language part, as its config class parses it."""
    parsed = transformers.CONFIG_MAPPING[config["model_type"]].from_dict(
        {k: v for k, v in config.items() if k != "_source"}
    )
    return parsed.get_text_config().to_dict() | {"architectures": None}


def lines():
    for path in sorted(MODELS.glob("*.json")):
        config = json.loads(path.read_text())
        if "text_config" in config:
            yield measure(f"preset/{path.stem}", text_part(config), f"@{path.stem}", multimodal=True)
        else:
            yield measure(f"preset/{path.stem}", config, f"@{path.stem}")
    for family, cases in SYNTHETIC.items():
        for number, fields in enumerate(cases):
            config = {"model_type": family, **fields}
            yield measure(f"synthetic/{family}/{number}", config, config)
    for name, config in MULTIMODAL.items():
        yield measure(f"multimodal/{name}", text_part(config), config, multimodal=True)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--table", action="store_true", help="print the total of each preset")
    options = options.parse_args()
    if transformers.__version__ != EXPECTED_TRANSFORMERS:
        sys.exit(f"make_parameters.py: needs transformers {EXPECTED_TRANSFORMERS}, found {transformers.__version__}")
    transformers.utils.logging.set_verbosity_error()
    records = []
    for record in lines():
        records.append(record)
        if options.table and record["id"].startswith("preset/"):
            print(f"{record['id'][7:]:24} {record['total']:>20,}  {record['class']}")
    text = "".join(json.dumps(r, separators=(",", ":")) + "\n" for r in records)
    (HERE / "parameters.jsonl").write_text(text)


if __name__ == "__main__":
    main()
