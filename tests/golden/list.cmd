# Each of several, impossible ones told.
fit llama3-8b --gpu h100-80g --gpus 16 --tp 1,2,3,16 --zero 1,3 --attention flash
