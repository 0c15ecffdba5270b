# GPU 0 of torch.nn.DataParallel carries more.
fit gpt2-medium --gpu v100-32g --gpus 4 --data-parallel data-parallel --micro-batch 2
