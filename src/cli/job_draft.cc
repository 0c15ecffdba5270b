#include "cli/job_draft.h"

#include <algorithm>
#include <utility>

namespace memplan {

const Given* JobDraft::find(std::string_view option) const {
  const auto found = std::ranges::find(settings, option, &Given::option);
  return found == settings.end() ? nullptr : &*found;
}

void JobDraft::apply(const SettingRow& row, const Given& setting) {
  if (setting.peft)
    built.job.strategy.peft = *setting.peft;
  else
    row.apply(built.job, setting.text, setting.where);
}

void JobDraft::from(std::string key, std::string origin) {
  std::erase_if(built.origins, [&](const Origin& o) { return o.key == key; });
  built.origins.push_back({std::move(key), std::move(origin)});
}
void JobDraft::assume(std::string what) { built.job.assumptions.push_back(std::move(what)); }

}  // namespace memplan
