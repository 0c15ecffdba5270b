// A job from Megatron-LM's arguments, and the options that win over them.
#pragma once

#include <string_view>
#include <vector>

#include "cli/job_options.h"
#include "input/megatron_args.h"

namespace memplan {

/// Does this option say what an argument of Megatron-LM says too?
bool is_megatron_option(std::string_view option);

/// The arguments with what the options say in their words, which then stand last. An option that
/// repeats what the arguments give changes nothing, so that a report's request reads back as it
/// was. Throws Error{bad_input} where Megatron-LM has no such value.
class MegatronJob {
 public:
  explicit MegatronJob(const MegatronLaunch& launch) : launch_(launch) {}

  /// Fills model and strategy, but for what depends on the number of GPUs.
  void apply(const std::vector<Given>& given, Job& job);
  /// The rest, with Strategy::dp known.
  void finish(const std::vector<Given>& given, Job& job);

  const MegatronLaunch& launch() const { return launch_; }
  const MegatronArguments& arguments() const { return arguments_; }

 private:
  void read(Job& job);

  MegatronLaunch launch_;
  MegatronArguments arguments_;
  std::vector<std::string> assumptions_;  // that others made before
};

}  // namespace memplan
