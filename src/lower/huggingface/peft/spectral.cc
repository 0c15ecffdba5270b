// Methods with a transform: FourierFT, WaveFT, C³A. A complex tensor is one whose last dimension
// is 2.
#include "lower/huggingface/peft/method.h"
#include "memplan/error.h"

namespace memplan::hf::peft_forward {

using namespace aten;  // NOLINT

namespace {

Shape complex(Shape sizes) {
  sizes.at[static_cast<size_t>(sizes.dims++)] = 2;
  return sizes;
}
Tensor make_complex(Session& session, std::string_view op, const Shape& sizes) {
  return make(session, op, complex(sizes), DType::f32);
}

// torch.fft.ifft2 of a real matrix: it is made complex first.
Tensor inverse_fourier(const Tensor& x) {
  Session& session = x.session();
  Tensor out;
  {
    const Tensor wide = make_complex(session, "aten._to_copy.default", x.sizes());
    out = make_complex(session, "aten._fft_c2c.default", x.sizes());
  }
  if (tracks(x))
    record({&out}, {&x}, [sizes = x.sizes()](Grads& g) {
      const Tensor back = make_complex(g.session(), "aten._fft_c2c.default", sizes);
      g.set(0, select(back, -1));
    });
  return out;
}

// The trained coefficients in a matrix of zeros.
Tensor dense_spectrum(const Site& s, const Tensor& spectrum, const Tensor& indices, int64_t rows,
                      int64_t columns) {
  const Tensor zeros = make(s.f.session, "aten.zeros.default", {rows, columns}, spectrum.dtype());
  return index_put_in_place(zeros, indices, spectrum);
}

// x[mask], all of it.
Tensor index_where(const Tensor& x, const Tensor& mask) {
  Tensor out = make(x.session(), "aten.index.Tensor", x.sizes(), x.dtype());
  if (!tracks(x)) return out;
  const Saved kept(mask);
  record({&out}, {&x}, [kept, sizes = x.sizes()](Grads& g) {
    const Tensor at = kept.get();
    const Tensor zeros = make(g.session(), "aten.new_zeros.default", sizes, g.in().dtype());
    g.set(0, make(g.session(), "aten.index_put.default", sizes, g.in().dtype()));
  });
  return out;
}

// result + x·ΔWᵀ in the input's dtype.
Tensor add_product(const Tensor& x, Tensor result, const Tensor& delta) {
  const DType dtype = x.dtype();
  const Tensor wide = to(x, delta.dtype());
  {
    const Tensor product = aten::linear(wide, delta, {});
    result = add(result, product);
  }
  return to(result, dtype);
}

// waverec2d for db1, whose filters are 2 × 2: four bands and one transposed convolution of stride
// 2. Convolution keeps its input and its filters, which are not trained.
Tensor wave_reconstruction(const Tensor& dense) {
  Session& session = dense.session();
  const int64_t rows = dense.size(0) / 2, columns = dense.size(1) / 2;
  std::vector<Tensor> bands;
  for (int i = 0; i < 4; ++i) {
    const Tensor half = slice(dense, 0, i / 2 * rows, rows);
    const Tensor band = slice(half, 1, i % 2 * columns, columns);
    bands.push_back(unsqueeze(unsqueeze(band, 0), 0));
  }
  Tensor filters = make(session, "aten.stack.default", {4, 1, 2, 2}, dense.dtype());
  Tensor stacked = cat(bands, 1);
  filters = session.cast_for_autocast(filters);
  stacked = session.cast_for_autocast(stacked);
  Tensor out =
      make(session, "aten.convolution.default", {1, 1, 2 * rows, 2 * columns}, stacked.dtype());
  if (tracks(stacked)) {
    const Saved kept(stacked), weight(filters);
    record({&out}, {&stacked}, [kept, weight](Grads& g) {
      const Tensor x = kept.get();
      const Tensor w = weight.get();
      g.set(0, make(g.session(), "aten.convolution_backward.default", x.sizes(), x.dtype()));
    });
  }
  return view(out, dense.sizes());
}

// c3a/utils.py, BlockCircularConvolution: x [.., n, b], kernel [m, n, b]; products of transforms
// are batched over b.
Tensor block_circular(const Tensor& x, const Tensor& kernel) {
  Session& session = x.session();
  const int64_t m = kernel.size(0), n = kernel.size(1), b = kernel.size(2);
  const int64_t tokens = x.elements() / x.size(-1);
  Shape in = x.sizes(), outer = x.sizes();
  in[-1] = n;
  in.at[static_cast<size_t>(in.dims++)] = b;
  outer[-1] = m * b;
  Shape parts = in;
  parts[-2] = m;
  const Tensor blocks = view(x, in);
  const bool tracked = tracks({&x, &kernel});
  Saved kx, kw;
  if (tracked) {
    kx = Saved(blocks);
    kw = Saved(kernel);
  }
  Tensor out;
  {
    NoGrad off(session);
    Tensor transform;
    {
      const Tensor of_x = make_complex(session, "aten._fft_r2c.default", in);
      const Tensor of_w = make_complex(session, "aten._fft_r2c.default", kernel.sizes());
      transform = make_complex(session, "aten.bmm.default", {b, tokens, m});
    }
    const Tensor back = make_complex(session, "aten._fft_c2c.default", parts);
    out = view(select(back, -1), outer);
  }
  if (!tracked) return out;
  record({&out}, {&x, &kernel}, [kx, kw, in, parts, outer = x.sizes(), b, m, n, tokens](Grads& g) {
    Session& own = g.session();
    const Tensor input = kx.get();
    const Tensor w = kw.get();
    const Tensor of_grad = make_complex(own, "aten._fft_r2c.default", parts);
    Tensor of_x, of_kernel;
    {
      Tensor product;
      {
        const Tensor of_w = make_complex(own, "aten._fft_r2c.default", w.sizes());
        product = make_complex(own, "aten.bmm.default", {b, tokens, n});
        of_x = make_complex(own, "aten._fft_c2c.default", in);
      }
      product.reset();
      of_x = view(select(of_x, -1), outer);
    }
    {
      const Tensor transform = make_complex(own, "aten._fft_r2c.default", in);
      const Tensor product = make_complex(own, "aten.bmm.default", {b, m, n});
      of_kernel = make_complex(own, "aten._fft_c2c.default", w.sizes());
    }
    g.set(0, of_x);
    g.set(1, select(of_kernel, -1));
  });
  return out;
}

}  // namespace

// fourierft/layer.py, FourierFTLinear.forward
Tensor fourierft(const Site& s, const Tensor& x) {
  Tensor result = s.base(x);
  const Tensor spectrum = s.get("fourierft_spectrum.default");
  const Tensor indices = s.buffer("indices.default");
  Tensor delta;
  {
    const Tensor dense = dense_spectrum(s, spectrum, indices, s.module.out, s.module.in);
    const Tensor values = inverse_fourier(dense);
    delta = mul_scalar(select(values, -1));
  }
  return add_product(x, std::move(result), delta);
}

// waveft/layer.py, WaveFTLinear.forward
Tensor waveft(const Site& s, const Tensor& x) {
  Tensor result = s.base(x);
  const Tensor spectrum = s.get("waveft_spectrum.default");
  Tensor delta;
  if (s.number(PeftNumber::inverse_transform) == 0) {
    const Tensor indices = s.buffer("waveft_indices.default");
    const Tensor dense = dense_spectrum(s, spectrum, indices, s.module.out, s.module.in);
    delta = mul_scalar(dense);
  } else {
    // Sides are made even; indices beyond them would be filtered out.
    const Tensor own = s.buffer("waveft_indices.default");
    const Tensor shifted = clone(own);
    const Tensor inside =
        make(s.f.session, "aten.bitwise_and.Tensor", {spectrum.size(0)}, DType::boolean);
    const Tensor valid = make(s.f.session, "aten.index.Tensor", own.sizes(), DType::i64);
    const Tensor values = index_where(spectrum, inside);
    const Tensor dense = dense_spectrum(s, values, valid, ceil_div(s.module.out, 2) * 2,
                                        ceil_div(s.module.in, 2) * 2);
    const Tensor whole = wave_reconstruction(dense);
    delta = mul_scalar(whole);
  }
  return add_product(x, std::move(result), delta);
}

// c3a/layer.py, C3ALinear.forward
Tensor c3a(const Site& s, const Tensor& x) {
  Tensor result = s.base(x);
  const DType dtype = result.dtype();
  Tensor wide = to(x, DType::f32);
  const Tensor kernel = to(s.get("c3a_kernel.default"), DType::f32);
  {
    const Tensor turned = block_circular(wide, kernel);
    wide = div_scalar(turned);
  }
  const Tensor narrow = to(wide, dtype);
  result = add_in_place(std::move(result), narrow);
  return to(result, x.dtype());
}

}  // namespace memplan::hf::peft_forward
