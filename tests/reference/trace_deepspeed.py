#!/usr/bin/env python3
"""Reference memory of one real step of a DeepSpeed engine.

As trace_step.py, whose ledger, models and results these are, with real tensors in host memory and one rank of a process
group that never communicates. A case's "parallel" is
  {"kind": "deepspeed", "world": N, "rank": R, "config": {...}}
where "config" is a ds_config.json without its batch. The optimizer is torch's own, given to deepspeed.initialize.

What the CPU's accelerator does otherwise than CUDA's: it has no pinned memory and no streams. Under ZeRO-3 rank is 0: only it
reads of a group that never communicates what it has itself.

usage: trace_deepspeed.py [--events] CASE.json [CASE.json ...] > results.jsonl
"""
import argparse
import gc
import json
import os
import sys
import traceback

os.environ["DS_ACCELERATOR"] = "cpu"
os.environ.setdefault("DS_IGNORE_CUDA_DETECTION", "1")
import torch
import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore

import trace_step


def open_engine(case, model):
    """The engine that deepspeed.initialize returns, on a fake group."""
    plan = case["parallel"]
    for name, value in (("RANK", plan.get("rank", 0)), ("LOCAL_RANK", 0), ("WORLD_SIZE", plan["world"]),
                        ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", 29500)):
        os.environ[name] = str(value)
    import deepspeed
    import deepspeed.comm
    config = dict(plan["config"], train_micro_batch_size_per_gpu=case["batch"],
                  gradient_accumulation_steps=case["micro_batches"])
    optimizer = trace_step.build_optimizer(case, model)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=False)
    return engine


class Ledger(trace_step.StorageLedger):
    """Without the meta tensors from which DeepSpeed reads shapes."""

    def track(self, tensor):
        if not (isinstance(tensor, torch.Tensor) and tensor.is_meta):
            super().track(tensor)


def storages(tensors):
    return trace_step.live_bytes(t for t in tensors if t is not None)


def gradients(optimizer, model):
    """Bytes of the gradients of earlier micro-batches."""
    kept = [t for group in getattr(optimizer, "all_grad_tensors", {}).values() for t in group or ()]
    whole = getattr(optimizer, "fp32_groups_gradients_flat", ())  # BF16_Optimizer's
    parts = getattr(optimizer, "grad_partitions_flat_buffer", None)  # ZeRO-3's
    return storages([*kept, *whole, parts, *(p.grad for p in model.parameters())])


def weights(model):
    """Bytes of the parameters, and under ZeRO-3 of the partitions too, which persist beside what is gathered."""
    return storages([t for p in model.parameters() for t in (p, getattr(p, "ds_tensor", None))])


def reduce_buckets(optimizer):
    """Bytes of the buffers in which gradients wait to be reduced."""
    buffers = []
    for bucket in getattr(optimizer, "ipg_buckets", {}).values():
        buffers += bucket.buffer if isinstance(bucket.buffer, list) else [bucket.buffer]
    return storages(buffers)


def held_by(optimizer, model):
    """Bytes of gradients and of optimizer states with master weights, between forward and backward."""
    inner = getattr(optimizer, "optimizer", optimizer)
    masters = [p for group in inner.param_groups for p in group["params"]]
    masters += getattr(optimizer, "fp32_partitioned_groups_flat", [])  # ZeRO-3 shows them to the optimizer in step()
    states = [t for state in inner.state.values() for t in state.values() if isinstance(t, torch.Tensor)]
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    return storages([t for t in (*masters, *states) if t.untyped_storage()._cdata not in own])


def run(case, events):
    case = {**trace_step.DEFAULTS, **case}
    import transformers
    import deepspeed
    result = dict(id=case["id"], mode="cpu", torch=torch.__version__.split("+")[0], case=case,
                  transformers=transformers.__version__, deepspeed=deepspeed.__version__)
    ledger = Ledger()
    plan = case["parallel"]
    dist.init_process_group("fake", store=FakeStore(), rank=plan.get("rank", 0), world_size=plan["world"])
    deepspeed.init_distributed(dist_backend="fake", dist_init_required=False)
    with ledger:
        model, config = trace_step.build_model(case, "cpu")
        for tensor in (*model.parameters(), *model.buffers()):
            ledger.track(tensor)
        del tensor
        result["parameters"] = sum(p.numel() for p in model.parameters())
        result["trainable"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
        engine = open_engine(case, model)
        result["optimizer_class"] = type(engine.optimizer).__name__
        gc.collect()
        if events:
            ledger.name_modules(model)
        ids = torch.randint(0, config.vocab_size, (case["batch"], case["seq"]))
        for step in range(2):
            for micro in range(case["micro_batches"]):
                last = step == 1 and micro == case["micro_batches"] - 1
                if events and last:
                    ledger.events = []
                ledger.enter("forward")
                outputs = engine(input_ids=ids, labels=ids)
                loss = outputs.loss
                if not case["keep_outputs"]:
                    del outputs
                if last:
                    held = dict(parameters=weights(model), buffers=storages(model.buffers()),
                                gradients=gradients(engine.optimizer, model),
                                optimizer=held_by(engine.optimizer, model))
                    held["buckets"] = reduce_buckets(engine.optimizer)
                    held["activations"] = ledger.bytes - sum(held.values()) - storages([ids])
                    result["categories"] = held
                ledger.enter("backward")
                engine.backward(loss)
                outputs = loss = None
                ledger.enter("step")
                engine.step()
    if events:
        return [f"# {case['id']} cpu"] + [" ".join(map(str, e)) for e in ledger.events]
    result.update(peak=ledger.peak, peak512=ledger.peak512, peak_at=ledger.peak_at)
    for part in ("peak", "peak512", "peak_at"):
        result[part].pop("setup", None)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", action="store_true")
    parser.add_argument("cases", nargs="+")
    options = parser.parse_args()
    failed = 0
    for path in options.cases:
        with open(path) as f:
            cases = json.load(f)
        for case in cases if isinstance(cases, list) else [cases]:
            child = os.fork()
            if child == 0:
                try:
                    stdout, sys.stdout = sys.stdout, sys.stderr  # DeepSpeed logs there
                    out = run(case, options.events)
                    print("\n".join(out) if options.events else json.dumps(out), file=stdout, flush=True)
                    os._exit(0)
                except BaseException:
                    sys.stderr.write(f"{case.get('id')}: {traceback.format_exc(limit=-6)}\n")
                    os._exit(1)
            failed += os.waitpid(child, 0)[1] != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
