// $((…)) of whole numbers.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace memplan {

/// Evaluates + - * / %, unary minus, brackets, whole numbers and names, with or without '$' or
/// ${ }; `value_of` gives a name's text. Nothing where the text is no such expression, a name is
/// not known or no number, the result does not fit 63 bits, or something is divided by zero.
std::optional<int64_t> shell_arithmetic(
    std::string_view text,
    const std::function<std::optional<std::string>(std::string_view)>& value_of);

}  // namespace memplan
