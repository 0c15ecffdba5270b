# LoRA trains little.
fit llama3-8b --gpu rtx-4090 --peft lora:r=16,targets=q_proj+v_proj --attention flash --seq 1024
