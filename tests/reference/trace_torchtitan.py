"""torchtitan's training step, for cases of trace_step.py with "program": "torchtitan".

torchtitan 0.2.2's own Llama 3, parallelize_llama and loss, and the lines of torchtitan/train.py (Trainer.train_step,
forward_backward_step) around them. Words of a case:

  config      HuggingFace's, of a llama; "max_position_embeddings" counts for nothing: caches are of "seq" positions
  weights     training.dtype
  checkpoint  activation_checkpoint.mode: false for none, true for full, "op" for selective by operator, N for every N-th
              layer
  parallel    {"kind": "torchtitan", "world": N, "replicate": 1, "tp": 1, "param_dtype": "bfloat16",
               "reduce_dtype": "float32", "reshard_after_forward": "default"}: the degrees of torchtitan.config's
              Parallelism, the rest of N being data_parallel_shard_degree, and its mixed precision. "rank" as of fsdp2.
              "loss_parallel": false for disable_loss_parallel
  release     "0.2.2", or "0.0.2" for commit 9dec370 of December 2024 (its folder on PYTHONPATH): apply_ac, apply_fsdp
              and the loss of its train.py
"""
import contextlib
import importlib
import types

import torch

MODULES = ()  # import_release tells them by the case
OF_2024 = "0.0.2"


def import_release(case):
    names = ["models.llama3.infra.parallelize", "components.loss", "distributed.utils"]
    if case.get("release") == OF_2024:
        names = ["parallelisms.parallelize_llama", "models.llama.model", "utils"]
    for name in names:
        importlib.import_module("torchtitan." + name)


def job_config(case):
    from torchtitan.config import JobConfig
    plan = case["parallel"]
    config = JobConfig()
    config.training.seq_len = case["seq"]
    config.training.mixed_precision_param = plan.get("param_dtype", "bfloat16")
    config.training.mixed_precision_reduce = plan.get("reduce_dtype", "float32")
    config.parallelism.fsdp_reshard_after_forward = plan.get("reshard_after_forward", "default")
    config.parallelism.disable_loss_parallel = not plan.get("loss_parallel", True)
    checkpoint = case["checkpoint"]
    config.activation_checkpoint.mode = {False: "none", True: "full"}.get(checkpoint, "selective")
    if config.activation_checkpoint.mode == "selective":
        config.activation_checkpoint.selective_ac_option = str(checkpoint)
    return config


def build(case):
    if case.get("release") == OF_2024:
        from torchtitan.models.llama.model import ModelArgs as Arguments, Transformer
        Transformer.init_weights = lambda model, *args: None  # draws numbers
    else:
        from torchtitan.models.llama3.model.args import TransformerModelArgs as Arguments
        from torchtitan.models.llama3.model.model import Transformer
    config = case["config"]
    assert config["model_type"] == "llama", config
    width = 8 * config["hidden_size"] // 3  # of FeedForward, before it is rounded up to the one that is wanted
    args = Arguments(
        dim=config["hidden_size"], n_layers=config["num_hidden_layers"], n_heads=config["num_attention_heads"],
        n_kv_heads=config.get("num_key_value_heads"), vocab_size=config["vocab_size"],
        multiple_of=config["intermediate_size"], ffn_dim_multiplier=1.5 / width, max_seq_len=case["seq"])
    return Transformer(args)


def build_dims(case, device):
    """torchtitan's meshes, on a process group that is there."""
    plan = case["parallel"]
    if case.get("release") == OF_2024:
        from torch.distributed.device_mesh import init_device_mesh
        return init_device_mesh(device, (plan["world"],), mesh_dim_names=("dp_shard_cp",))
    import torchtitan.distributed.parallel_dims as parallel_dims
    from torchtitan.tools import utils
    parallel_dims.device_type = utils.device_type = device
    replicate, tp = plan.get("replicate", 1), plan.get("tp", 1)
    dims = parallel_dims.ParallelDims(
        dp_replicate=replicate, dp_shard=plan["world"] // (replicate * tp), cp=1, tp=tp, pp=1, ep=1, etp=1,
        world_size=plan["world"])
    dims.build_mesh()
    return dims


class Torchtitan:
    version = "0.2.2"

    def __init__(self, case, device):
        self.case = case
        default = torch.get_default_dtype()
        torch.set_default_dtype(getattr(torch, case["weights"]))  # training.dtype
        with torch.device(device):
            self.model = build(case)
        torch.set_default_dtype(default)
        self.vocab_size = case["config"]["vocab_size"]
        self.micro, self.losses = 0, []

    def parallelize(self, model, dims):
        """To be called once the model's tensors are counted."""
        if self.case.get("release") == OF_2024:
            return self.parallelize_of_2024(model, dims)
        from torchtitan.distributed import utils
        from torchtitan.models.llama3.infra.parallelize import parallelize_llama
        config = job_config(self.case)
        self.model = parallelize_llama(model, dims, config)
        self.context = utils.get_train_context(dims.tp_enabled and not config.parallelism.disable_loss_parallel)
        return self.model

    def parallelize_of_2024(self, model, mesh):
        parallelize_llama = importlib.import_module("torchtitan.parallelisms.parallelize_llama")
        checkpoint, plan = self.case["checkpoint"], self.case["parallel"]
        if checkpoint:
            parallelize_llama.apply_ac(model, types.SimpleNamespace(
                mode="full" if checkpoint is True else "selective", selective_ac_option=str(checkpoint)))
        parallelize_llama.apply_fsdp(
            model, mesh, getattr(torch, plan.get("param_dtype", "bfloat16")),
            getattr(torch, plan.get("reduce_dtype", "float32")), pp_enabled=False)
        self.context = contextlib.nullcontext
        return model

    def __call__(self, ids, labels, micro_batches):
        if self.micro == 0:
            self.losses = []
        self.micro = (self.micro + 1) % micro_batches
        self.within = contextlib.ExitStack()
        self.within.enter_context(self.context())
        pred = self.model(ids)
        if self.case.get("release") == OF_2024:
            loss = torch.nn.functional.cross_entropy(pred.flatten(0, 1).float(), labels.flatten(0, 1))
            del pred
            return loss, None
        from torchtitan.components.loss import cross_entropy_loss
        self.loss_sum = cross_entropy_loss(pred, labels)
        loss = self.loss_sum / 1e3  # global_valid_tokens, a number
        del pred
        return loss, None

    def backward(self, loss):
        with self.within:
            loss.backward()
        self.loss_sum = None
        self.losses.append(loss.detach())

    def clip(self, params):
        if self.case.get("release") == OF_2024:
            torch.nn.utils.clip_grad_norm_(params, 1.0, foreach=True)
            return
        from torchtitan.distributed.utils import clip_grad_norm_
        clip_grad_norm_(params, 1.0, foreach=True)

    def buffers(self):
        yield from self.model.buffers()
