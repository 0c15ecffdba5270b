// Small readings that the forms of measured cases have in common.
#pragma once

#include <optional>
#include <string>

#include "base/text.h"
#include "input/json.h"
#include "memplan/dtype.h"
#include "memplan/job.h"

namespace memplan {

/// The precision of weights, gradients and moments of one dtype, with torch.autocast or without.
Precision plain_precision(DType weights, std::optional<DType> autocast);

/// The value of a name as Python's libraries write it ("sgd_momentum", "SGD").
/// Throws Error{not_modelled} where memplan has no such thing: a case may be right all the same.
template <typename Enum>
Enum name_or_refuse(const JsonNode& node, std::string_view what) {
  const std::string name = node.text();
  for (const auto& row : names_of<Enum>())
    if (fold_case(row.name) == fold_case(name)) return row.value;
  throw node.error(std::string(what) + " '" + printable(name) + "' is not modelled", "",
                   ErrorKind::not_modelled);
}

/// As many GPUs as the strategy has ranks, of no matter which size: bytes are compared, not
/// verdicts.
void place_on_any_gpu(Job& job);

/// Throws Error{not_modelled} for the first key of an object that is none of `known`.
void refuse_unknown_keys(const JsonNode& object, const std::vector<std::string_view>& known);

}  // namespace memplan
