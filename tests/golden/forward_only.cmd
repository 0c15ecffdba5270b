# No training.
fit t5-large --gpu l4 --forward-only --micro-batch 4 --seq 512
