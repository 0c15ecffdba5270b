#!/usr/bin/env bash
# --weights: does the checkpoint hold this model?
source "$(dirname "$0")/../expect.sh"

# A safetensors file of bf16 zeros: FILE NAME:d0,d1 …
stored() {
  local file=$1 offset=0 header="" name shape count size
  shift
  for tensor in "$@"; do
    name=${tensor%:*} shape=${tensor#*:} count=1
    for size in ${shape//,/ }; do count=$((count * size)); done
    header+="${header:+,}\"$name\":{\"dtype\":\"BF16\",\"shape\":[$shape],"
    header+="\"data_offsets\":[$offset,$((offset + 2 * count))]}"
    offset=$((offset + 2 * count))
  done
  header="{$header}"
  local length=${#header} bytes=""
  for _ in 1 2 3 4 5 6 7 8; do
    bytes+=$(printf '\\x%02x' $((length & 255)))
    length=$((length >> 8))
  done
  { printf '%b' "$bytes"; printf '%s' "$header"; head -c "$offset" /dev/zero; } >"$file"
}

mkdir "$scratch/llama" "$scratch/moe" "$scratch/gpt2"
sizes='"vocab_size": 16, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1,
  "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 32,
  "tie_word_embeddings": false'
echo "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], $sizes}" \
  >"$scratch/llama/config.json"
layer=model.layers.0
attention=("$layer.self_attn.q_proj.weight:8,8" "$layer.self_attn.k_proj.weight:8,8"
  "$layer.self_attn.v_proj.weight:8,8" "$layer.self_attn.o_proj.weight:8,8"
  "$layer.input_layernorm.weight:8" "$layer.post_attention_layernorm.weight:8")
mlp=("$layer.mlp.gate_proj.weight:12,8" "$layer.mlp.up_proj.weight:12,8" "$layer.mlp.down_proj.weight:8,12")
ends=(model.embed_tokens.weight:16,8 model.norm.weight:8 lm_head.weight:16,8)
check=(--gpu h100-80g --weights)

# The right file, with a buffer that old checkpoints hold.
stored "$scratch/llama/model.safetensors" "${attention[@]}" "${mlp[@]}" "${ends[@]}" \
  "$layer.self_attn.rotary_emb.inv_freq:2" "$layer.mlp.up_proj.weight_scale_inv:1,1"
expect 0 fit "$scratch/llama" "${check[@]}" "$scratch/llama/model.safetensors"
expect_err "weights: 12 tensors match"
expect_err "824 parameters"
expect 0 fit "$scratch/llama" "${check[@]}" "$scratch/llama" --quiet
checks=$((checks + 1))
[[ -z $err ]] || complain "--quiet talks"

# What differs is named.
stored "$scratch/less.safetensors" "${attention[@]:1}" "${mlp[@]}" "${ends[@]}"
expect 2 fit "$scratch/llama" "${check[@]}" "$scratch/less.safetensors"
expect_err "1 tensor is missing (model.layers.0.self_attn.q_proj.weight)"
stored "$scratch/other.safetensors" "${attention[@]}" "${mlp[@]}" "${ends[@]:0:2}" lm_head.weight:17,8 extra:3
expect 2 fit "$scratch/llama" "${check[@]}" "$scratch/other.safetensors"
expect_err "1 has another shape (lm_head.weight is [17, 8] and should be [16, 8])"
expect_err "1 is not the model's (extra)"
stored "$scratch/deeper.safetensors" "${attention[@]}" "${mlp[@]}" "${ends[@]}" \
  "${mlp[@]/layers.0/layers.1}"
expect 2 fit "$scratch/llama" "${check[@]}" "$scratch/deeper.safetensors"
expect_err "3 are not the model's"
expect 2 fit gpt2 "${check[@]}" "$scratch/llama/model.safetensors"
expect_err "does not hold gpt2"
expect 2 fit 7B "${check[@]}" "$scratch/llama/model.safetensors"
expect_err "bare size"
expect 2 fit gpt2 "${check[@]}" "$scratch/none.safetensors"
expect_err "no such file"

# Experts are stored one by one and counted together.
echo "{\"model_type\": \"mixtral\", \"architectures\": [\"MixtralForCausalLM\"],
  \"num_local_experts\": 2, \"num_experts_per_tok\": 1, $sizes}" >"$scratch/moe/config.json"
block=$layer.block_sparse_moe
experts=("$block.gate.weight:2,8")
for e in 0 1; do
  experts+=("$block.experts.$e.w1.weight:12,8" "$block.experts.$e.w3.weight:12,8" "$block.experts.$e.w2.weight:8,12")
done
stored "$scratch/moe/model.safetensors" "${attention[@]}" "${experts[@]}" "${ends[@]}"
expect 0 fit "$scratch/moe" "${check[@]}" "$scratch/moe"
expect_err "the experts of a layer compared by their elements"
stored "$scratch/moe/model.safetensors" "${attention[@]}" "${experts[@]:0:6}" "${ends[@]}"
expect 2 fit "$scratch/moe" "${check[@]}" "$scratch/moe"
expect_err "mlp.experts hold 480 elements and should hold 576"

# Names without the base model's prefix, and the head that is tied.
echo '{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 16, "n_embd": 8,
  "n_layer": 1, "n_head": 2, "n_positions": 32}' >"$scratch/gpt2/config.json"
gpt2=(wte.weight:16,8 wpe.weight:32,8 h.0.ln_1.weight:8 h.0.ln_1.bias:8 h.0.ln_2.weight:8 h.0.ln_2.bias:8
  h.0.attn.bias:1,1,32,32 h.0.attn.c_attn.weight:8,24 h.0.attn.c_attn.bias:24 h.0.attn.c_proj.weight:8,8
  h.0.attn.c_proj.bias:8 h.0.mlp.c_fc.weight:8,32 h.0.mlp.c_fc.bias:32 h.0.mlp.c_proj.weight:32,8
  h.0.mlp.c_proj.bias:8 ln_f.weight:8 ln_f.bias:8)
stored "$scratch/gpt2/model.safetensors" "${gpt2[@]}" lm_head.weight:16,8
expect 0 fit "$scratch/gpt2" "${check[@]}" "$scratch/gpt2"
expect_err "weights: 16 tensors match"

# An index without its shards gives names alone.
rm "$scratch/llama/model.safetensors"
{
  printf '{"metadata": {"total_size": 1648}, "weight_map": {'
  separator=""
  for tensor in "${attention[@]}" "${mlp[@]}" "${ends[@]}"; do
    printf '%s"%s": "model-1.safetensors"' "$separator" "${tensor%:*}"
    separator=", "
  done
  printf '}}'
} >"$scratch/llama/model.safetensors.index.json"
expect 0 fit "$scratch/llama" "${check[@]}" "$scratch/llama"
expect_err "match"
expect_err "model-1.safetensors"

finish
