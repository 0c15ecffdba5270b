#include "cost/eager.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "cost/eager_forward.h"
#include "cost/engine_step.h"
#include "cost/replica.h"
#include "cost/sharded_model.h"
#include "cost/sharded_step.h"
#include "cost/walked_model.h"
#include "lower/huggingface/liger.h"
#include "lower/huggingface/peft.h"
#include "lower/huggingface/quantized.h"
#include "lower/huggingface/unsloth.h"
#include "lower/huggingface/versions.h"
#include "lower/program.h"
#include "memplan/error.h"
#include "ops/aten/offload.h"
#include "ops/optimizer.h"
#include "policy/deepspeed.h"
#include "policy/fsdp.h"
#include "policy/fsdp2.h"
#include "policy/optimizer_step.h"
#include "policy/pytorch.h"
#include "policy/step_ledger.h"
#include "policy/tensor_parallel.h"

namespace memplan {
namespace {

using aten::Phase;
using aten::Tensor;

// parallelize_module cuts the layers of a model that is built whole.
Job whole_model(const Job& job) {
  Job out = job;
  if (tensor_parallel::cuts_layers(job.strategy)) out.strategy.tp = 1;
  return out;
}

class Step {
 public:
  // `idle`: trainable parameters that no gradient reaches, and so have no states.
  // `trace`: how modules are called, where their hooks know it from an earlier step.
  Step(const Job& job, Grain grain, Layers layers, Replica role, ParamSet idle,
       const deepspeed::ModuleTrace* trace = nullptr)
      : job_(job),
        s_(job.strategy),
        whole_(whole_model(job)),
        program_(lower(whole_, s_.micro_batch)),
        layers_(layers),
        role_(role),
        idle_(std::move(idle)),
        trace_(trace),
        session_(job.backend, s_.torch),
        family_(hf::family(job.model)) {
    session_.fake_tensors = job.fake_tensors;
    session_.watched = grain == Grain::requested;
    hf::require_peft_forward(job, program_);
    hf::require_quantized_forward(job, program_);
    hf::require_liger(job);
    hf::require_unsloth(job);
    if (s_.framework == Framework::deepspeed && s_.zero == 3 && !family_.names_modules)
      throw Error(ErrorKind::not_modelled, "--zero 3",
                  "the modules of " + std::string(family_.name) +
                      ", around which ZeRO-3 gathers parameters, are not named yet",
                  "use --zero 2, or --framework fsdp2 or textbook");
    session_.compute_capability = pytorch::compute_capability(job.cluster.gpu);
    session_.rounds_to_512 = grain == Grain::blocks;
    if (s_.offload_activations) session_.offloading = std::make_unique<aten::Offloading>();
  }

  EagerStep run() {
    model_.emplace(session_, job_, program_, folds());
    place_parameters();
    place_states();
    out_.resident = Bytes(session_.ledger.live()) - out_.gradients;
    if (sharded_) {
      out_.resident -= sharded_->whole_from_before();
      out_.left = sharded_->left_by_step();
    }
    hf::Forward f = start();
    Tensor loss, logits;
    session_.ledger.enter(Phase::forward);
    // transformers compiles the model, torchtune each layer and the loss.
    const bool whole = s_.compile && job_.model.implementation == Implementation::transformers;
    const aten::Compiled inside(session_, whole);
    std::optional<ReplicaStep> replica;
    if (role_ != Replica::alone) replica.emplace(replica_step());
    if (replica) replica->broadcast();
    forward_->run(f, loss, logits);
    Tensor all_losses = loss;
    if (replica) {
      std::vector<Tensor*> outputs{&all_losses, &logits};
      for (Tensor& x : f.outputs) outputs.push_back(&x);
      replica->gather(std::move(outputs));
    }
    session_.ledger.leave();
    if (!s_.keep_outputs) {
      logits.reset();
      f.outputs.clear();
    }
    out_.registered = engine_ ? engine_->registered() : out_.weights;
    int64_t held = fixed_;
    if (sharded_) {
      out_.registered = unsharded_ + sharded_->registered();
      held += (out_.registered + sharded_->registered_gradients()).count() -
              (out_.weights + out_.gradients).count();
    }
    if (engine_) held += (engine_->buckets() + out_.registered - out_.weights).count();
    out_.activations = Bytes(session_.ledger.live() - held - gradients_made());
    out_.operands = Bytes(session_.ledger.level().operands);
    out_.kept = session_.kept_tensors();
    session_.ledger.enter(Phase::backward);
    backward(std::move(loss));
    if (replica) reduce(*replica);
    session_.ledger.leave();
    all_losses.reset();
    logits.reset();
    f.outputs.clear();
    f.locals.clear();
    step();
    return std::move(out_);
  }

