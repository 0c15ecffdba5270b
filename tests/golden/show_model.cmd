# One model.
show models mixtral-8x7b
