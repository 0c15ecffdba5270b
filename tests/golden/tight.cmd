# Fits, but only if the allocator wastes little.
fit llama3-8b --gpu h100-80g --gpus 8 --zero 3 --recompute selective --seq 10240
