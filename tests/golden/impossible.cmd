# Nothing on stdout, exit code 2.
fit llama3-8b --gpu h100-80g --gpus 8 --tp 3
