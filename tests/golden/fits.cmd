# The first question of the README.
fit llama3-8b --gpu h100-80g --gpus 8 --zero 3 --seq 8192 --attention flash
