// One reader for each source of published.jsonl that memplan answers.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "input/json.h"
#include "job/measured.h"
#include "memplan/job.h"

namespace memplan {

/// A key of a record's `measured` and the figure it is.
struct PublishedFigure {
  std::string_view key;
  std::string_view figure;
  double unit;  ///< bytes; 1: a count
  Answered answered = Answered::by_plan;
  std::string_view refused = {};  ///< why this source's figure is not held against memplan's
};

struct PublishedSource {
  std::string_view name;  ///< of `source`: a repository, or a part of a paper's title
  std::string_view file;  ///< a part of the repository's file; empty: any
  std::span<const PublishedFigure> figures;
  /// The record as a job. Throws Error{not_modelled} naming what the record does not say or
  /// memplan does not have.
  Job (*read)(const JsonNode& line);
  /// As much of it as its numbers of parameters need. Throws as `read`.
  Job (*read_model)(const JsonNode& line) = nullptr;
};

std::span<const PublishedSource> published_sources();

}  // namespace memplan
