// How the rows of settings read their values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/text.h"
#include "cli/settings.h"
#include "memplan/error.h"
#include "memplan/job.h"

namespace memplan::setting {

[[noreturn]] inline void bad(std::string_view where, std::string problem, std::string hint) {
  throw Error(ErrorKind::bad_input, std::string(where), std::move(problem), std::move(hint));
}

inline bool parse_flag(std::string_view text, std::string_view where) {
  if (text == "true") return true;
  if (text == "false") return false;
  bad(where, quoted(text) + " is neither true nor false", "give the option alone to switch it on");
}

template <int64_t Strategy::*Member>
void count(Job& job, std::string_view text, std::string_view where) {
  job.strategy.*Member = parse_count(text, where);
}

template <typename Enum, Enum Strategy::*Member>
void choice(Job& job, std::string_view text, std::string_view where) {
  job.strategy.*Member = parse_name<Enum>(text, where);
}

template <bool Strategy::*Member>
void flag(Job& job, std::string_view text, std::string_view where) {
  job.strategy.*Member = parse_flag(text, where);
}

}  // namespace memplan::setting
