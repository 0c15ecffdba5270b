#include "memplan/model.h"

#include <algorithm>

#include "memplan/job.h"

namespace memplan {

int64_t ModelSpec::extra_or(std::string_view key, int64_t otherwise) const {
  const auto row =
      std::find_if(extra.begin(), extra.end(), [&](const auto& pair) { return pair.first == key; });
  return row == extra.end() ? otherwise : row->second;
}

Implementation implementation_of(Framework framework) {
  if (framework == Framework::litgpt) return Implementation::litgpt;
  if (framework == Framework::torchtune) return Implementation::torchtune;
  if (framework == Framework::torchtitan) return Implementation::torchtitan;
  if (framework == Framework::megatron) return Implementation::megatron;
  return Implementation::transformers;
}

bool runs_in_trainer(Framework framework) {
  return framework == Framework::huggingface || framework == Framework::fsdp1 ||
         framework == Framework::fsdp2 || framework == Framework::deepspeed;
}

}  // namespace memplan
