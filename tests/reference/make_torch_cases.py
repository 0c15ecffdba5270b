#!/usr/bin/env python3
"""Writes torch_cases_more.json: cases for trace_step.py that torch_cases.json leaves out.

Sizes are odd on purpose, so that two dimensions are rarely equal by chance. Families and settings are crossed by
hand in PLAN; BIG are published shapes; the draw-… cases are combinations drawn with a fixed seed.

usage: make_torch_cases.py > torch_cases_more.json
"""
import json
import random

DRAWS = 38
SEED = 20260311


def decoder(**changes):
    return {"vocab_size": 5003, "hidden_size": 312, "intermediate_size": 837, "num_hidden_layers": 5,
            "num_attention_heads": 12, "num_key_value_heads": 3, "max_position_embeddings": 1024, "pad_token_id": 0,
            **changes}


LATENT = {"qk_rope_head_dim": 24, "qk_nope_head_dim": 40, "v_head_dim": 36, "kv_lora_rank": 88, "num_key_value_heads": 12,
          "moe_intermediate_size": 120, "n_routed_experts": 6, "num_experts_per_tok": 2, "n_shared_experts": 1,
          "first_k_dense_replace": 1}
ENCODER = {"vocab_size": 3001, "hidden_size": 228, "intermediate_size": 607, "num_hidden_layers": 4,
           "num_attention_heads": 6, "max_position_embeddings": 300}
GPT = {"vocab_size": 4999, "n_embd": 260, "n_layer": 4, "n_head": 10, "n_positions": 600}

CONFIGS = {
    "llama": decoder(),
    "mistral": decoder(head_dim=20, sliding_window=None),
    "mixtral": decoder(num_hidden_layers=3, num_local_experts=5, num_experts_per_tok=2, intermediate_size=200),
    "qwen2": decoder(num_key_value_heads=1, tie_word_embeddings=True),
    "qwen2_moe": decoder(num_hidden_layers=3, num_experts=7, num_experts_per_tok=3, moe_intermediate_size=120,
                         shared_expert_intermediate_size=251),
    "qwen3": decoder(head_dim=44, tie_word_embeddings=True),
    "qwen3_moe": decoder(head_dim=44, num_hidden_layers=3, num_experts=9, num_experts_per_tok=2,
                         moe_intermediate_size=72),
    "gemma": decoder(num_key_value_heads=1, head_dim=56),
    "gemma2": decoder(head_dim=36, sliding_window=96),
    "gemma3_text": decoder(head_dim=28, sliding_window=64, num_hidden_layers=7),
    "gpt2": GPT,
    "gpt_neox": {"vocab_size": 4001, "hidden_size": 264, "intermediate_size": 777, "num_hidden_layers": 4,
                 "num_attention_heads": 11, "max_position_embeddings": 600},
    "gptj": {**GPT, "rotary_dim": 12},
    "opt": {"vocab_size": 3511, "hidden_size": 264, "ffn_dim": 901, "num_hidden_layers": 4, "num_attention_heads": 12,
            "max_position_embeddings": 600, "word_embed_proj_dim": 264},
    "bloom": {"vocab_size": 3517, "hidden_size": 252, "n_layer": 4, "n_head": 9},
    "falcon": {"vocab_size": 3023, "hidden_size": 252, "num_hidden_layers": 4, "num_attention_heads": 9},
    "phi": decoder(num_key_value_heads=4, hidden_size=288),
    "phi3": decoder(max_position_embeddings=4096, original_max_position_embeddings=4096),
    "olmo2": decoder(num_key_value_heads=4),
    "starcoder2": decoder(tie_word_embeddings=True),
    "stablelm": decoder(num_key_value_heads=6),
    "granite": decoder(),
    "cohere": decoder(logit_scale=0.0625),
    "deepseek_v2": decoder(**LATENT, q_lora_rank=None, num_hidden_layers=3, topk_method="greedy", n_group=1, topk_group=1),
    "deepseek_v3": decoder(**LATENT, q_lora_rank=101, num_hidden_layers=3, n_group=2, topk_group=1),
    "gpt_oss": decoder(num_hidden_layers=4, head_dim=32, num_local_experts=5, num_experts_per_tok=2, sliding_window=60,
                       intermediate_size=216, layer_types=["sliding_attention", "full_attention"] * 2),
    "bert": ENCODER,
    "roberta": {**ENCODER, "pad_token_id": 1},
    "deberta-v2": {**ENCODER, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 40,
                   "norm_rel_ebd": "layer_norm", "share_att_key": True, "position_biased_input": False,
                   "type_vocab_size": 0},
    "t5": {"vocab_size": 2503, "d_model": 244, "d_kv": 36, "d_ff": 611, "num_layers": 3, "num_decoder_layers": 4,
           "num_heads": 7, "decoder_start_token_id": 0},
}
EAGER_ONLY = ("bloom", "t5", "deberta-v2", "gptj", "gpt_oss")

