// Fields of a published record that mean the same in every source. All throw Error{not_modelled}
// where the record leaves the field out or memplan has no such thing.
#pragma once

#include <string>
#include <string_view>

#include "input/json.h"
#include "memplan/job.h"

namespace memplan {

/// "the record does not say the micro-batch".
Error unsaid(const JsonNode& line, std::string_view what);

/// A text of the record, or empty.
std::string published_text(const JsonNode& line, std::string_view key);

/// The model by its name's family and the record's own sizes.
ModelSpec published_model(const JsonNode& line);
/// Tokens of a sample: `seq`, or `otherwise` of the model's fields.
int64_t published_sequence(const JsonNode& line, std::string_view otherwise = "seq");
int64_t published_micro_batch(const JsonNode& line);
/// Throws where the record is of more than one GPU.
void require_one_gpu(const JsonNode& line);

/// "bf16-true (weights bf16) + bnb.nf4-dq", "fp16": by what the text begins with.
Precision published_precision(const JsonNode& line);
/// What the precision's text says of quantized weights.
Quantization published_quantization(const JsonNode& line);
OptimizerKind published_optimizer(const JsonNode& line);
Recompute published_recompute(const JsonNode& line);
/// Versions that framework_version names: "…, torch 2.13.0+cu130".
void published_versions(const JsonNode& line, Strategy& strategy);

/// Is a flag of the record's `flags` true?
bool published_flag(const JsonNode& line, std::string_view name);

}  // namespace memplan