  EagerPeak evaluation() {
    model_.emplace(session_, job_, program_, folds());
    place_parameters();
    place_states();
    hf::Forward f = start();
    const aten::NoGrad no_grad(session_);
    Tensor loss, logits;
    session_.ledger.enter(Phase::forward);
    forward_->run(f, loss, logits);
    session_.ledger.leave();
    return peak(Phase::forward);
  }

  ParamSet unreached() const { return model_->unreached(); }
  const deepspeed::ModuleTrace* recorded() const { return engine_ ? engine_->recorded() : nullptr; }

 private:
  const std::vector<Walked>& blocks() const { return model_->blocks(); }

  bool folds() const {
    // What is kept of a layer outside of it is freed outside of its stretch.
    return layers_ == Layers::folded && !family_.after_layer && !hf::differs_by_layer(s_.peft) &&
           !deepspeed::partitions(s_) &&  // buckets fill across layers
           !fsdp::flattens(s_) &&         // one layer's unit is gathered in another
           s_.recompute_every == 1 && !fsdp2::keeps_last_layer(s_) &&
           !s_.offload_activations;  // which layers' tensors wait for their copy differs by layer
  }

  void place_parameters() {
    peft_buffers_ = Bytes(model_->buffer_bytes(true));
    attributes_ = Bytes(model_->buffer_bytes(false));
    out_.weights = Bytes(session_.ledger.live()) - peft_buffers_ - attributes_;
    if (deepspeed::partitions(s_)) return place_engine();
    if (!fsdp::shards_parameters(s_)) return;
    sharded_ = make_sharded_step(session_, job_);
    add_groups(job_, *model_, *sharded_);
    sharded_->place();
    out_.host.pinned = sharded_->host_weights() + sharded_->host_gradients();
    session_.ledger.add(sharded_->weights().count());
    unsharded_ = std::exchange(out_.weights, out_.weights + sharded_->weights());
    out_.gradients = sharded_->gradients();
  }

  void place_engine() {
    std::vector<aten::Leaf*> params;
    for (const Walked& w : blocks())
      for (size_t i : model_->registered(w)) params.push_back(&w.params->leaf(i));
    engine_ = make_engine_step(session_, job_, std::move(params), trace_);
    const Bytes apart = std::exchange(out_.weights, engine_->weights());
    session_.ledger.add((out_.weights - apart + engine_->scalars()).count());
    out_.gradients = engine_->place();
    out_.worst_rank = engine_->worst_rank();
  }

  // fp32 weights, and the optimizer's states of what it steps.
  void place_stepped(const OptimizerSetup& setup) {
    step_params_ = engine_->stepped();
    for (const StepParam& p : step_params_)
      out_.optimizer += pytorch_state(setup, std::span(p.shape.data(), static_cast<size_t>(p.dims)),
                                      p.dtype, p.hidden)
                            .device();
    if (!engine_->makes_states_beforehand()) out_.made_by_step = out_.optimizer;
    out_.optimizer += engine_->masters();
  }

  void place_flat(const OptimizerSetup& setup) {
    step_params_ = sharded_->stepped();
    for (const StepParam& p : step_params_)
      out_.optimizer +=
          pytorch_state(setup, std::span(p.shape.data(), 1), p.dtype, p.hidden).device();
  }

