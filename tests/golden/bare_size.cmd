# Only the number of parameters is known.
fit 7.5B --gpu v100-32g --gpus 64 --zero 1
