// What a safetensors file or its index says about the stored tensors; no weights are read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace memplan {

struct StoredTensor {
  std::string name;
  std::vector<int64_t> shape;  ///< empty also where the shapes are not known
  std::string dtype;           ///< safetensors' own name, "BF16"; empty where not known
  std::string file;            ///< the shard that holds it
};

struct WeightsFile {
  std::string name;                              ///< as the user gave it
  std::vector<StoredTensor> tensors = {};        ///< sorted by name
  bool shapes_known = false;                     ///< false: only an index was there
  int64_t total_bytes = 0;                       ///< of all tensors; 0: the index does not say
  std::vector<std::string> missing_shards = {};  ///< named by the index and not beside it
};

/// Reads the header of a safetensors file, an index (model.safetensors.index.json) with the shards
/// beside it, or the folder that holds either. Where a shard is missing, names and total size alone
/// are known.
/// Throws Error{bad_input}: not such a file, a header that is cut off, larger than 32 MiB or not
/// JSON, unknown dtype, shape and bytes that disagree, tensors that overlap, leave holes or reach
/// beyond the file, a tensor given twice, an index that names tensors its shard lacks.
WeightsFile read_weights(const std::string& path);

}  // namespace memplan
