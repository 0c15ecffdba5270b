// The parts of apply_megatron.
#pragma once

#include "input/megatron_args.h"

namespace memplan {

/// ModelSpec of GPTModel (megatron_model.cc).
void apply_megatron_model(const MegatronValues& values, Job& job);
/// What pretrain_t5.py makes of it, once all else is applied (megatron_t5.cc).
void apply_megatron_t5(const MegatronValues& values, Job& job);
/// Whether an argument of a hybrid model is given (megatron_hybrid.cc).
bool says_hybrid(const MegatronValues& values);
/// Refuses such arguments.
void refuse_hybrid(const MegatronValues& values);
/// Turns the pattern of a hybrid model into its letters alone, the number of layers and, where it
/// has stages, the pipeline's layout. Throws Error{bad_input, not_modelled}.
void expand_hybrid(MegatronValues& values);
/// What pretrain_mamba.py makes of the arguments, once all else is applied.
void apply_megatron_hybrid(const MegatronValues& values, Job& job);
/// Parallelism, with the rules that need no number of GPUs (megatron_parallel.cc).
void apply_megatron_parallel(const MegatronValues& values, Job& job);
/// Number formats, optimizer, recomputation, kernels (megatron_training.cc).
void apply_megatron_training(const MegatronValues& values, Job& job);
/// Variables that change memory (megatron_training.cc).
void apply_megatron_environment(const MegatronArguments& arguments, Job& job);

/// Throws Error{bad_input} naming the argument: "--num-layers is missing".
[[noreturn]] void megatron_missing(std::string_view argument, std::string_view example);
/// Throws Error{bad_input} at the argument's place, or naming it where it has a default.
[[noreturn]] void megatron_bad(const std::string& where, std::string_view argument,
                               std::string problem, std::string hint);
/// Throws Error{not_modelled} likewise.
[[noreturn]] void megatron_refuse(const std::string& where, std::string problem);

}  // namespace memplan
