#include "cli/weights_check.h"

#include "lower/inventory.h"
#include "input/safetensors.h"

namespace memplan {
std::string check_weights(const ModelSpec& model, const std::string& path) {
  const WeightsFile file = read_weights(path);
  (void)model;
  return "weights: " + std::to_string(file.tensors.size()) + " tensors\n";
}
}  // namespace memplan
