#!/usr/bin/env python3
"""What torch.compile keeps of a model's forward for its backward: the saved tensors of AOTAutograd's graphs.

A real model is compiled whole, or layer by layer, with Inductor's decompositions and its min-cut partitioner
(torch/_functorch/partitioners.py), but without code generation, which changes nothing of what is saved. Runs on the
CPU, on small models: its attention kernel saves what CUDA's flash kernel saves.

usage: trace_compile.py CASE.json [CASE.json ...] > results.jsonl

A case has trace_step.py's config, batch, seq, weights, attention and dropout, and
  scope  "model" (torch.compile(model)) or "layers" (each decoder layer by itself, as torchtune and torchtitan do)

Result, one JSON object a line, in bytes: `saved`, storages kept between the graphs' forward and backward that are
neither parameters, buffers nor the batch; `tensors`, {operator: [number, bytes]} of those storages.
"""
import collections
import functools
import json
import sys
from importlib import import_module

import torch
from torch._dynamo.backends.common import aot_autograd
from torch._functorch import partitioners
from torch._functorch.aot_autograd import make_boxed_func

from trace_step import DEFAULTS, build_model

VIEWS = ("view", "_unsafe_view", "permute", "t", "transpose", "expand", "alias", "slice", "unsqueeze", "squeeze",
         "select", "detach")


def base_of(node):
    """The operator whose storage a node's tensor lies in."""
    while getattr(node.target, "_opname", None) in VIEWS:
        node = node.args[0]
    return node


def partition(kept, joint, inputs, **options):
    forward, backward = partitioners.min_cut_rematerialization_partition(joint, inputs, compiler="inductor", **options)
    results = next(n for n in forward.graph.nodes if n.op == "output").args[0]
    for node in {base_of(n) for n in results[options["num_fwd_outputs"]:]}:
        value = node.meta["val"]
        if node.op != "placeholder" and isinstance(value, torch.Tensor):
            kept.append((getattr(node.target, "_opname", "getitem"), value.untyped_storage().nbytes()))
    return forward, backward


def run(case):
    case = {**DEFAULTS, "scope": "model", **case}
    kept = []
    backend = aot_autograd(
        fw_compiler=lambda graph, _: make_boxed_func(graph.forward),
        bw_compiler=lambda graph, _: make_boxed_func(graph.forward),
        decompositions=lambda: import_module("torch._inductor.compile_fx").select_decomp_table(),
        partition_fn=functools.partial(partition, kept))
    model, config = build_model(case, "cpu", None)
    ids = torch.randint(0, config.vocab_size, (case["batch"], case["seq"]))
    if case["scope"] == "layers":
        layers = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) > 0)
        for layer in layers:
            layer.compile(backend=backend)
    else:
        model.compile(backend=backend)
    model(input_ids=ids, labels=ids).loss.backward()
    tensors = collections.defaultdict(lambda: [0, 0])
    for name, size in kept:
        tensors[name][0] += 1
        tensors[name][1] += size
    import transformers
    return dict(id=case["id"], torch=torch.__version__.split("+")[0], transformers=transformers.__version__, case=case,
                saved=sum(size for _, size in kept), tensors=tensors)


def main():
    for path in sys.argv[1:]:
        with open(path) as f:
            cases = json.load(f)
        for case in cases if isinstance(cases, list) else [cases]:
            torch._dynamo.reset()
            print(json.dumps(run(case)), flush=True)


if __name__ == "__main__":
    main()
