# Every line and every setting.
fit gpt2 --gpu h100-80g --gpus 2 --zero 2 --micro-batch 4 --explain