  void place_states() {
    const bool offloaded = sharded_ && fsdp::offloads(s_);
    const Backend stepping = offloaded ? Backend::cpu : job_.backend;
    const OptimizerSetup setup = optimizer_setup(s_, stepping);
    const bool spends = updates_in_backward(s_);
    const bool accumulates = s_.micro_batches() > 1 && !spends && !sharded_;
    for (size_t at = 0; at < blocks().size(); ++at) {
      const Walked& w = blocks()[at];
      for (size_t i : model_->registered(w)) {
        const Param& p = w.params->graph().params[i];
        aten::Leaf& leaf = w.params->leaf(i);
        const int64_t own = leaf.quantized
                                ? aten::quantized_elements(*leaf.quantized, leaf.value.sizes())
                                : p.elements();
        const int64_t elements = checked_mul(own, leaf.copies);
        out_.parameters = checked_add(out_.parameters, elements);
        const StepParam param = stepped_parameter(job_, w, i);
        const std::span shape(param.shape.data(), static_cast<size_t>(param.dims));
        const bool reached = p.trainable && !idle_.contains({at, i});
        if (engine_ || fsdp::flattens(s_)) {
          if (p.trainable) out_.trainable = checked_add(out_.trainable, elements);
          continue;
        }
        const bool steps = reached || keeps_state_of_frozen(s_.optimizer);
        if (steps && role_ != Replica::other)
          out_.optimizer +=
              pytorch_state(setup, shape, param.dtype, param.hidden).device() * leaf.copies;
        if (!p.trainable) continue;
        out_.trainable = checked_add(out_.trainable, elements);
        if (!reached) continue;
        const Bytes bytes = Bytes(leaf.value.bytes()) * leaf.copies;
        step_params_.push_back(param);
        if (spends) {
          leaf.spend = spend(param);
          out_.spent = std::max(out_.spent, Bytes(leaf.value.bytes()));
        }
        out_.buckets += pytorch::bucket_bytes(s_, bytes);
        leaf.in_bucket = pytorch::gradient_in_bucket(s_);
        if (!accumulates || role_ == Replica::other) continue;
        out_.gradients += leaf.in_bucket ? Bytes(0) : bytes;
        leaf.grad_exists = role_ == Replica::alone;
      }
    }
    if (engine_) place_stepped(setup);
    if (fsdp::flattens(s_)) place_flat(setup);
    if (role_ != Replica::other) out_.optimizer += shared_state(s_.optimizer);
    if (offloaded) out_.host.pageable = std::exchange(out_.optimizer, Bytes(0));
    out_.buffers = Bytes(family_.buffers(job_));
    // torch makes states with the first step.
    if (!engine_) out_.made_by_step = out_.optimizer;
    fixed_ = (out_.weights + peft_buffers_).count();
    for (Bytes b : {out_.gradients, out_.optimizer, out_.buffers}) {
      session_.ledger.add(b.count());
      fixed_ = checked_add(fixed_, b.count());
    }
    out_.buffers += peft_buffers_;
    session_.ledger.add(out_.buckets.count());
    session_.ledger.add(pytorch::import_leftovers(job_).count());
    session_.ledger.add((fsdp2::mesh_bytes(job_) + tensor_parallel::mesh_bytes(job_)).count());
    session_.ledger.add(hf::quantization_tables(job_, program_).count());
  }

  aten::Spend spend(const StepParam& param) const {
    const StepPeak peak = update_in_backward(s_, param, job_.backend);
    using When = aten::Spend::When;
    return {s_.optimizer_in_backward ? When::accumulated : When::next, peak.transient.count(),
            peak.at};
  }

  hf::Forward start() {
    forward_.emplace(session_, job_, family_, *model_, sharded_.get());
    hf::Forward f = forward_->start(out_.optimizer + out_.gradients, out_.inputs);
    if (engine_) f.modules = engine_->hooks();
    if (role_ == Replica::first) {  // the whole batch, of which its own share is a view
      session_.ledger.add(checked_mul(s_.dp - 1, out_.inputs.count()));
      out_.inputs = s_.dp * out_.inputs;
    }
    fixed_ = checked_add(fixed_, out_.inputs.count());
    return f;
  }

  // Gradients that a loss with a backward of its own has left in the forward.
  int64_t gradients_made() const {
    int64_t sum = 0;
    for (const auto& leaf : session_.leaves())
      if (leaf->grad) sum += checked_mul(session_.rounded(leaf->grad.bytes()), leaf->copies);
    return sum;
  }

  void backward(Tensor loss) {
    // lomo-optim 0.1.1, AdaLomo.fused_backward: `loss = loss * self.loss_scale`
    // DeepSpeedEngine.backward divides the loss by accumulation steps; ZeRO's scale_if_loss.
    const Tensor averaged = engine_ ? aten::div_scalar(loss) : loss;
    const bool scales = engine_ ? engine_->scales_loss() : s_.optimizer == OptimizerKind::adalomo;
    const Tensor scaled = scales ? aten::mul_scalar(averaged) : averaged;
    aten::run_backward(session_, scaled);
    if (engine_) engine_->finish_backward();
  }

  ReplicaStep replica_step() {
    int64_t frozen = 0;
    for (const Walked& w : blocks())
      for (size_t i = 0; i < w.params->size(); ++i) {
        const aten::Leaf& leaf = w.params->leaf(i);
        if (leaf.value.requires_grad()) continue;
        frozen = checked_add(frozen, checked_mul(leaf.value.bytes(), leaf.copies));
      }
    return {session_, role_, s_.dp, model_->flat(), frozen};
  }

