# States in host memory, which a node may not have.
fit llama3-8b --gpu a100-80g --gpus 8 --zero 3 --offload cpu --host-memory 128GiB --attention flash
