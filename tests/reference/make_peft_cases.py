#!/usr/bin/env python3
"""Writes torch_cases_peft.json, the cases of torch_traces_peft.jsonl: each PEFT method on small models, in shapes
that differ in dtype, dropout, attention, checkpointing and sizes.

usage: make_peft_cases.py > torch_cases_peft.json
"""
import json

LLAMA = dict(model_type="llama", vocab_size=4099, hidden_size=384, intermediate_size=912, num_hidden_layers=3,
             num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=1024, pad_token_id=0)
QV = ["q_proj", "v_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]

# Method -> its config's arguments, and the name of its dropout.
METHODS = {
    "oft": (dict(method="oft", oft_block_size=32, target_modules=QV), "module_dropout"),
    "oft-r": (dict(method="oft", r=8, oft_block_size=0, target_modules=QV + MLP), "module_dropout"),
    "oft-exact": (dict(method="oft", oft_block_size=16, use_cayley_neumann=False, target_modules=QV), None),
    "oft-shared": (dict(method="oft", oft_block_size=24, block_share=True, num_cayley_neumann_terms=3,
                        target_modules=QV), None),
    "prefix": (dict(method="prefix_tuning", num_virtual_tokens=20), None),
    "prefix-mlp": (dict(method="prefix_tuning", num_virtual_tokens=12, prefix_projection=True,
                        encoder_hidden_size=320), None),
    "prompt": (dict(method="prompt_tuning", num_virtual_tokens=17), None),
    "p_tuning": (dict(method="p_tuning", num_virtual_tokens=20, encoder_hidden_size=288), None),
    "lora-embed": (dict(r=8, target_modules=["embed_tokens", "q_proj"]), "lora_dropout"),
    "lora-head": (dict(r=8, target_modules=["lm_head", "v_proj"]), "lora_dropout"),
    "adalora": (dict(method="adalora", init_r=12, total_step=100, target_modules=QV), "lora_dropout"),
    "boft": (dict(method="boft", boft_block_size=4, target_modules=QV), "boft_dropout"),
    "tokens": (dict(method="trainable_tokens", token_indices=[3, 5, 8]), None),
    "tokens-tied": (dict(method="trainable_tokens", token_indices=[3, 5, 8]), None),
    "bdlora": (dict(r=6, target_modules=MLP, use_bdlora=dict(
        nblocks=2, target_modules_bd_a=["o_proj", "down_proj"],
        target_modules_bd_b=["q_proj", "v_proj", "k_proj", "up_proj", "gate_proj"])), "lora_dropout"),
    "adaption": (dict(method="adaption_prompt", adapter_len=10, adapter_layers=2), None),
    "beft": (dict(method="beft", target_modules=["v_proj"]), None),
    "c3a": (dict(method="c3a", block_size=64, target_modules=QV), None),
    "deft": (dict(method="deft", r=8, target_modules=QV), "deft_dropout"),
    "fourierft": (dict(method="fourierft", n_frequency=500, target_modules=QV), None),
    "glora": (dict(method="glora", r=8, target_modules=QV), None),
    "glora-vector": (dict(method="glora", r=8, config_A_B="vector", config_C="vector", config_D_E="vector",
                          target_modules=QV), None),
    "gralora": (dict(method="gralora", r=16, gralora_k=2, target_modules=QV), "gralora_dropout"),
    "hira": (dict(method="hira", r=16, target_modules=QV), "hira_dropout"),
    "lily": (dict(method="lily", r=24, stride_A=1, num_B=2, target_modules=QV), None),
    "miss": (dict(method="miss", r=32, target_modules=QV), "miss_dropout"),
    "miss-bat": (dict(method="miss", r=32, init_weights="bat", target_modules=QV), "miss_dropout"),
    "psoft": (dict(method="psoft", r=32, target_modules=QV), "psoft_dropout"),
    "shira": (dict(method="shira", r=8, target_modules=QV), None),
    "tinylora": (dict(method="tinylora", r=2, u=16, target_modules=QV), "tinylora_dropout"),
    "vblora": (dict(method="vblora", r=4, num_vectors=32, vector_length=64, target_modules=QV), "vblora_dropout"),
    "waveft": (dict(method="waveft", n_frequency=500, target_modules=QV), None),
    "hra": (dict(method="hra", r=8, target_modules=QV), None),
    "randlora": (dict(method="randlora", r=32, target_modules=QV), "randlora_dropout"),
    "road": (dict(method="road", group_size=64, target_modules=QV), None),
    "delora": (dict(method="delora", r=8, target_modules=QV), "module_dropout"),
    "pvera": (dict(method="pvera", r=64, target_modules=QV), "pvera_dropout"),
    "ia3": (dict(method="ia3", target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
            None),
    "vera": (dict(method="vera", r=64, target_modules=QV), "vera_dropout"),
}
# Methods that lose their prefix under checkpointing, and fail.
UNCHECKED = {"prefix", "prefix-mlp"}
# Settings of the model that a case needs.
MODEL = {"tokens-tied": dict(tie_word_embeddings=True)}
# Methods whose code reads tensors' values.
REAL = {"boft", "tokens", "tokens-tied", "shira", "waveft", "psoft", "tinylora", "prefix-mlp", "vblora"}
# Shape -> what the case says besides.
SHAPES = {
    "bf16": (dict(batch=2, seq=160), False),
    "fp32-drop": (dict(batch=3, seq=96, weights="float32", attention="eager"), True),
    "bf16-ckpt-drop": (dict(batch=2, seq=136, checkpoint=True, padding_mask=True), True),
    "amp": (dict(batch=1, seq=224, weights="float32", autocast="bfloat16", clip=True), False),
}


def cases():
    for name, (arguments, dropout) in METHODS.items():
        for shape, (settings, drops) in SHAPES.items():
            peft = dict(arguments)
            if drops and dropout:
                peft[dropout] = 0.05
            config = {**LLAMA, **MODEL.get(name, {})}
            case = dict(id=f"{name}-{shape}", config=config, dropout=False, peft=peft, **settings)
            if name in UNCHECKED:
                case.pop("checkpoint", None)
                case["id"] = case["id"].replace("ckpt", "mask")
            if name in REAL:
                case["mode"] = "cpu"
            yield case


if __name__ == "__main__":
    print("[\n" + ",\n".join(json.dumps(case) for case in cases()) + "\n]")
