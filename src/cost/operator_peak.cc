#include "cost/operator_peak.h"

#include <algorithm>
#include <vector>

#include "job/multiprocessors.h"
#include "lower/huggingface/module.h"
#include "ops/aten/liger.h"
#include "policy/pytorch.h"

namespace memplan {
namespace {

using namespace aten;  // NOLINT
using aten::Tensor;

// A benchmark's modules and inputs.
class Bench {
 public:
  explicit Bench(const OperatorBench& bench)
      : b_(bench), session_(Backend::cuda, Strategy{}.torch) {
    session_.rounds_to_512 = true;
  }

  Bytes peak() {
    set_up();
    Bytes most;
    for (int round = 0; round < 2; ++round) {
      for (Phase phase : {Phase::forward, Phase::backward}) {
        session_.ledger.enter(phase);
        if (phase == Phase::forward)
          out_ = forward();
        else
          run_backward(session_, out_, gradient_, retains_graph());
        session_.ledger.leave();
        most = std::max(most, Bytes(session_.ledger.peak(phase).level.bytes));
      }
      out_.reset();
    }
    // A handle, and so a workspace, for the thread of forward and for that of backward.
    const bool multiplies = b_.kind == OperatorBench::Kind::gated_mlp ||
                            b_.kind == OperatorBench::Kind::fused_linear_cross_entropy;
    return multiplies ? most + pytorch::cublas_workspace(b_.gpu, Strategy{}.torch) * 2 : most;
  }

 private:
  Tensor parameter(const Shape& sizes, DType dtype) {
    return session_.leaf(sizes, dtype, true, 1).value;
  }
  // y.backward(gradient, retain_graph=True); losses: y.backward()
  bool retains_graph() const {
    return b_.kind != OperatorBench::Kind::cross_entropy &&
           b_.kind != OperatorBench::Kind::fused_linear_cross_entropy;
  }

  void set_up() {
    const Shape labels{b_.tokens};
    switch (b_.kind) {
      case OperatorBench::Kind::cross_entropy:
        x_ = parameter({b_.tokens, b_.vocabulary}, b_.dtype);
        labels_ = allocate(session_, labels, DType::i64);
        return;
      case OperatorBench::Kind::fused_linear_cross_entropy:
        // The heads of both providers.
        for (int i = 0; i < 2; ++i)
          weights_.push_back(parameter({b_.vocabulary, b_.width}, b_.dtype));
        labels_ = allocate(session_, labels, DType::i64);
        break;
      case OperatorBench::Kind::gated_mlp:
        for (int i = 0; i < 2; ++i) weights_.push_back(parameter({b_.inner, b_.width}, b_.dtype));
        weights_.push_back(parameter({b_.width, b_.inner}, b_.dtype));
        x_ = parameter({1, b_.tokens, b_.width}, b_.dtype);  // of samples and tokens
        return;
      case OperatorBench::Kind::layer_norm:
      case OperatorBench::Kind::rms_norm:
        // Those of both providers, in fp32.
        for (int i = 0; i < 4; ++i) weights_.push_back(parameter({b_.width}, DType::f32));
        gradient_ = allocate(session_, {b_.tokens, b_.width}, b_.dtype);
        break;
    }
    x_ = parameter({b_.tokens, b_.width}, b_.dtype);
  }

  Tensor forward() {
    const liger::Device device{b_.liger ? multiprocessors(b_.gpu) : 1, b_.gpu.compute_major};
    switch (b_.kind) {
      case OperatorBench::Kind::cross_entropy:
        return b_.liger ? liger::cross_entropy(x_, labels_) : cross_entropy(x_, labels_);
      case OperatorBench::Kind::fused_linear_cross_entropy: {
        if (b_.liger) return liger::fused_linear_cross_entropy(x_, weights_[0], labels_, device);
        const Tensor logits = linear(x_, weights_[0], {});
        return cross_entropy(logits, labels_);
      }
      case OperatorBench::Kind::gated_mlp: {
        const Tensor gate = linear(x_, weights_[0], {});
        if (b_.liger) {
          const Tensor up = linear(x_, weights_[1], {});
          return linear(liger::gated(gate, up), weights_[2], {});
        }
        const Tensor active = activation(gate, "silu");
        const Tensor up = linear(x_, weights_[1], {});
        return linear(mul(active, up), weights_[2], {});
      }
      case OperatorBench::Kind::layer_norm:
        return b_.liger ? liger::layer_norm(x_, weights_[0], weights_[1], device)
                        : layer_norm(x_, weights_[0], weights_[1]);
      case OperatorBench::Kind::rms_norm:
        return b_.liger ? liger::rms_norm(x_, weights_[0], device) : hf::rms_norm(x_, weights_[0]);
    }
    return {};
  }

  const OperatorBench& b_;
  Session session_;
  Tensor x_, labels_, out_, gradient_;
  std::vector<Tensor> weights_;
};

}  // namespace

Bytes operator_peak(const OperatorBench& bench) { return Bench(bench).peak(); }

}  // namespace memplan
