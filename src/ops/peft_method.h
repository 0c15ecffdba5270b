// What one PEFT method adds to a module, written down as parameters with shapes.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "ops/peft.h"

namespace memplan {

/// A module while a method is put on it.
class PeftSite {
 public:
  PeftSite(Graph& g, const PeftModule& module);

  const PeftModule& module;
  const PeftSpec& peft;
  int64_t in, out, rank;

  int64_t number(PeftNumber which) const { return peft.number(which); }
  /// A trained parameter MODULE.NAME, in fp32.
  Param& add(std::string_view name, std::initializer_list<int64_t> shape);
  /// A parameter that peft registers but does not train.
  Param& add_frozen(std::string_view name, std::initializer_list<int64_t> shape);
  /// A registered tensor that is no parameter.
  Param& add_buffer(std::string_view name, std::initializer_list<int64_t> shape,
                    DType dtype = DType::f32);
  /// A tensor that the module holds unregistered: it is among neither parameters nor buffers.
  Param& add_attribute(std::string_view name, std::initializer_list<int64_t> shape, DType dtype);
  /// size / parts. Throws Error{bad_input} where it does not divide.
  int64_t divided(int64_t size, int64_t parts, std::string_view by) const;
  /// What the method says by peft about this module, as an error at --peft.
  [[noreturn]] void refuse(const std::string& problem, const std::string& hint = {}) const;
  Graph& graph() { return g_; }

 private:
  Graph& g_;
};

/// Modules that share parameters, in forward order.
struct PeftSharing {
  Graph& g;
  const PeftSpec& peft;
  std::span<const AdaptedModule> modules;
  int64_t widest_in = 0, widest_out = 0;  ///< over all modules
  int64_t count = 0;                      ///< of them
  Param& add(std::string_view name, std::initializer_list<int64_t> shape);
  Param& add_buffer(std::string_view name, std::initializer_list<int64_t> shape, DType dtype);
};

// The methods by kin. A method's file in peft 0.21.2 is src/peft/tuners/KIND/layer.py,
// update_layer.
namespace peft_parameters {

// peft_low_rank.cc
void lora(PeftSite& s);
void litgpt_lora(PeftSite& s);
void torchtune_lora(PeftSite& s);
void bridge_lora(PeftSite& s);
void adalora(PeftSite& s);
void loha(PeftSite& s);
void lokr(PeftSite& s);
void hira(PeftSite& s);
void deft(PeftSite& s);
void delora(PeftSite& s);
void glora(PeftSite& s);
void gralora(PeftSite& s);
void poly(PeftSite& s);
void peanut(PeftSite& s);
void osf(PeftSite& s);

// peft_orthogonal.cc
void oft(PeftSite& s);
void boft(PeftSite& s);
void hra(PeftSite& s);
void psoft(PeftSite& s);
void road(PeftSite& s);

// peft_sparse.cc
void ia3(PeftSite& s);
void beft(PeftSite& s);
void ln_tuning(PeftSite& s);
void trainable_tokens(PeftSite& s);
void miss(PeftSite& s);
void bone(PeftSite& s);
void c3a(PeftSite& s);
void fourierft(PeftSite& s);
void waveft(PeftSite& s);
void shira(PeftSite& s);
void supertuning(PeftSite& s);
void litgpt_adapter_v2(PeftSite& s);

// peft_shared.cc: what stands on a module, and what all of them share
void vera(PeftSite& s);
void pvera(PeftSite& s);
void randlora(PeftSite& s);
void vblora(PeftSite& s);
void unilora(PeftSite& s);
void tinylora(PeftSite& s);
void lily(PeftSite& s);
void vera_shared(PeftSharing& s);
void pvera_shared(PeftSharing& s);
void randlora_shared(PeftSharing& s);
void vblora_shared(PeftSharing& s);
void unilora_shared(PeftSharing& s);
void tinylora_shared(PeftSharing& s);
void lily_shared(PeftSharing& s);

}  // namespace peft_parameters
}  // namespace memplan
