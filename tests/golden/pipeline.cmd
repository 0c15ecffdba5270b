# Kinds of ranks side by side, and a group that crosses nodes.
fit megatron-145.6b --cluster 192xdgx-a100 --tp 8 --pp 8 --global-batch 2304 --recompute full --sequence-parallel
