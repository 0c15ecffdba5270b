#include "input/sample_lengths.h"

#include <charconv>
#include <cmath>
#include <map>

#include "base/text.h"
#include "input/json.h"
#include "input/text_file.h"
#include "memplan/error.h"

namespace memplan {
namespace {

constexpr size_t kMaxBytes = size_t{256} << 20;
constexpr int64_t kMostTokens = int64_t{1} << 40;
constexpr int64_t kMostSamples = int64_t{1} << 50;

using Counts = std::map<int64_t, int64_t>;

[[noreturn]] void bad(const std::string& where, std::string problem) {
  throw Error(ErrorKind::bad_input, where, std::move(problem),
              "a line is `TOKENS SAMPLES`, or TOKENS of one sample");
}

int64_t whole(std::string_view word, const std::string& where, int64_t most) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size() || value < 1 || value > most)
    bad(where, quoted(printable(word)) + " is no whole number from 1 to " + std::to_string(most));
  return value;
}

std::vector<std::string_view> words_of(std::string_view line) {
  line = line.substr(0, line.find('#'));
  std::vector<std::string_view> words;
  constexpr std::string_view kBlank = " \t\r,";
  for (size_t at = line.find_first_not_of(kBlank); at != line.npos;) {
    const size_t end = std::min(line.find_first_of(kBlank, at), line.size());
    words.push_back(line.substr(at, end - at));
    at = line.find_first_not_of(kBlank, end);
  }
  return words;
}

Counts from_text(std::string_view text, const std::string& path) {
  Counts counts;
  int64_t number = 0;
  for (std::string_view line : split(text, '\n')) {
    ++number;
    const std::vector<std::string_view> words = words_of(line);
    if (words.empty()) continue;
    const std::string where = printable(path) + ":" + std::to_string(number);
    if (words.size() > 2) bad(where, "holds " + std::to_string(words.size()) + " words");
    const int64_t tokens = whole(words[0], where, kMostTokens);
    counts[tokens] += words.size() == 2 ? whole(words[1], where, kMostSamples) : 1;
  }
  return counts;
}

Counts from_json(std::string_view text, const std::string& path) {
  const JsonDocument document(text, path);
  const JsonNode root = document.root();
  Counts counts;
  if (root.is_array())
    for (const JsonNode& tokens : root.items()) ++counts[tokens.count(1, kMostTokens)];
  else
    for (std::string_view key : root.require_object().keys()) {
      const JsonNode samples = root.at(key);
      counts[whole(key, samples.where(), kMostTokens)] += samples.count(1, kMostSamples);
    }
  return counts;
}

}  // namespace

int64_t SampleLengths::longer_than(int64_t tokens) const {
  int64_t out = 0;
  for (const auto& [length, count] : counts)
    if (length > tokens) out += count;
  return out;
}

int64_t SampleLengths::median_padded(int64_t micro_batch) const {
  const double wanted = std::pow(0.5, 1.0 / static_cast<double>(micro_batch));
  int64_t seen = 0;
  for (const auto& [length, count] : counts) {
    seen += count;
    if (static_cast<double>(seen) >= wanted * static_cast<double>(samples)) return length;
  }
  return longest();
}

SampleLengths SampleLengths::cut(int64_t tokens) const {
  SampleLengths out;
  out.samples = samples;
  for (const auto& [length, count] : counts)
    if (length < tokens) out.counts.emplace_back(length, count);
  if (const int64_t rest = longer_than(tokens - 1); rest > 0) out.counts.emplace_back(tokens, rest);
  return out;
}

SampleLengths read_sample_lengths(const std::string& path) {
  const std::string text = read_text_file(path, kMaxBytes);
  const size_t first = text.find_first_not_of(" \t\r\n");
  const bool json = first != text.npos && (text[first] == '{' || text[first] == '[');
  SampleLengths out;
  for (const auto& [length, count] : json ? from_json(text, path) : from_text(text, path)) {
    out.samples += count;
    if (out.samples > kMostSamples)
      bad(printable(path), "holds more than " + std::to_string(kMostSamples) + " samples");
    out.counts.emplace_back(length, count);
  }
  if (out.counts.empty()) bad(printable(path), "holds no length");
  return out;
}

}  // namespace memplan
