// Jobs whose samples differ in length: --lengths.
#pragma once

#include <string>
#include <vector>

#include "cli/job_options.h"
#include "input/sample_lengths.h"
#include "memplan/plan.h"

namespace memplan {

/// Adds the sequence of the worst micro-batch, the longest sample's, to `given`, and cuts `lengths`
/// to the --seq that is there. Throws Error{bad_input} where that is a list.
void set_longest_sequence(std::vector<Given>& given, SampleLengths& lengths,
                          const std::string& file);

/// Refuses jobs whose samples are not padded to the longest of their micro-batch, by name; says
/// that samples shorter than it come with a mask where the framework makes one.
void pad_batches(Job& job, const SampleLengths& lengths);

/// What the worst micro-batch is beside the others, and how often one comes that does not fit.
void describe_batches(Plan& plan, const SampleLengths& lengths);

}  // namespace memplan
