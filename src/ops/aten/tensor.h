// PyTorch's tensors without their numbers: storages, sizes, strides, dtypes and who holds them.
//
// A Tensor is a handle, as a Python variable is: the storage lives until the last handle and the
// last operator that saved it are gone. Code that mirrors a module's forward therefore has the
// module's lifetimes. One operator a statement: temporaries of an expression outlive Python's.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "memplan/dtype.h"

namespace memplan::aten {

class Session;
struct Node;
struct Leaf;

/// Sizes or strides, in elements.
struct Shape {
  static constexpr int kMaxDims = 7;
  int dims = 0;
  std::array<int64_t, kMaxDims> at{};

  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) : Shape(std::span(sizes.begin(), sizes.size())) {}
  explicit Shape(std::span<const int64_t> sizes);
  /// Negative indices count from the end.
  int64_t& operator[](int i) { return at[static_cast<size_t>(i < 0 ? i + dims : i)]; }
  int64_t operator[](int i) const { return at[static_cast<size_t>(i < 0 ? i + dims : i)]; }
  int64_t elements() const;
  friend bool operator==(const Shape& a, const Shape& b);
};
Shape contiguous_strides(const Shape& sizes);

/// An intrusive pointer; counts are read, as PyTorch reads them, to reuse a gradient's memory.
template <typename T>
class Ref {
 public:
  Ref() = default;
  explicit Ref(T* p) : p_(p) {
    if (p_) ++p_->refs;
  }
  Ref(const Ref& other) : Ref(other.p_) {}
  Ref(Ref&& other) noexcept : p_(std::exchange(other.p_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(p_, other.p_);
    return *this;
  }
  ~Ref() {
    if (p_ && --p_->refs == 0) delete p_;
  }
  T* get() const { return p_; }
  T* operator->() const { return p_; }
  T& operator*() const { return *p_; }
  explicit operator bool() const { return p_ != nullptr; }

 private:
  T* p_ = nullptr;
};

struct TensorData;

struct Storage {
  Storage(Session& session, int64_t bytes);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  Session* session;
  int64_t bytes;
  /// A gradient or a cast of a parameter that stands for this many equal ones.
  int64_t copies = 1;
  bool counted = false;   ///< by its owner: a parameter, the batch
  bool kept = false;      ///< by autograd
  bool operand = false;   ///< of a matrix product or an attention kernel in backward
  bool gradient = false;  ///< of a parameter
  int refs = 0;

  // For reports: who made it, as what it was kept, and in which repeated stretch it was made.
  std::string_view op = {};
  Shape sizes = {};
  DType dtype = DType::f32;
  int stretch = 0;
  size_t among_kept = 0;

  void mark_kept(const TensorData& as);
  void mark_operand();  ///< of something kept
  void mark_gradient(int64_t copies);

  /// untyped_storage().resize_(0): its bytes are gone, whoever holds it.
  void release();
  /// Bytes of its own again.
  void restore(int64_t size);
  /// Those of another storage from now on, which it keeps alive.
  void share(Ref<Storage> other) { shared_ = std::move(other); }

 private:
  int64_t counted_bytes() const;
  Ref<Storage> shared_;
};

/// Equal tensors that autograd keeps.
struct KeptTensors {
  std::string_view op;  ///< that made them
  Shape sizes;
  DType dtype = DType::f32;
  int64_t bytes = 0;  ///< of one storage
  int64_t count = 0;
};

struct TensorData {
  Ref<Storage> storage;
  Shape sizes, strides;
  DType dtype = DType::f32;
  bool requires_grad = false;
  bool view = false;  ///< of a base that it keeps alive
  Ref<Node> grad_fn;
  int output = 0;        ///< which output of grad_fn
  Leaf* leaf = nullptr;  ///< a parameter
  int refs = 0;
};

class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(TensorData* data) : data_(data) {}

  explicit operator bool() const { return static_cast<bool>(data_); }
  TensorData* operator->() const { return data_.get(); }
  const Shape& sizes() const { return data_->sizes; }
  const Shape& strides() const { return data_->strides; }
  int dims() const { return data_->sizes.dims; }
  int64_t size(int dim) const { return data_->sizes[dim]; }
  int64_t elements() const { return data_->sizes.elements(); }
  DType dtype() const { return data_->dtype; }
  bool requires_grad() const { return data_->requires_grad; }
  Session& session() const { return *data_->storage->session; }
  int64_t bytes() const;  ///< of its elements; its storage may be larger
  bool is_contiguous() const;
  /// Every element of the storage's stretch once, in some order of the dimensions.
  bool is_dense() const;
  /// Strides of `other`, where they matter.
  bool strides_match(const Tensor& other) const;
  /// The same storage seen without its history.
  Tensor detach() const;
  void reset() { data_ = {}; }

 private:
  Ref<TensorData> data_;
};

class Grads;
using Backward = std::function<void(Grads&)>;

/// Where the gradient of one of an operator's inputs goes.
struct Edge {
  Ref<Node> node;
  int input = 0;
  Shape sizes;  ///< of that input: a gradient of another shape is summed to it
  DType dtype = DType::f32;
};

/// An operator on the tape, or (`leaf`) the accumulation into a parameter's gradient.
struct Node {
  Session* session = nullptr;
  uint64_t sequence = 0;
  int stretch = 0;
  int compiled = 0;  ///< region of torch.compile that made it; 0: none
  Leaf* leaf = nullptr;
  std::vector<Edge> next;
  Backward backward;
  std::vector<Tensor> held;                      ///< attributes of a Python Function's ctx
  std::vector<std::function<void()>> pre_hooks;  ///< of its outputs: Tensor.register_hook
  int refs = 0;
  // The engine's own.
  std::vector<Tensor> buffer;
  int outputs = 1, waiting = 0;
  bool seen = false;
};

/// A new storage, strides given or contiguous. Notes nothing.
Tensor allocate(Session& session, const Shape& sizes, DType dtype);
Tensor allocate(Session& session, const Shape& sizes, const Shape& strides, DType dtype);
/// A tensor whose bytes its owner counts by itself: a buffer of the model.
Tensor owned_elsewhere(Session& session, const Shape& sizes, DType dtype);
/// Another view of `x`'s storage, without history.
Tensor alias(const Tensor& x, const Shape& sizes, const Shape& strides);

}  // namespace memplan::aten
