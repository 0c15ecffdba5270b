// The one exception of the library: what is wrong, where, and what to do.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace memplan {

enum class ErrorKind {
  bad_input,     ///< bad usage, a bad file, an impossible strategy: exit 2
  too_large,     ///< an exact count does not fit 63 bits: exit 2
  device_fault,  ///< a GPU, its driver or NCCL failed: exit 3
  not_modelled,  ///< a valid job that memplan refuses by name: exit 4
};

/// `what()` is the whole message: "WHERE: what is wrong; what to do".
class Error : public std::runtime_error {
 public:
  /// `where`: a file and JSON pointer ("config.json: /hidden_size"), an option ("--tp"), or empty.
  /// `hint`: the nearest valid name or the thing to do, as a sentence; may be empty.
  Error(ErrorKind kind, std::string where, std::string problem, std::string hint = {});

  ErrorKind kind() const { return kind_; }
  const std::string& where() const { return where_; }
  const std::string& problem() const { return problem_; }
  const std::string& hint() const { return hint_; }

  /// Exit code of the program: 2, 3 or 4.
  int exit_code() const;

 private:
  ErrorKind kind_;
  std::string where_, problem_, hint_;
};

/// The name of `names` nearest to `word` by edit distance (case ignored), or empty where none is
/// near enough to be a likely typo.
std::string nearest_name(std::string_view word, const std::vector<std::string_view>& names);

/// "did you mean 'llama3-8b'?", or "valid: a, b, c" for short lists, or empty.
std::string name_hint(std::string_view word, const std::vector<std::string_view>& names);

}  // namespace memplan