# Experts run in torch.nn.functional.grouped_mm. On fake tensors it wants rows of whole 16 bytes and bf16.
EXPERTS = ("mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v2", "deepseek_v3", "gpt_oss")

# What a word in a plan stands for.
WORDS = {
    "bf16": {}, "fp32": {"weights": "float32"}, "fp16": {"weights": "float16"},
    "amp": {"weights": "float32", "autocast": "bfloat16"}, "eager": {"attention": "eager"},
    "mask": {"padding_mask": True}, "ckpt": {"checkpoint": True, "keep_outputs": False},
    "ckptkeep": {"checkpoint": True}, "drop": {"dropout": True}, "free": {"keep_outputs": False}, "clip": {"clip": True},
    "acc": {"micro_batches": 4}, "cpu": {"mode": "cpu"}, "view": {"parallel": {"kind": "ddp", "bucket_view": True}},
    "ddp": {"parallel": {"kind": "ddp"}}, "ddp2": {"parallel": {"kind": "ddp", "bucket_mb": 2}},
    "view3": {"parallel": {"kind": "ddp", "bucket_view": True, "bucket_mb": 3}},
    "cast": {"autocast": "bfloat16"}, "nf4": {"quantization": {"kind": "nf4", "double_quant": False}},
    "fp4": {"quantization": {"kind": "fp4", "double_quant": False}},
    "nf4dq": {"quantization": {"kind": "nf4", "double_quant": True}},
    "nf4prep": {"quantization": {"kind": "nf4", "double_quant": True, "prepare": True}},
    "noopt": {"optimizer": {"name": None}},
    "bias": {"trainable": {"kind": "bias"}}, "last2": {"trainable": {"kind": "last_layers", "layers": 2}},
}
OPTIMIZERS = ("adamw", "adam", "sgd", "sgd_momentum", "adafactor")
for name in OPTIMIZERS:
    for impl in ("foreach", "fused", "forloop"):
        WORDS[f"{name}.{impl}"] = {"optimizer": {"name": name, "impl": impl}}

