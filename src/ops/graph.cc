#include "ops/graph.h"

#include <algorithm>
#include <utility>

#include "ops/peft.h"

namespace memplan {
namespace {

bool is_bias(const std::string& name) {
  return name.ends_with(".bias") || name.ends_with("_bias") || name == "bias";
}

bool trains(const Param& p, const OpContext& context) {
  if (!context.training) return false;
  const PeftSpec& peft = *context.peft;
  if (p.adapter) return p.trainable;
  if (peft.kind != PeftKind::none) {
    if (p.norm && peft.kind == PeftKind::litgpt_adapter_v2) return true;
    return peft.bias != PeftBias::none && peft_trains_bias(p.name, context);
  }
  if (context.trainable == Trainable::Kind::bias) return is_bias(p.name);
  return context.block_trainable;
}

}  // namespace

bool saved_whole(const PeftSpec& peft, std::string_view param) {
  return std::any_of(peft.modules_to_save.begin(), peft.modules_to_save.end(),
                     [&](const std::string& module) {
                       const size_t at = param.rfind(module + ".");
                       return at == 0 || (at != std::string_view::npos && param[at - 1] == '.');
                     });
}

int64_t Param::elements() const {
  int64_t out = 1;
  for (int i = 0; i < dims; ++i) out = checked_mul(out, shape[static_cast<size_t>(i)]);
  return out;
}

std::array<int64_t, 4> Param::local_shape() const {
  std::array<int64_t, 4> local = shape;
  if (expert_parts > 1) local[0] = ceil_div(local[0], expert_parts);
  const auto part = [&](int64_t size) { return part_size > 0 ? part_size : ceil_div(size, parts); };
  if (cut == Cut::dim0) local[0] = part(local[0]);
  if (cut == Cut::dim1) local[1] = part(local[1]);
  if (cut == Cut::dim2) local[2] = part(local[2]);
  return local;
}

int64_t Param::local_elements() const {
  const std::array<int64_t, 4> local = local_shape();
  int64_t out = 1;
  for (int i = 0; i < dims; ++i) out = checked_mul(out, local[static_cast<size_t>(i)]);
  return out;
}

std::string_view to_string(Collective collective) {
  switch (collective) {
    case Collective::all_reduce:
      return "all_reduce";
    case Collective::all_gather:
      return "all_gather";
    case Collective::reduce_scatter:
      return "reduce_scatter";
    case Collective::all_to_all:
      return "all_to_all";
    case Collective::send_receive:
      return "send_receive";
    case Collective::broadcast:
      return "broadcast";
  }
  return "?";
}

std::string_view to_string(CommGroup group) {
  switch (group) {
    case CommGroup::data_parallel:
      return "data_parallel";
    case CommGroup::tensor_parallel:
      return "tensor_parallel";
    case CommGroup::context_parallel:
      return "context_parallel";
    case CommGroup::expert_parallel:
      return "expert_parallel";
    case CommGroup::pipeline_parallel:
      return "pipeline_parallel";
    case CommGroup::expert_data_parallel:
      return "expert_data_parallel";
    case CommGroup::embedding:
      return "embedding";
  }
  return "?";
}

int64_t Graph::stream_tokens() const {
  return context.sequence_parallel ? ceil_div(tokens(), context.tp) : tokens();
}

TensorId Graph::input(std::string_view name, int64_t elements, DType dtype) {
  tensors.push_back({.name = name,
                     .elements = elements,
                     .dtype = dtype,
                     .requires_grad = context.input_requires_grad});
  inputs.push_back(static_cast<TensorId>(tensors.size() - 1));
  return inputs.back();
}

TensorId Graph::add(Op op, std::string_view output_name, int64_t elements, DType dtype,
                    bool requires_grad) {
  tensors.push_back({.name = output_name,
                     .elements = elements,
                     .dtype = dtype,
                     .requires_grad = requires_grad && context.training,
                     .recomputable = op.recomputable});
  op.output = static_cast<TensorId>(tensors.size() - 1);
  if (!context.training || !requires_grad) op.flops_backward = op.flops_rerun = 0;
  ops.push_back(std::move(op));
  return ops.back().output;
}

void Graph::save(TensorId tensor) {
  if (!context.training) return;
  Tensor& asked = tensors[static_cast<size_t>(tensor)];
  const TensorId kept = asked.saved_as == kNoTensor ? tensor : asked.saved_as;
  if (kept != tensor && !std::exchange(asked.gathered_again, true))
    comm(Collective::all_gather, CommGroup::tensor_parallel, true, asked.bytes());
  if (tensors[static_cast<size_t>(kept)].held_elsewhere) return;
  tensors[static_cast<size_t>(kept)].saved = true;
  ops.back().saved.push_back(kept);
}

TensorId Graph::save_extra(std::string_view name, int64_t elements, DType dtype) {
  tensors.push_back({.name = name,
                     .elements = elements,
                     .dtype = dtype,
                     .recomputable = ops.back().recomputable});
  const auto id = static_cast<TensorId>(tensors.size() - 1);
  save(id);
  return id;
}

bool Graph::param(Param p) {
  p.trainable = trains(p, context);
  params.push_back(std::move(p));
  const Param& own = params.back();
  if (own.adapter || !context.training || !saved_whole(*context.peft, context.prefix + own.name))
    return own.trainable;
  Param copy = own;
  const size_t dot = copy.name.rfind('.');
  copy.name.insert(dot == std::string::npos ? 0 : dot, ".modules_to_save.default");
  copy.trainable = copy.adapter = true;
  params.back().trainable = false;
  params.push_back(std::move(copy));
  return true;
}

void Graph::comm(Collective collective, CommGroup group, bool backward, Bytes bytes,
                 bool recomputed) {
  if (backward && !context.training) return;
  comms.push_back({collective, group, backward, recomputed, bytes});
}

}  // namespace memplan