  // Until here the leaves' gradients were the replica's, waiting to be added up.
  void reduce(ReplicaStep& replica) {
    replica.reduce();
    if (role_ == Replica::first && s_.micro_batches() == 1) return;
    for (const Walked& w : blocks())
      for (size_t i = 0; i < w.params->size(); ++i) w.params->leaf(i).grad.reset();
  }

  EagerPeak peak(Phase phase) const {
    const aten::Peak& peak = session_.ledger.peak(phase);
    return {Bytes(peak.level.bytes),     out_.gradients + Bytes(peak.level.gradients),
            Bytes(peak.level.kept),      Bytes(peak.level.unsharded),
            Bytes(peak.level.gathering), Bytes(peak.level.reducing),
            std::string(peak.at)};
  }

  void step() {
    session_.drop_required();
    forward_->release();
    session_.ledger.enter(Phase::step);
    session_.ledger.leave();
    out_.forward = peak(Phase::forward);
    out_.backward = peak(Phase::backward);
    out_.step = peak(Phase::step);
    out_.certain = Bytes(session_.ledger.certain());
    if (role_ == Replica::other || (sharded_ && fsdp::offloads(s_))) return;
    const StepPeak peak = engine_ ? engine_step() : optimizer_step(s_, step_params_, job_.backend);
    out_.step.bytes += peak.transient;
    out_.step.at = peak.at;
  }

  // DeepSpeed clips by itself, in place.
  StepPeak engine_step() const {
    Strategy inner = s_;
    inner.clip_gradients = false;
    return engine_->step_peak(
        [&](StepParams shown) { return optimizer_step(inner, shown, job_.backend); });
  }

  const Job& job_;
  const Strategy& s_;
  Job whole_;  // the program's graphs point into it
  Program program_;
  Layers layers_;
  Replica role_;
  ParamSet idle_;
  const deepspeed::ModuleTrace* trace_;
  aten::Session session_;
  const hf::Family& family_;
  std::optional<WalkedModel> model_;
  std::unique_ptr<ShardedStep> sharded_;  // FSDP's
  std::unique_ptr<EngineStep> engine_;    // DeepSpeed's
  std::optional<EagerForward> forward_;
  std::vector<StepParam> step_params_;
  int64_t fixed_ = 0;  // weights, states, buffers and inputs
  EagerStep out_;
  // Parts of the ledger, like the weights. Unregistered tensors count among the activations.
  Bytes peft_buffers_, attributes_;
  Bytes unsharded_;  ///< quantized weights, which FSDP2 leaves whole
};

}  // namespace

EagerStep eager_step(const Job& job, Grain grain, Layers layers, Replica replica) {
  pytorch::require_modelled(job);
  hf::require_modelled_release(job);
  Step step(job, grain, layers, replica, {});
  EagerStep out = step.run();
  if (const deepspeed::ModuleTrace* trace = step.recorded())
    return Step(job, grain, layers, replica, {}, trace).run();
  const ParamSet idle = step.unreached();
  return idle.empty() ? out : Step(job, grain, layers, replica, idle).run();
}

EagerPeak eager_evaluation(const Job& job, Grain grain) {
  const Strategy& s = job.strategy;
  const bool own_code = job.model.implementation != Implementation::transformers || s.compile ||
                        s.loss != LossKind::cross_entropy || s.kernels != KernelKind::eager ||
                        s.data_parallel == DataParallelKind::data_parallel ||
                        (s.framework == Framework::deepspeed && s.zero == 3);
  if (own_code)
    throw Error(ErrorKind::not_modelled, "", "evaluation is not modelled for this program");
  Job evaluating = job;
  Strategy& e = evaluating.strategy;
  evaluating.model.dropout = {};
  e.peft.dropout = 0;
  e.recompute = Recompute::none;  // only while a module trains (GradientCheckpointingLayer)
  e.global_batch = checked_mul(e.micro_batch, e.dp);
  pytorch::require_modelled(evaluating);
  hf::require_modelled_release(evaluating);
  Step trained(evaluating, grain, Layers::folded, Replica::alone, {});
  trained.run();  // for the parameters that have states
  return Step(evaluating, grain, Layers::folded, Replica::alone, trained.unreached()).evaluation();
}

}  // namespace memplan