QV = ["q_proj", "v_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]
PEFT = {
    "lora-qv": {"r": 6, "target_modules": QV},
    "lora-drop": {"r": 6, "target_modules": QV + MLP, "lora_dropout": 0.1},
    "lora-all": {"r": 5, "target_modules": "all-linear"},
    "lora-all-drop": {"r": 5, "target_modules": "all-linear", "lora_dropout": 0.1},
    "lora-regex": {"r": 7, "target_modules": r".*\.[12]\.(self_attn|mlp)\.[a-z]+_proj"},
    "lora-ranks": {"r": 4, "target_modules": QV + MLP, "rank_pattern": {"q_proj": 9, "down_proj": 3}},
    "lora-save": {"r": 4, "target_modules": QV, "modules_to_save": ["lm_head"]},
    "lora-save2": {"r": 4, "target_modules": QV, "modules_to_save": ["embed_tokens", "lm_head"]},
    "lora-dora": {"r": 6, "target_modules": QV + MLP, "use_dora": True},
    "lora-dora-drop": {"r": 6, "target_modules": QV, "use_dora": True, "lora_dropout": 0.1},
    "lora-rs": {"r": 11, "target_modules": "all-linear", "use_rslora": True},
    "lora-bias": {"r": 4, "target_modules": QV, "bias": "lora_only"},
    "lora-biasall": {"r": 4, "target_modules": QV, "bias": "all"},
    "lora-loraB": {"r": 4, "target_modules": QV, "lora_bias": True},
    "lora-layers": {"r": 4, "target_modules": QV, "layers_to_transform": [1, 3]},
    "lora-embed": {"r": 4, "target_modules": ["embed_tokens", "q_proj"]},
    "lora-head": {"r": 4, "target_modules": ["lm_head", "o_proj"]},
    "lora-default": {"r": 8},
    "lora-qkv": {"r": 6, "target_modules": ["query_key_value"], "lora_dropout": 0.1},
    "lora-gpt2": {"r": 6, "target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True},
    "lora-t5": {"r": 6, "target_modules": ["q", "v", "wo"], "lora_dropout": 0.1},
    "lora-bert": {"r": 6, "target_modules": ["query", "value"]},
    "ia3": {"method": "ia3", "target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"]},
    "vera": {"method": "vera", "target_modules": QV, "r": 32},
    "oft": {"method": "oft", "target_modules": QV, "oft_block_size": 12},
    "boft": {"method": "boft", "target_modules": QV, "boft_block_size": 12},
    "loha": {"method": "loha", "target_modules": QV, "r": 5},
    "lokr": {"method": "lokr", "target_modules": QV, "r": 5},
    "adalora": {"method": "adalora", "target_modules": QV, "init_r": 6, "target_r": 3, "total_step": 100},
    "ln_tuning": {"method": "ln_tuning"},
    "prefix": {"method": "prefix_tuning", "num_virtual_tokens": 13},
    "prefix-mlp": {"method": "prefix_tuning", "num_virtual_tokens": 13, "prefix_projection": True,
                   "encoder_hidden_size": 100},
    "prompt": {"method": "prompt_tuning", "num_virtual_tokens": 11},
    "p_tuning": {"method": "p_tuning", "num_virtual_tokens": 9, "encoder_hidden_size": 120},
}
for name, arguments in PEFT.items():
    WORDS[name] = {"peft": arguments}

# (family, batch, seq, words, changes of the config)
PLAN = [
    ("llama", 3, 171, "fp16", {}),
    ("llama", 2, 203, "amp eager drop acc", {"attention_dropout": 0.1}),
    ("llama", 1, 333, "bf16 ckptkeep clip adamw.fused", {"head_dim": 18, "attention_bias": True, "mlp_bias": True}),
    ("llama", 5, 67, "bf16 mask ckpt", {"num_key_value_heads": 12, "tie_word_embeddings": True}),
    ("llama", 2, 130, "fp32 adam.foreach", {"num_hidden_layers": 1, "vocab_size": 777}),
    ("llama", 2, 130, "fp32 adam.fused clip", {"num_hidden_layers": 30, "vocab_size": 777}),
    ("llama", 2, 101, "fp32 adam.forloop acc", {}),
    ("llama", 2, 101, "bf16 sgd.fused acc clip", {}),
    ("llama", 2, 101, "amp sgd.forloop", {}),
    ("llama", 2, 101, "amp sgd_momentum.fused", {"tie_word_embeddings": True}),
    ("llama", 2, 101, "bf16 sgd_momentum.forloop clip", {}),
    ("llama", 2, 101, "bf16 noopt acc", {}),
    ("llama", 2, 55, "bf16 adafactor.foreach cpu", {}),
    ("llama", 2, 55, "fp32 adafactor.forloop cpu acc", {"num_hidden_layers": 2}),
    ("llama", 2, 61, "fp32 ddp2 cpu", {}),
    ("llama", 2, 61, "amp ddp2 acc cpu", {"tie_word_embeddings": True}),
    ("llama", 2, 61, "bf16 view3 clip cpu", {}),
    ("llama", 2, 61, "bf16 ddp2 ckptkeep cpu", {}),
    ("llama", 4, 77, "bf16", {"architectures": ["LlamaForSequenceClassification"], "num_labels": 5}),
    ("llama", 2, 99, "bf16 last2", {}),
    ("llama", 2, 99, "bf16 last2 ckpt", {"tie_word_embeddings": True}),
    ("llama", 2, 99, "amp bias", {"attention_bias": True, "mlp_bias": True}),
    ("llama", 2, 99, "bf16 lora-regex", {}),
    ("llama", 2, 99, "bf16 lora-ranks ckpt", {}),
    ("llama", 2, 99, "bf16 lora-save cpu", {}),
    ("llama", 2, 99, "bf16 lora-save2 ckpt cpu", {}),
    ("llama", 2, 99, "bf16 lora-dora", {}),
    ("llama", 2, 99, "amp lora-dora-drop drop", {}),
    ("llama", 2, 99, "bf16 lora-rs drop", {}),
    ("llama", 2, 99, "bf16 lora-bias", {"attention_bias": True}),
    ("llama", 2, 99, "bf16 lora-biasall", {"attention_bias": True, "mlp_bias": True}),
    ("llama", 2, 99, "bf16 lora-loraB", {}),
    ("llama", 2, 99, "bf16 lora-layers", {}),
    ("llama", 2, 99, "bf16 lora-embed", {}),
    ("llama", 2, 99, "bf16 lora-head drop", {}),
    ("llama", 2, 99, "amp lora-drop drop", {}),
    ("llama", 2, 99, "fp32 lora-all-drop acc", {}),
    ("llama", 2, 99, "bf16 ia3", {}),
    ("llama", 2, 99, "bf16 vera", {}),
    ("llama", 2, 99, "bf16 oft", {}),
    ("llama", 2, 99, "bf16 boft cpu", {}),
    ("llama", 2, 99, "bf16 loha cpu", {}),
    ("llama", 2, 99, "bf16 lokr cpu", {}),
    ("llama", 2, 99, "bf16 adalora", {}),
    ("llama", 2, 99, "bf16 ln_tuning", {}),
    ("llama", 2, 99, "bf16 prefix", {}),
    ("llama", 2, 99, "bf16 prefix-mlp cpu", {}),
    ("llama", 2, 99, "bf16 prompt", {}),
    ("llama", 2, 99, "bf16 p_tuning", {}),
    ("llama", 2, 99, "amp ia3 acc", {}),
    ("llama", 2, 99, "bf16 nf4 lora-all cpu", {}),
    ("llama", 2, 99, "bf16 nf4dq lora-all-drop drop ckpt cpu", {}),
    ("llama", 2, 99, "bf16 fp4 lora-qv cpu", {"tie_word_embeddings": True}),
    ("llama", 2, 99, "bf16 nf4prep lora-all ckpt cpu", {}),
    ("mistral", 2, 150, "bf16", {"sliding_window": 64}),
    ("mistral", 2, 150, "amp eager", {"sliding_window": 64}),
    ("mistral", 1, 257, "fp16 mask", {"sliding_window": 100}),
    ("mistral", 3, 90, "bf16 lora-all-drop", {}),
    ("mistral", 2, 150, "bf16 ckpt", {"sliding_window": 64}),
    ("mistral", 3, 75, "bf16 cast nf4prep lora-all-drop drop ckptkeep cpu", {}),
    ("mixtral", 2, 77, "amp", {}),
    ("mixtral", 2, 77, "fp32", {}),
    ("mixtral", 3, 61, "bf16 eager ckptkeep", {}),
    ("mixtral", 2, 77, "bf16 lora-qv", {}),
    ("mixtral", 2, 77, "bf16 acc clip", {"num_experts_per_tok": 1}),
    ("qwen2", 3, 111, "amp mask", {}),
    ("qwen2", 2, 140, "bf16 eager ckptkeep", {"tie_word_embeddings": False}),
    ("qwen2", 2, 140, "fp16 free", {"use_sliding_window": True, "sliding_window": 50, "max_window_layers": 2}),
    ("qwen2", 2, 140, "bf16 lora-biasall", {}),
    ("qwen2", 2, 110, "bf16 cast nf4prep lora-qv cpu", {}),
    ("qwen2_moe", 2, 83, "bf16", {}),
    ("qwen2_moe", 2, 83, "amp", {}),
    ("qwen2_moe", 1, 83, "bf16 ckpt", {"decoder_sparse_step": 2}),
    ("qwen2_moe", 2, 83, "fp32 mask", {"norm_topk_prob": True}),
    ("qwen3", 2, 120, "fp16 ckptkeep", {}),
    ("qwen3", 2, 120, "bf16 eager mask", {"attention_bias": True}),
    ("qwen3", 3, 85, "amp lora-qv", {}),
    ("qwen3", 2, 120, "bf16 sgd.foreach acc", {"num_key_value_heads": 12, "tie_word_embeddings": False}),
    ("qwen3_moe", 2, 72, "bf16", {}),
    ("qwen3_moe", 2, 72, "amp ckptkeep", {}),
    ("qwen3_moe", 1, 144, "bf16 eager", {"norm_topk_prob": True}),
    ("qwen3_moe", 2, 72, "bf16 lora-qv ckpt", {}),
    ("gemma", 2, 105, "bf16", {}),
    ("gemma", 2, 105, "amp", {"tie_word_embeddings": False}),
    ("gemma", 1, 210, "bf16 eager ckpt", {}),
    ("gemma", 2, 105, "fp32 mask", {}),
    ("gemma2", 2, 140, "fp16", {}),
    ("gemma2", 2, 140, "bf16 eager", {"final_logit_softcapping": None}),
    ("gemma2", 2, 140, "amp eager ckptkeep", {}),
    ("gemma2", 2, 140, "bf16 mask lora-qv", {}),
    ("gemma3_text", 2, 150, "bf16", {}),
    ("gemma3_text", 2, 150, "amp", {}),
    ("gemma3_text", 1, 150, "bf16 eager ckpt", {}),
    ("gemma3_text", 2, 150, "bf16 mask acc", {}),
    ("gpt2", 3, 91, "bf16 drop eager", {}),
    ("gpt2", 3, 91, "amp drop", {}),
    ("gpt2", 3, 91, "fp16 ckptkeep drop", {"activation_function": "relu"}),
    ("gpt2", 2, 91, "fp32 view3 cpu", {}),
    ("gpt2", 3, 91, "bf16 lora-gpt2 drop", {}),
    ("gpt2", 3, 91, "bf16 bias", {}),
    ("gpt2", 4, 65, "bf16", {"architectures": ["GPT2ForSequenceClassification"], "num_labels": 3, "pad_token_id": 0}),
    ("gpt2", 2, 91, "bf16 adafactor.forloop cpu clip", {}),
    ("gpt_neox", 2, 93, "bf16", {}),
    ("gpt_neox", 2, 93, "amp eager", {"use_parallel_residual": False}),
    ("gpt_neox", 2, 93, "fp32 ckptkeep mask", {"attention_bias": False}),
    ("gpt_neox", 2, 93, "bf16 lora-qkv drop", {"hidden_dropout": 0.1, "attention_dropout": 0.1}),
    ("gpt_neox", 2, 93, "bf16 nf4dq lora-qkv cpu", {}),
    ("gptj", 2, 88, "bf16", {}),
    ("gptj", 2, 88, "amp drop", {"resid_pdrop": 0.1, "attn_pdrop": 0.1, "embd_pdrop": 0.1}),
    ("gptj", 2, 88, "bf16 ckpt", {}),
    ("gptj", 2, 88, "fp32 mask", {"n_inner": 555}),
    ("gptj", 2, 88, "bf16 lora-qv", {}),
    ("opt", 2, 97, "bf16 drop", {}),
    ("opt", 2, 97, "amp eager mask", {}),
    ("opt", 2, 97, "fp16 ckpt", {"do_layer_norm_before": False, "word_embed_proj_dim": 132}),
    ("opt", 2, 97, "fp32 lora-biasall", {"activation_function": "gelu"}),
    ("opt", 2, 97, "fp32 nf4 lora-qv cpu", {}),
    ("bloom", 2, 89, "bf16", {}),
    ("bloom", 2, 89, "amp drop", {"hidden_dropout": 0.1, "attention_dropout": 0.1}),
    ("bloom", 2, 89, "bf16 ckptkeep", {"apply_residual_connection_post_layernorm": True}),
    ("bloom", 2, 89, "fp32 mask lora-qkv", {}),
    ("falcon", 2, 94, "bf16", {}),
    ("falcon", 2, 94, "amp eager", {"new_decoder_architecture": True, "num_kv_heads": 3}),
    ("falcon", 2, 94, "bf16 ckpt", {"new_decoder_architecture": True, "num_kv_heads": 3}),
    ("falcon", 2, 94, "bf16 eager", {"alibi": True, "parallel_attn": False, "multi_query": False, "bias": True}),
    ("falcon", 2, 94, "fp32 mask", {}),
    ("phi", 2, 102, "bf16", {}),
    ("phi", 2, 102, "amp drop", {"resid_pdrop": 0.1, "embd_pdrop": 0.1}),
    ("phi", 2, 102, "bf16 eager ckptkeep", {"qk_layernorm": True}),
    ("phi", 2, 102, "fp32 mask", {"partial_rotary_factor": 0.75}),
    ("phi3", 2, 107, "amp eager", {}),
    ("phi3", 2, 107, "fp16 mask", {"sliding_window": 40}),
    ("phi3", 2, 107, "bf16 drop free", {"resid_pdrop": 0.1, "embd_pdrop": 0.1}),
    ("phi3", 2, 107, "bf16 lora-all-drop ckptkeep", {}),
    ("olmo2", 2, 113, "bf16", {}),
    ("olmo2", 2, 113, "amp", {}),
    ("olmo2", 2, 113, "bf16 eager ckpt", {"attention_bias": True}),
    ("olmo2", 2, 113, "fp32 mask lora-qv", {}),
    ("starcoder2", 2, 109, "bf16", {}),
    ("starcoder2", 2, 109, "amp", {"sliding_window": 48}),
    ("starcoder2", 2, 109, "bf16 eager ckpt drop", {"residual_dropout": 0.1, "embedding_dropout": 0.1}),
    ("starcoder2", 2, 109, "fp32 mask", {"tie_word_embeddings": False, "use_bias": False}),
    ("stablelm", 2, 103, "bf16", {}),
    ("stablelm", 2, 103, "amp eager", {"use_qkv_bias": True, "qk_layernorm": True}),
    ("stablelm", 2, 103, "bf16 ckptkeep", {"use_parallel_residual": True}),
    ("stablelm", 2, 103, "fp32 mask", {"partial_rotary_factor": 0.4}),
    ("granite", 2, 104, "bf16", {"logits_scaling": 4.0, "residual_multiplier": 0.22}),
    ("granite", 2, 104, "amp", {}),
    ("granite", 2, 104, "bf16 eager ckpt", {"attention_bias": True, "tie_word_embeddings": True}),
    ("granite", 2, 104, "fp32 mask", {"mlp_bias": True}),
    ("cohere", 2, 106, "bf16", {}),
    ("cohere", 2, 106, "amp", {"use_qk_norm": True}),
    ("cohere", 2, 106, "bf16 eager ckpt", {}),
    ("cohere", 2, 106, "fp32 mask", {"tie_word_embeddings": False}),
    ("deepseek_v2", 2, 81, "bf16", {}),
    ("deepseek_v2", 2, 81, "amp", {"q_lora_rank": 70}),
    ("deepseek_v2", 2, 81, "bf16 eager ckptkeep", {}),
    ("deepseek_v2", 2, 81, "fp32 mask", {"n_shared_experts": 2}),
    ("deepseek_v3", 2, 82, "bf16", {}),
    ("deepseek_v3", 2, 82, "amp", {}),
    ("deepseek_v3", 2, 82, "bf16 eager ckpt", {"q_lora_rank": None}),
    ("deepseek_v3", 2, 82, "fp32 mask", {"rope_interleave": False}),
    ("gpt_oss", 2, 84, "bf16", {}),
    ("gpt_oss", 2, 84, "amp", {}),
    ("gpt_oss", 2, 84, "bf16 ckpt", {}),
    ("gpt_oss", 2, 84, "bf16 mask acc", {}),
    ("bert", 3, 87, "bf16 drop", {}),
    ("bert", 3, 87, "amp eager drop", {}),
    ("bert", 3, 87, "fp16 mask ckptkeep", {}),
    ("bert", 3, 87, "fp32 view3 cpu", {}),
    ("bert", 5, 70, "bf16", {"architectures": ["BertForSequenceClassification"], "num_labels": 4}),
    ("bert", 5, 70, "bf16 lora-bert", {"architectures": ["BertForSequenceClassification"], "num_labels": 4}),
    ("roberta", 3, 87, "bf16", {}),
    ("roberta", 3, 87, "amp drop", {}),
    ("roberta", 3, 87, "fp32 eager ckpt", {}),
    ("roberta", 3, 87, "bf16 mask acc clip", {}),
    ("roberta", 5, 70, "amp drop", {"architectures": ["RobertaForSequenceClassification"], "num_labels": 3}),
    ("roberta", 3, 87, "bf16 last2", {}),
    ("deberta-v2", 3, 86, "bf16", {}),
    ("deberta-v2", 3, 86, "amp drop", {}),
    ("deberta-v2", 3, 86, "fp32 ckptkeep", {"pos_att_type": ["c2p"], "share_att_key": False}),
    ("deberta-v2", 2, 86, "bf16 mask", {"conv_kernel_size": 3, "conv_act": "gelu"}),
    ("deberta-v2", 2, 86, "bf16", {"relative_attention": False, "position_biased_input": True}),
    ("deberta-v2", 4, 66, "fp32 drop cpu", {"architectures": ["DebertaV2ForSequenceClassification"], "num_labels": 3}),
    ("t5", 2, 78, "bf16", {}),
    ("t5", 2, 78, "amp drop", {}),
    ("t5", 2, 78, "bf16 ckptkeep", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    ("t5", 2, 78, "fp32 mask drop", {}),
    ("t5", 2, 78, "bf16 lora-t5 drop", {}),
    ("t5", 2, 78, "fp32 adafactor.forloop cpu", {}),
]

# Published shapes; models/NAME.json of memplan's own presets. No fused optimizer here: for want of a kernel on fake
# tensors PyTorch runs it on real ones.
BIG = [
    ("llama3-70b", 1, 2048, "bf16 lora-all ckptkeep"),
    ("qwen2.5-14b", 1, 2500, "bf16 ckpt sgd_momentum.foreach"),
    ("gemma2-9b", 1, 1500, "amp ckpt"),
    ("bloom-7b1", 1, 900, "bf16"),
    ("opt-6.7b", 2, 1300, "amp clip"),
    ("t5-3b", 1, 700, "bf16"),
    ("command-r", 1, 1000, "bf16 lora-qv"),
    ("olmo2-7b", 1, 1900, "bf16 adamw.forloop"),
    ("deberta-v2-xlarge", 4, 400, "fp32"),
    ("gpt-j-6b", 1, 1200, "fp16 ckptkeep"),
    ("stablelm-3b", 2, 1400, "bf16 mask"),
    ("granite-3.0-8b", 1, 1600, "bf16 lora-all-drop drop"),
]


def case(identity, config, batch, seq, words):
    made = {"id": identity, "config": config, "dropout": False, "batch": batch, "seq": seq}
    for word in words:
        made.update(WORDS[word])
    if config["model_type"] in EAGER_ONLY:
        made["attention"] = "eager"
    if config["model_type"] in EXPERTS and "bf16" not in words:
        made["mode"] = "cpu"
    return made


def drawn(rng, n):
    """A family, odd sizes and settings at random, among combinations that run."""
    family = rng.choice(sorted(CONFIGS))
    config = {"model_type": family, **CONFIGS[family]}
    for key in ("num_hidden_layers", "n_layer"):
        if key in config and "layer_types" not in config:
            config[key] = rng.randint(1, 9) + ("first_k_dense_replace" in config)
    config["vocab_size"] = rng.randint(700, 40000)
    if "num_key_value_heads" in config and "kv_lora_rank" not in config:
        config["num_key_value_heads"] = rng.choice((1, 2, 3, 4, 6, 12))
    if "intermediate_size" in config and "num_local_experts" not in config:
        config["intermediate_size"] = rng.randint(150, 1500)
    if family not in ("falcon", "opt", "roberta", "deberta-v2", "cohere", "bloom", "t5"):
        config["tie_word_embeddings"] = rng.random() < 0.5
    words = [rng.choice(("bf16", "bf16", "amp", "fp32", "fp16"))]
    words += [word for word, odds in (("eager", 0.3), ("mask", 0.25), ("acc", 0.25), ("clip", 0.3), ("drop", 0.3))
              if rng.random() < odds]
    words += rng.choice((["ckpt"], ["ckptkeep"], ["free"], [], [], []))
    words.append(rng.choice(("adamw", "adamw", "adam", "sgd", "sgd_momentum")) + "." +
                 rng.choice(("foreach", "fused", "forloop")))
    if rng.random() < 0.3 and family not in ("gpt_oss", "deberta-v2"):
        word = rng.choice(("lora-all", "lora-all-drop", "lora-rs"))
        # PEFT takes no dropout on experts, which "all-linear" includes.
        words.append("lora-all" if family in EXPERTS and word == "lora-all-drop" else word)
    return case(f"draw-{n:02d}-{family}", config, rng.randint(1, 6), rng.randint(40, 290), words)


def main():
    cases, seen = [], {}
    for family, batch, seq, words, changes in PLAN:
        seen[family] = seen.get(family, 0) + 1
        identity = f"{family}-{seen[family]:02d}-{words.replace(' ', '-')}"
        cases.append(case(identity, {"model_type": family, **CONFIGS[family], **changes}, batch, seq, words.split()))
    for name, batch, seq, words in BIG:
        with open(f"../../models/{name}.json") as f:
            config = json.load(f)
        config.pop("_source", None)
        cases.append(case(f"{name}-{words.replace(' ', '-')}", config, batch, seq, words.split()))
    rng = random.Random(SEED)
    cases += [drawn(rng, n + 1) for n in range(DRAWS)]
    print("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]")


if __name__ == "__main__":
    main()
