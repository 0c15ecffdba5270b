// Predictions against measurements: every case, and the error table.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "job/measured.h"
#include "report/report.h"

namespace memplan {

/// One figure of one case: answered, or refused.
struct CaseFigure {
  std::string id, source, figure;
  FigureValue measured, predicted;  ///< where `refused` is empty
  std::string refused;              ///< why there is no prediction
};

/// (predicted - measured) / measured; of names 0 where they agree, else 1. Nothing measured: 0
/// where nothing is predicted, else 1.
double relative_error(const CaseFigure& figure);

/// The errors of one figure in one source, or in all.
struct ErrorRow {
  std::string source, figure;
  int64_t refused = 0;
  std::vector<double> errors;  ///< signed, sorted by size

  int64_t cases() const { return static_cast<int64_t>(errors.size()); }
};

/// "mean", "median", "p95" (nearest rank) and "max" of the sizes of errors; "bias", their signed
/// mean; "under" and "exact", the shares of cases under-estimated and without error; "within0.1%",
/// the share of errors of at most that size; "refused", the share of cases without a prediction.
/// Nothing where there is no case.
std::optional<double> statistic(const ErrorRow& row, std::string_view name);
/// Is there such a statistic?
bool is_statistic(std::string_view name);
/// For messages.
std::vector<std::string_view> statistic_names();

/// The source of rows over all sources.
inline constexpr std::string_view kAllSources = "all";

/// Rows by source in order of appearance, then over all. A figure "peak_at.PHASE" brings a second
/// row "uncommon_at.PHASE": its cases whose operator is not the row's commonest.
std::vector<ErrorRow> error_rows(const std::vector<CaseFigure>& figures);

struct ValidationStyle {
  TextStyle text;
  bool cases = false;  ///< list every case
};
std::string render_validation(const std::vector<CaseFigure>& figures, const ValidationStyle& style);
/// The same as tables of Markdown.
std::string render_validation_markdown(const std::vector<CaseFigure>& figures);
std::string render_validation_json(const std::vector<CaseFigure>& figures);

}  // namespace memplan
