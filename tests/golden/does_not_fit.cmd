# Too much for one card: what to change.
fit gpt2-xl --gpu v100-32g --micro-batch 8
