# One preset.
show gpus h100-80g
