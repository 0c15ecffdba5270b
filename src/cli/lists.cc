// "--tp 1,2,4": every combination of the values of all lists.
#include "base/text.h"
#include "cli/job_options.h"
#include "cli/settings.h"
#include "memplan/error.h"

namespace memplan {
namespace {

constexpr size_t kMostCombinations = 1000;

std::vector<std::string> items_of(const Given& given) {
  std::vector<std::string> items;
  for (const std::string_view item : split(given.text, ',')) {
    items.emplace_back(item);
    if (item.empty())
      throw Error(ErrorKind::bad_input, given.where,
                  "the list '" + given.text + "' has an empty item",
                  "write it as 1,2,4 without spaces");
  }
  return items;
}

bool is_list(const Given& given) {
  const SettingRow* row = find_setting(given.option);
  return row != nullptr && row->list && given.text.find(',') != std::string::npos;
}

// A slip in a value ends the whole list; a value that is merely impossible is a row of the answer.
void require_readable(const Given& given, const std::string& item) {
  Job scratch;
  try {
    find_setting(given.option)->apply(scratch, item, given.where);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::not_modelled) throw;
  }
}

}  // namespace

Combinations expand_lists(const std::vector<Given>& given) {
  Combinations out;
  out.all.push_back({{}, given});
  for (size_t i = 0; i < given.size(); ++i) {
    if (!is_list(given[i])) continue;
    const std::vector<std::string> items = items_of(given[i]);
    for (const std::string& item : items) require_readable(given[i], item);
    if (items.size() * out.all.size() > kMostCombinations)
      throw Error(ErrorKind::bad_input, given[i].where,
                  "the lists ask for more than " + std::to_string(kMostCombinations) + " jobs",
                  "shorten one of them");
    std::vector<Combination> longer;
    for (const Combination& before : out.all) {
      for (const std::string& item : items) {
        longer.push_back(before);
        longer.back().values.push_back(item);
        longer.back().settings[i].text = item;
      }
    }
    out.all = std::move(longer);
    out.options.push_back(given[i].option);
  }
  return out;
}

}  // namespace memplan
