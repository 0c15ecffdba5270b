#include "cost/eager_forward.h"

#include <memory>
#include <utility>
#include <vector>

#include "cost/device.h"
#include "cost/sharded_step.h"
#include "cost/walked_model.h"
#include "lower/huggingface/cast_inputs.h"
#include "lower/huggingface/losses.h"
#include "lower/huggingface/peft.h"
#include "lower/huggingface/versions.h"
#include "lower/torchtitan/torchtitan.h"
#include "lower/torchtune/torchtune.h"
#include "ops/aten/offload.h"
#include "policy/fsdp2.h"
#include "policy/pytorch.h"

namespace memplan {
namespace {

// Modules around those that the families name.
constexpr const char* kWholeModel = "(model)";
constexpr const char* kBaseModel = "(base model)";

// What is left for tensors by the driver, the libraries and forward's cuBLAS handle.
std::optional<int64_t> first_capacity(const Job& job, Bytes states) {
  const GpuSpec& gpu = job.cluster.gpu;
  if (job.backend == Backend::cpu || !gpu.cuda) return {};
  const DeviceMemory outside = outside_framework(job);
  const Bytes left = gpu.memory - outside.context - outside.libraries - outside.nccl -
                     pytorch::cublas_workspace(gpu, job.strategy.torch);
  return (left + states).count();
}

}  // namespace

hf::Forward EagerForward::start(Bytes states, Bytes& inputs) {
  hf::Forward f{
      .session = session_, .job = job_, .model = job_.model, .row = family_row(job_.model)};
  f.shared_peft = model_.blocks().front().params.get();
  f.capacity = first_capacity(job_, states);
  f.batch = s_.micro_batch;
  f.sequence = s_.sequence;
  f.ids = aten::allocate(session_, {f.batch, f.sequence}, DType::i64);
  const bool masked = s_.padding_mask || pytorch::compiled_with_mask(s_);
  if (masked) f.padding = aten::allocate(session_, f.ids.sizes(), DType::i64);
  inputs = Bytes(f.ids.bytes() * (masked ? 2 : 1));
  if (job_.model.head == ModelHead::sequence_classification) {
    f.labels = aten::allocate(session_, {f.batch}, DType::i64);
    inputs += Bytes(f.labels.bytes());
  }
  if (job_.model.implementation != Implementation::transformers) {
    f.labels = aten::allocate(session_, f.ids.sizes(), DType::i64);
    inputs += Bytes(f.labels.bytes());
  }
  inputs += torchtune::packed_inputs(job_);
  session_.ledger.add(torchtune::packed_inputs(job_).count());
  for (const aten::Tensor& x : {f.ids, f.padding, f.labels})
    if (x) x->storage->counted = true;
  add_virtual_tokens(f);
  return f;
}

// PeftModel keeps their ids.
void EagerForward::add_virtual_tokens(hf::Forward& f) {
  if (!hf::has_virtual_tokens(s_.peft)) return;
  const int64_t tokens = s_.peft.number(PeftNumber::tokens);
  f.prompt_tokens =
      aten::expand(aten::allocate(session_, {1, tokens}, DType::i64), {f.batch, tokens});
  f.sequence = checked_add(f.sequence, hf::input_prompt_tokens(s_.peft));
  padding_ = f.padding;
}

aten::Tensor EagerForward::module(hf::Forward& f, size_t at, const aten::Tensor& hidden) {
  const Walked& w = model_.blocks()[at];
  if (f.modules)
    return hf::called(f, *w.params, "", {}, hidden, [&](const aten::Tensor& x) {
      return family_.layer(f, *w.params, w.block->kind, x);
    });
  return family_.layer(f, *w.params, w.block->kind, hidden);
}

aten::Tensor EagerForward::sharded(hf::Forward& f, size_t at, aten::Tensor hidden,
                                   const ShardedStep::Module& forward) {
  const hf::CastInputs cast(f, s_.fsdp.param_dtype);
  return sharded_->layer(at, std::move(hidden), forward);
}

aten::Tensor EagerForward::run_layer(hf::Forward& f, size_t at, const aten::Tensor& hidden) {
  if (!sharded_ || sharded_->wraps_checkpoints()) return module(f, at, hidden);
  return sharded(f, at, hidden, [&](const aten::Tensor& x) { return module(f, at, x); });
}

aten::Tensor EagerForward::layer(hf::Forward& f, size_t at, const aten::Tensor& hidden) {
  const Walked& w = model_.blocks()[at];
  if (w.block->part == BlockPart::bridge)
    return family_.bridge(f, *w.params, *model_.blocks().front().params, hidden);
  if (!sharded_ || !sharded_->wraps_checkpoints()) return checkpointed(f, at, hidden);
  return sharded(f, at, hidden, [&](const aten::Tensor& x) { return checkpointed(f, at, x); });
}

std::optional<aten::Checkpointing> EagerForward::checkpointing(const hf::Forward& f) const {
  if (job_.model.implementation == Implementation::torchtitan)
    return torchtitan::checkpointing(s_, f.layer);
  if (s_.recompute != Recompute::full) return {};
  return aten::Checkpointing{};
}

aten::Tensor EagerForward::checkpointed(hf::Forward& f, size_t at, const aten::Tensor& hidden) {
  const std::optional<aten::Checkpointing> how = checkpointing(f);
  if (!how) return run_layer(f, at, hidden);
  if (hf::checkpoints_reentrantly(job_))
    return aten::checkpoint_reentrantly(session_, hidden,
                                        [this, kept = f.arguments(), at](const aten::Tensor& x) {
                                          hf::Forward own = kept;
                                          return run_layer(own, at, x);
                                        });
  // What a layer returns beside its hidden_states is taken from its first run.
  hf::Forward* outputs = &f;
  // Offloaded, the input is not held as the checkpoint's argument but saved (_NoopSaveInputs),
  // with an empty tensor before it.
  const auto held = std::make_shared<aten::Tensor>(hidden);
  aten::Saved input;
  if (session_.offloading) {
    aten::Saved(aten::allocate(session_, {0}, DType::f32));
    input = aten::Saved(hidden);
  }
  const aten::Tensor out = aten::checkpoint(
      session_, session_.offloading ? aten::Tensor() : hidden,
      [this, outputs, kept = f.arguments(), at, held, input,
       needs_grad = hidden.requires_grad()]() mutable {
        hf::Forward own = kept;
        aten::Tensor x = *held;
        if (!x) {
          x = input.get().detach();
          x->requires_grad = needs_grad;
        }
        aten::Tensor result = run_layer(own, at, x);
        if (hf::Forward* first = std::exchange(outputs, nullptr)) {
          first->shared = std::move(own.shared);
          first->returned = std::move(own.returned);
        }
        return result;
      },
      *how);
  if (session_.offloading) held->reset();
  return out;
}

void EagerForward::run(hf::Forward& f, aten::Tensor& loss, aten::Tensor& logits) {
  session_.autocast = s_.precision.autocast;
  const Walked& first = model_.blocks().front();
  if (sharded_) sharded_->enter_model();
  for (const char* name : {kWholeModel, kBaseModel})
    if (f.modules) f.modules->enter(*first.params, name, {}, {});
  hf::enter_wrapper(f, *first.params);
  const size_t last = model_.blocks().size() - 1;
  const bool groups_ends = sharded_ && fsdp2::groups_ends(s_);
  aten::Tensor hidden;
  if (groups_ends)
    hidden = sharded(f, last + 1, f.ids,
                     [&](const aten::Tensor&) { return family_.embed(f, *first.params); });
  else
    hidden = family_.embed(f, *first.params);
  const bool transformers = job_.model.implementation == Implementation::transformers;
  if (transformers && s_.recompute == Recompute::full && !hidden.requires_grad()) {
    session_.require_grad(hidden);  // enable_input_require_grads
    inputs_embeds_ = f.inputs_embeds;
  }
  for (size_t i = 1; i + 1 < model_.blocks().size();) {
    size_t end = i + 1;
    while (end + 1 < model_.blocks().size() &&
           model_.blocks()[end].stretch == model_.blocks()[i].stretch)
      ++end;
    session_.repeat(model_.rounds(model_.blocks()[i]), [&] {
      for (size_t j = i; j < end; ++j) {
        hidden = layer(f, j, hidden);
        ++f.layer;
        if (family_.after_layer) hidden = family_.after_layer(f, *first.params, hidden);
      }
    });
    i = end;
  }
  const hf::Params& head = *model_.blocks().back().params;
  if (family_.output) {
    const auto output = [&](aten::Tensor x) { return family_.output(f, head, std::move(x)); };
    hidden = groups_ends ? sharded(f, last, std::move(hidden), output) : output(std::move(hidden));
    if (sharded_) sharded_->leave_model(hidden);
    loss = hf::model_loss(f, family_, head, *first.params, std::move(hidden), logits);
    return;
  }
  hidden = family_.finish(f, head, hidden);
  if (f.modules) hidden = f.modules->leave(*first.params, kBaseModel, hidden);
  f.release_locals();
  loss = hf::model_loss(f, family_, head, *first.params, std::move(hidden), logits);
  f.release_wrapper();
  if (f.modules) loss = f.modules->leave(*first.params, kWholeModel, loss);
  std::vector<const hf::Params*> params;
  for (const Walked& w : model_.blocks()) params.push_back(w.params.get());
  hf::require_reached(job_, params);
  loss = hf::regularized(f, params, loss);
  if (sharded_) sharded_->leave_model(loss);
  session_.autocast.reset();
  session_.leave_autocast();
}

}  // namespace memplan
