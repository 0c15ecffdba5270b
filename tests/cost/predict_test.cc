#include <doctest/doctest.h>

#include "jobs.h"
#include "memplan/error.h"

namespace memplan {
namespace {

// h 64, f 256: weights and biases of one layer, two norms.
constexpr int64_t kLayer =
    (64 * 192 + 192) + (64 * 64 + 64) + (64 * 256 + 256) + (256 * 64 + 64) + 4 * 64;
constexpr int64_t kAll = 1000 * 64 + 128 * 64 + 4 * kLayer + 2 * 64;

TEST_CASE("16 bytes a parameter in mixed precision with Adam; ZeRO divides them stage by stage") {
  const RankPlan one = predict(small_job()).ranks[0];
  CHECK(one.states.parameters == kAll);
  CHECK(one.memory.weights == Bytes(2 * kAll));
  CHECK(one.memory.gradients == Bytes(2 * kAll));
  CHECK(one.memory.optimizer == Bytes(12 * kAll));
  for (int zero = 0; zero <= 3; ++zero) {
    Job job = on(small_job(), 8);
    job.strategy.zero = zero;
    const Plan plan = predict(job);
    REQUIRE(plan.ranks.size() == 1);
    CHECK(plan.ranks[0].count == 8);
    const States& states = plan.ranks[0].states;
    CHECK(states.weights == Bytes(2 * kAll / (zero >= 3 ? 8 : 1)));
    CHECK(states.gradients == Bytes(2 * kAll / (zero >= 2 ? 8 : 1)));
    CHECK(states.optimizer == Bytes(12 * kAll / (zero >= 1 ? 8 : 1)));
  }
}

TEST_CASE("precision and optimizer decide the bytes of each state") {
  struct Row {
    const char* precision;
    OptimizerKind optimizer;
    int64_t weights, gradients, states;
  };
  const Row rows[] = {{"fp32", OptimizerKind::adamw, 4, 4, 8},
                      {"bf16", OptimizerKind::adamw, 2, 2, 4},
                      {"mixed-fp16", OptimizerKind::adamw, 2, 2, 12},
                      {"mixed-bf16", OptimizerKind::sgd, 2, 2, 4},
                      {"mixed-bf16", OptimizerKind::sgd_momentum, 2, 2, 8},
                      {"fp32", OptimizerKind::lion, 4, 4, 4},
                      {"amp-bf16", OptimizerKind::adam, 4, 4, 8}};
  for (const Row& row : rows) {
    Job job = small_job();
    job.strategy.precision = parse_precision(row.precision, "");
    job.strategy.optimizer = row.optimizer;
    const RankMemory memory = predict(job).ranks[0].memory;
    CAPTURE(row.precision);
    CHECK(memory.weights == Bytes(row.weights * kAll));
    CHECK(memory.gradients == Bytes(row.gradients * kAll));
    CHECK(memory.optimizer == Bytes(row.states * kAll));
  }
}

TEST_CASE("activations of a whole GPT: layers, embedding dropout, final norm, logits") {
  // Korthikanti et al., section 4: 34·sbh + 5·as²b a layer; sbh of embedding dropout; and at the
  // end 2·sbh of the norm's input, 2·sbh of the projection's, 4·sbV of fp32 logits.
  const int64_t sbh = 128 * 64, as2b = 4 * 128 * 128;
  const RankMemory memory = predict(small_job()).ranks[0].memory;
  CHECK(memory.activations == Bytes(4 * (34 * sbh + 5 * as2b) + sbh + 4 * sbh + 4 * 128 * 1000));
}

TEST_CASE("recomputation: selective drops 5·as²b, full keeps 2·sbh a layer and one layer's rest") {
  const int64_t sbh = 128 * 64, as2b = 4 * 128 * 128;
  const int64_t ends = sbh + 4 * sbh + 4 * 128 * 1000;
  Job job = small_job(64);
  job.strategy.recompute = Recompute::selective;
  const RankPlan selective = predict(job).ranks[0];
  CHECK(selective.phases[0].allocated.count() - (16 * selective.states.parameters) ==
        64 * 34 * sbh + ends);
  job.strategy.recompute = Recompute::full;
  const RankPlan full = predict(job).ranks[0];
  const int64_t states = 16 * full.states.parameters;
  CHECK(full.phases[0].allocated.count() - states == 64 * 2 * sbh + ends);
  // In backward the last layer comes alive again once the loss and the head are gone.
  const int64_t again = 64 * 2 * sbh + sbh + 32 * sbh + 5 * as2b;
  CHECK(full.phases[1].allocated.count() - states == std::max(64 * 2 * sbh + ends, again));
}

TEST_CASE("the ZeRO paper's estimate: 24·b·s·h bytes a layer") {
  Job job = small_job();
  job.strategy.activations = ActivationModel::zero;
  job.strategy.micro_batch = job.strategy.global_batch = 3;
  const int64_t ends = 3 * (128 * 64 * 5 + 4 * 128 * 1000);
  CHECK(predict(job).ranks[0].memory.activations == Bytes(4 * 24 * 3 * 128 * 64 + ends));
}

TEST_CASE("ZeRO-3 holds a block's whole weights while it runs, ZeRO-2 its whole gradients") {
  Job job = on(small_job(), 8);
  job.model.vocab = 1000000;  // so that the table that embedding and head share decides
  job.model.max_positions = 1;
  job.strategy.recompute = Recompute::full;
  job.strategy.sequence = 1;
  const auto above_states = [&](int zero, std::string_view at) {
    job.strategy.zero = zero;
    const RankPlan rank = predict(job).ranks[0];
    CHECK(rank.phases[1].at == at);
    return rank.phases[1].allocated - rank.states.weights - rank.states.gradients -
           rank.states.optimizer;
  };
  constexpr int64_t kTable = 1000000 * 64;
  // Inputs of 4 layers and the embedding's dropout mask.
  constexpr int64_t kKept = 4 * 2 * 64 + 64;
  // The head gathers the table and the final norm, and makes both their gradients; it has kept its
  // norm's and its product's inputs. The loss has let go of the logits.
  CHECK(above_states(3, "head") == Bytes((2 + 2) * (kTable + 2 * 64) + kKept + 2 * 2 * 64));
  // The head's part of the table's gradient waits for the embedding's: the last layer has its own
  // gradients beside it, and its recomputed activations but for the input.
  CHECK(above_states(2, "layer 3") ==
        Bytes(2 * (kTable + kLayer) + kKept + 34 * 64 + 5 * 4 - 2 * 64));
  // A group of one divides nothing and gathers nothing.
  job = on(std::move(job), 1);
  job.strategy.zero = 3;
  CHECK(predict(job).ranks[0].memory.transient < Bytes(kTable));
}

TEST_CASE("ZeRO-3 gathers no experts where expert parallelism leaves one owner of each") {
  Job job = small_moe(4, 4);
  job.strategy.zero = 3;
  job.model.vocab = 8;  // so that a layer is the peak
  job.strategy.attention = AttentionKind::flash;
  job.strategy.sequence = 1;
  // Attention 4·64², router 4·64, two norms; weights and gradients of 2 bytes. The layer's expert
  // (3·64·128) is its rank's own.
  const RankPlan rank = predict(job).ranks[0];
  CHECK(rank.memory.transient == Bytes(2 * 2 * (4 * 64 * 64 + 4 * 64 + 2 * 64)));
  CHECK(rank.states.weights ==
        Bytes(2 * (4 * (4 * 64 * 64 + 4 * 64 + 2 * 64) + 2 * 8 * 64 + 64) / 4 +
              2 * 4 * 3 * 64 * 128));
}

TEST_CASE("the fullest rank's shard is whole elements") {
  Job job = bare_job(1'000'000'001, 4);
  job.strategy.zero = 3;
  const RankPlan rank = predict(job).ranks[0];
  CHECK(rank.states.weights == Bytes(2 * 250'000'001));
  CHECK(rank.states.optimizer == Bytes(int64_t{12} * 250'000'001));
}

TEST_CASE("the model's FLOPs do not depend on how many ranks share them") {
  Job job = small_moe(1, 1);
  job.model.kv_heads = 2;
  const double alone = predict(job).step.flops;
  job.strategy.micro_batch = 1;
  for (const bool sequence_parallel : {false, true}) {
    Job cut = on(job, 4, 4);
    cut.strategy.sequence_parallel = sequence_parallel;
    const Plan plan = predict(cut);
    CHECK(plan.step.flops == doctest::Approx(alone).epsilon(1e-12));
    // k and v of 2 heads on 4 ranks are made twice: 3 · 2·b·s·h·(2·2·16) in each of 4 layers, and
    // the router's product 4 times where no sequence parallelism cuts its tokens.
    const double twice = 4.0 * 3 * 2 * 128 * 64 * 64;
    const double router = sequence_parallel ? 0 : 3 * 4.0 * 3 * 2 * 128 * 64 * 4;
    CHECK(plan.step.hardware_flops - plan.step.flops == doctest::Approx(twice + router));
  }
}

TEST_CASE(
    "pipeline stages: the first holds most micro-batches, the last the head and a tied copy") {
  const Plan plan = predict(on(small_job(8), 4, 1, 4, 8));
  REQUIRE(plan.ranks.size() == 4);
  CHECK(plan.parameters == kAll + 4 * kLayer);  // the copy is memory, not a parameter
  CHECK(plan.ranks[0].states.parameters == 1000 * 64 + 128 * 64 + 2 * kLayer);
  CHECK(plan.ranks[1].states.parameters == 2 * kLayer);
  CHECK(plan.ranks[3].states.parameters == 2 * kLayer + 2 * 64 + 1000 * 64);
  const int64_t layer = 34 * 128 * 64 + 5 * 4 * 128 * 128;
  CHECK(plan.ranks[1].memory.activations == Bytes(3 * 2 * layer));  // p - r = 3 in flight
  CHECK(plan.ranks[2].memory.activations == Bytes(2 * 2 * layer));
  CHECK(plan.step.bubble_fraction == doctest::Approx(3.0 / 11));
}

TEST_CASE("GPipe holds every micro-batch, PipeDream p - r weight versions and no bubble") {
  Job job = on(small_job(8), 4, 1, 4, 8);
  job.strategy.schedule = ScheduleKind::gpipe;
  const int64_t layer = 34 * 128 * 64 + 5 * 4 * 128 * 128;
  CHECK(predict(job).ranks[1].memory.activations == Bytes(8 * 2 * layer));
  job.strategy.schedule = ScheduleKind::pipedream;
  const Plan plan = predict(job);
  CHECK(plan.ranks[1].memory.weights == Bytes(3 * 2 * 2 * kLayer));
  CHECK(plan.ranks[2].memory.weights == Bytes(2 * 2 * 2 * kLayer));
  CHECK(plan.step.bubble_fraction == 0);
  job.strategy.schedule = ScheduleKind::naive;
  CHECK(predict(job).step.bubble_fraction == doctest::Approx(0.75));
}

TEST_CASE("DataParallel: GPU 0 has the optimizer, all outputs and the loss of the whole batch") {
  Job job = on(small_job(), 4);
  job.strategy.data_parallel = DataParallelKind::data_parallel;
  const Plan plan = predict(job);
  REQUIRE(plan.ranks.size() == 2);
  const RankMemory &first = plan.ranks[0].memory, &other = plan.ranks[1].memory;
  CHECK(plan.ranks[1].count == 3);
  CHECK(other.optimizer == Bytes(0));
  CHECK(first.optimizer == Bytes(12 * kAll));
  CHECK(first.buffers == Bytes(4 * 128 * 1000 * 2));
  CHECK(first.activations - other.activations == Bytes(4 * 128 * 1000 * 4));
  CHECK(plan.verdict.worst_rank == 0);
}

TEST_CASE("DataParallel gathers what the model returns: hidden states where it has no head") {
  Job job = on(small_job(), 4);
  job.strategy.data_parallel = DataParallelKind::data_parallel;
  job.model.head = ModelHead::none;
  CHECK(predict(job).ranks[0].memory.buffers == Bytes(4 * 128 * 64 * 2));
}

TEST_CASE("offload moves states to the host, divided as ZeRO divides them") {
  Job job = on(small_job(), 4);
  job.strategy.zero = 2;
  job.strategy.offload = {Placement::cpu, Placement::cpu, Placement::gpu};
  const RankPlan rank = predict(job).ranks[0];
  CHECK(rank.states.optimizer == Bytes(0));
  CHECK(rank.states.gradients == Bytes(0));
  CHECK(rank.host.pageable == Bytes((12 + 2) * kAll / 4));
  job.strategy.zero = 3;
  job.strategy.offload = {Placement::nvme, Placement::cpu, Placement::nvme};
  const RankPlan infinity = predict(job).ranks[0];
  CHECK(infinity.states.weights == Bytes(0));
  CHECK(infinity.host.nvme == Bytes((12 + 2) * kAll / 4));
  CHECK(infinity.host.pageable == Bytes(2 * kAll / 4));
}

TEST_CASE("forward-only: weights alone") {
  Job job = small_job();
  job.strategy.training = false;
  const RankPlan rank = predict(job).ranks[0];
  CHECK(rank.memory.allocated == Bytes(2 * kAll));
  CHECK(rank.phases.size() == 1);
}

TEST_CASE("training the last layer alone keeps nothing of those below") {
  Job job = small_job();
  job.strategy.trainable = {Trainable::Kind::last_layers, 1};
  const Plan plan = predict(job);
  CHECK(plan.trainable == kLayer + 2 * 64);  // the head shares the frozen embedding
  // One whole layer; of the end, the final norm's input and the logits: the head's product is
  // frozen.
  const int64_t sbh = 128 * 64, as2b = 4 * 128 * 128;
  CHECK(plan.ranks[0].memory.activations == Bytes(34 * sbh + 5 * as2b + 2 * sbh + 4 * 128 * 1000));
  CHECK(plan.ranks[0].memory.optimizer == Bytes(12 * plan.trainable));
}

TEST_CASE("frozen layers have no backward") {
  Job job = small_job();
  job.strategy.trainable = {Trainable::Kind::last_layers, 1};
  const double sh2 = 128.0 * 64 * 64, s2h = 128.0 * 128 * 64, logits = 2.0 * 128 * 64 * 1000;
  // Forward 24·sh² + 4·s²h in 4 layers, and the logits. Backward twice that in the last layer; of
  // the logits the input's gradient alone, for the tied table is frozen.
  const double layer = 24 * sh2 + 4 * s2h;
  CHECK(predict(job).step.flops == doctest::Approx(4 * layer + 2 * layer + 2 * logits));
}

TEST_CASE("a bare size: states only, and no verdict where they fit") {
  const Plan fits = predict(bare_job(7'500'000'000, 1));
  CHECK(fits.ranks[0].memory.allocated == Bytes(120'000'000'000));
  CHECK(fits.verdict.fits == false);
  CHECK_FALSE(predict(bare_job(1'000'000'000, 1)).verdict.fits.has_value());
  CHECK(predict(bare_job(1'000'000'000, 1)).ranks[0].memory.activations == Bytes(0));
}

TEST_CASE("context parallelism divides the tokens and joins the group that divides states") {
  Job job = small_job();
  job.strategy.cp = 2;
  job.strategy.zero = 1;
  job = on(job, 4);
  const RankPlan rank = predict(job).ranks[0];
  CHECK(rank.states.optimizer == Bytes(12 * kAll / 4));
  const int64_t sbh = 64 * 64;
  const int64_t as2b = 4 * 64 * 128;  // half the queries, all the keys
  CHECK(rank.memory.activations == Bytes(4 * (34 * sbh + 5 * as2b) + 5 * sbh + 4 * 64 * 1000));
}

TEST_CASE("what is not modelled is refused by name") {
  Job job = small_job();
  job.strategy.framework = Framework::deepspeed;
  job.strategy.zero = 3;
  job.strategy.offload.parameters = Placement::nvme;
  try {
    predict(job);
    FAIL_CHECK("accepted");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::not_modelled);
    CHECK(std::string(error.what()).starts_with("--"));
  }
}

TEST_CASE("tensor parallelism beyond a node is warned about with its traffic") {
  Job job = on(small_job(), 4, 4);
  CHECK(predict(job).warnings.empty());
  job.cluster.gpus_per_node = 2;
  const Plan plan = predict(job);
  REQUIRE(plan.warnings.size() == 1);
  CHECK(plan.warnings[0].find("crosses nodes") != std::string::npos);
  CHECK(plan.warnings[0].find("--tp 2") != std::string::npos);
}

}  // namespace
}  // namespace memplan
