# Experts, divided.
fit mixtral-8x7b --cluster 2xdgx-h100 --ep 8 --zero 1 --pp 2 --attention flash --recompute full
