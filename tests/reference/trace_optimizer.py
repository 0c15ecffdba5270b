#!/usr/bin/env python3
"""Reference memory of one optimizer step over parameters of given shapes, without a model.

The second step of a real optimizer (states exist) runs over real parameters and gradients under the storage ledger
of trace_step.py. Modes `fake` and `cpu` as there.

usage: trace_optimizer.py [--mode fake|cpu] [--events] CASES.json > optimizer_steps.jsonl

A case:
  id         a name
  optimizer  a name of OPTIMIZERS below
  impl       "foreach", "fused", "forloop" or null (what the optimizer itself chooses)
  clip       true for torch.nn.utils.clip_grad_norm_ before the step
  params     a list of {"shape", "dtype", "count", "run", "group", "hidden"}: neighbours of equal count and run stand
             for layers, parameter after parameter of one layer, then the next layer; group is the param_group;
             hidden is false for embeddings and heads, which Muon and GaLore leave alone
  rank       of GaLore, which renews its projectors in every step here

Result, one JSON object a line, in bytes: the case, the mode, versions, `state` (live bytes of optimizer.state),
`transient` (highest live bytes of the step above its start) and `at`, the operator that reached it.
"""
import argparse
import contextlib
import importlib.metadata
import itertools
import json
import os
import sys

import torch
from trace_step import StorageLedger

PACKAGES = dict(lion="lion-pytorch", adafactor_transformers="transformers", galore="galore-torch")


def apart(p):
    """Whether Muon or GaLore takes the parameter."""
    return p.dim() == 2 and p.hidden


def build(case, groups):
    name, impl = case["optimizer"], case.get("impl")
    how = {None: {}, "foreach": dict(foreach=True), "fused": dict(fused=True), "forloop": dict(foreach=False)}[impl]
    if name == "lion":
        from lion_pytorch import Lion
        return [Lion(groups, use_triton=False)]
    if name == "adafactor_transformers":
        from transformers.optimization import Adafactor
        return [Adafactor(groups)]
    if name == "muon":
        matrices = [dict(params=[p for p in g["params"] if apart(p)]) for g in groups]
        others = [dict(params=[p for p in g["params"] if not apart(p)]) for g in groups]
        made = [torch.optim.Muon([g for g in matrices if g["params"]])]
        if any(g["params"] for g in others):
            made.append(torch.optim.AdamW([g for g in others if g["params"]], **how))
        return made
    if name == "galore":
        from galore_torch import GaLoreAdamW
        low = dict(rank=case["rank"], update_proj_gap=1, scale=0.25, proj_type="std")
        matrices = [p for g in groups for p in g["params"] if apart(p)]
        others = [p for g in groups for p in g["params"] if not apart(p)]
        return [GaLoreAdamW([dict(params=others), dict(params=matrices, **low)], no_deprecation_warning=True)]
    kinds = dict(adamw=torch.optim.AdamW, adam=torch.optim.Adam, sgd=torch.optim.SGD, sgd_momentum=torch.optim.SGD,
                 adafactor=torch.optim.Adafactor)
    if name == "sgd_momentum":
        how = dict(how, momentum=0.9)
    return [kinds[name](groups, **how)]


def expand(params):
    """Every tensor as (shape, dtype, group, hidden), in the optimizer's order."""
    key = lambda p: (p.get("count", 1), p.get("run", 0))
    for (count, _), stretch in itertools.groupby(params, key):
        stretch = list(stretch)
        for _ in range(count):
            for p in stretch:
                yield p["shape"], getattr(torch, p["dtype"]), p.get("group", 0), p.get("hidden", True)


def state_tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for v in value.values():
            yield from state_tensors(v)
    elif hasattr(value, "ortho_matrix"):  # GaLore's projector
        yield from state_tensors(value.ortho_matrix)


def run(case, mode, events):
    if mode == "fake":
        from torch._subclasses.fake_tensor import FakeTensorMode
        fake = FakeTensorMode(allow_non_fake_inputs=True)
    else:
        fake = contextlib.nullcontext()
    ledger = StorageLedger()
    with fake, ledger:
        groups = {}
        for shape, dtype, group, hidden in expand(case["params"]):
            p = torch.nn.Parameter(torch.randn(shape, dtype=dtype))
            p.hidden = hidden
            groups.setdefault(group, []).append(p)
        params = [p for g in groups.values() for p in g]
        optimizers = build(case, [dict(params=g) for g in groups.values()])
        p = g = None
        for step in range(2):
            for p in params:
                p.grad = torch.randn_like(p)
            p = None
            if events and step == 1:
                ledger.events = []
            start = ledger.bytes
            ledger.enter("step")
            if case.get("clip"):
                torch.nn.utils.clip_grad_norm_(params, 1.0)
            for optimizer in optimizers:
                optimizer.step()
            peak, at = ledger.peak["step"], ledger.peak_at["step"]
            states = {t.untyped_storage()._cdata: t.untyped_storage().nbytes()
                      for o in optimizers for t in state_tensors(o.state)}
            for optimizer in optimizers:
                optimizer.zero_grad()
    if events:
        return "\n".join([f"# {case['id']} {mode}"] + [" ".join(map(str, e)) for e in ledger.events])
    versions = dict(torch=torch.__version__)
    if case["optimizer"] in PACKAGES:
        package = PACKAGES[case["optimizer"]]
        versions[package] = importlib.metadata.version(package)
    return json.dumps(dict(case=case, mode=mode, versions=versions, state=sum(states.values()),
                           transient=peak - start, at=at))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=("fake", "cpu"), default="fake")
    parser.add_argument("--events", action="store_true")
    parser.add_argument("cases")
    options = parser.parse_args()
    with open(options.cases) as f:
        for case in json.load(f):
            try:
                print(run(case, options.mode, options.events), flush=True)
            except Exception as error:
                print(f"{case['id']}: {type(error).__name__}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
