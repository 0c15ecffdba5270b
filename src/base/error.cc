#include "memplan/error.h"

#include <algorithm>
#include <numeric>

#include "base/text.h"

namespace memplan {
namespace {

std::string compose(const std::string& where, const std::string& problem, const std::string& hint) {
  std::string text = where.empty() ? problem : where + ": " + problem;
  if (!hint.empty()) text += "; " + hint;
  return text;
}

// Damerau-Levenshtein distance with adjacent transpositions (optimal string alignment).
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), now(b.size() + 1);
  std::iota(last.begin(), last.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const bool same = fold_case(a[i - 1]) == fold_case(b[j - 1]);
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (same ? 0u : 1u)});
      if (i > 1 && j > 1 && fold_case(a[i - 1]) == fold_case(b[j - 2]) &&
          fold_case(a[i - 2]) == fold_case(b[j - 1]))
        now[j] = std::min(now[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, now);
  }
  return last[b.size()];
}

}  // namespace

Error::Error(ErrorKind kind, std::string where, std::string problem, std::string hint)
    : std::runtime_error(compose(where, problem, hint)),
      kind_(kind),
      where_(std::move(where)),
      problem_(std::move(problem)),
      hint_(std::move(hint)) {}

int Error::exit_code() const {
  switch (kind_) {
    case ErrorKind::device_fault:
      return 3;
    case ErrorKind::not_modelled:
      return 4;
    case ErrorKind::bad_input:
    case ErrorKind::too_large:
      break;
  }
  return 2;
}

std::string nearest_name(std::string_view word, const std::vector<std::string_view>& names) {
  constexpr size_t kLongestWord = 64;  // longer words are no typos of our names
  if (word.empty() || word.size() > kLongestWord) return {};
  // A typo changes about one letter in three at most; shared beginnings break ties.
  size_t best = std::max<size_t>(1, word.size() / 3) + 1;
  std::string_view found;
  for (std::string_view name : names) {
    const size_t distance = edit_distance(word, name);
    if (distance < best) {
      best = distance;
      found = name;
    }
  }
  if (!found.empty()) return std::string(found);
  // "h100", "h100x" for "h100-80g": most of the word begins a name; the shortest such name.
  constexpr size_t kShortest = 3;
  const size_t most = std::max(kShortest, (2 * word.size() + 2) / 3);
  size_t longest = most - 1;
  for (std::string_view name : names) {
    const auto same = [](char x, char y) { return fold_case(x) == fold_case(y); };
    const auto end = std::mismatch(word.begin(), word.end(), name.begin(), name.end(), same).first;
    const size_t shared = static_cast<size_t>(end - word.begin());
    if (shared < most || shared < longest) continue;
    if (shared == longest && !found.empty() && name.size() >= found.size()) continue;
    longest = shared;
    found = name;
  }
  return std::string(found);
}

std::string name_hint(std::string_view word, const std::vector<std::string_view>& names) {
  if (const std::string near = nearest_name(word, names); !near.empty())
    return "did you mean '" + near + "'?";
  constexpr size_t kShortList = 16;
  if (names.empty() || names.size() > kShortList) return {};
  std::string list = "valid: ";
  for (size_t i = 0; i < names.size(); ++i) list += (i ? ", " : "") + std::string(names[i]);
  return list;
}

}  // namespace memplan
