#include "input/case_fields.h"

#include <algorithm>

namespace memplan {

Precision plain_precision(DType weights, std::optional<DType> autocast) {
  const auto plain = [&](const Precision& p) {
    return p.weight == weights && p.gradient == weights && p.optimizer == weights && !p.master;
  };
  Precision found;
  found.weight = found.gradient = found.optimizer = weights;
  found.master.reset();
  for (const auto& row : precisions()) {
    if (!plain(row.value)) continue;
    if (row.value.autocast == autocast) return row.value;
    if (!row.value.autocast) found = row.value;  // the name of its weights, at least
  }
  found.autocast = autocast;
  found.activation = autocast.value_or(weights);
  return found;
}

void place_on_any_gpu(Job& job) {
  job.cluster.gpu = custom_gpu(80 * kGiB);
  job.cluster.gpus = job.cluster.gpus_per_node = job.strategy.world();
}

void refuse_unknown_keys(const JsonNode& object, const std::vector<std::string_view>& known) {
  for (std::string_view key : object.require_object().keys())
    if (std::ranges::find(known, key) == known.end())
      throw object.at(key).error("the key '" + printable(key) + "' is not known",
                                 name_hint(key, known), ErrorKind::not_modelled);
}

}  // namespace memplan
