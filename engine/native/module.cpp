// engine._native: the kernels on NumPy arrays, and on a GPU's memory by address.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include "cuda_rows.h"
#include "rows.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <typename T, std::size_t axes>
using Array = nb::ndarray<T, nb::ndim<axes>, nb::c_contig, nb::device::cpu>;
using Steps = Array<const std::uint8_t, 1>;  // hiper::RowStep as bytes

const hiper::RowStep* row_steps(const Steps& steps) { return reinterpret_cast<const hiper::RowStep*>(steps.data()); }

std::size_t count(const Steps& steps) {
  const auto address = reinterpret_cast<std::uintptr_t>(steps.data());
  if (steps.size() % sizeof(hiper::RowStep) || address % alignof(hiper::RowStep)) {
    throw nb::value_error("steps are not whole, aligned row steps");
  }
  return steps.size() / sizeof(hiper::RowStep);
}

void advance(Array<const float, 2> out_sample, Array<float, 2> sample, Array<float, 1> timestep,
             Array<float, 2> latents, Array<float, 2> x0, Steps steps) {
  const std::size_t rows = sample.shape(0), slots = latents.shape(0), size = latents.shape(1);
  if (timestep.shape(0) != rows || x0.shape(0) != slots || out_sample.shape(1) != size || sample.shape(1) != size ||
      x0.shape(1) != size) {
    throw nb::value_error("the arrays do not agree on the number of rows, of slots or the size of a row");
  }
  const hiper::RowBuffers buffers{out_sample.data(), sample.data(), timestep.data(), latents.data(), x0.data(),
                                  out_sample.shape(0), rows, slots, size};
  hiper::check(buffers, row_steps(steps), count(steps));
  hiper::advance(buffers, row_steps(steps), count(steps));
}

void to_pixels(Array<const float, 3> image, Array<std::uint8_t, 3> pixels) {
  const std::size_t images = image.shape(0), area = image.shape(2);
  if (image.shape(1) != 3 || pixels.shape(0) != images || pixels.shape(1) != area || pixels.shape(2) != 3) {
    throw nb::value_error("image is not (images, 3, area) with pixels (images, area, 3)");
  }
  hiper::to_pixels(image.data(), pixels.data(), images, area);
}

template <typename T>
T* pointer(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

void cuda_advance(std::uintptr_t out_sample, std::uintptr_t sample, std::uintptr_t timestep, std::uintptr_t latents,
                  std::uintptr_t x0, std::uintptr_t steps, std::size_t size, std::size_t count, std::uintptr_t stream) {
  const hiper::RowBuffers buffers{pointer<float>(out_sample), pointer<float>(sample), pointer<float>(timestep),
                                  pointer<float>(latents), pointer<float>(x0), 0, 0, 0, size};
  hiper::cuda::advance(buffers, pointer<hiper::RowStep>(steps), count, pointer<void>(stream));
}

}  // namespace

NB_MODULE(_native, module) {
  module.def("advance", &advance, "out_sample"_a, "sample"_a.noconvert(), "timestep"_a.noconvert(),
             "latents"_a.noconvert(), "x0"_a.noconvert(), "steps"_a.noconvert());
  module.def("to_pixels", &to_pixels, "image"_a, "pixels"_a.noconvert());
  module.def("cuda_status", &hiper::cuda::status);
  module.def("cuda_available", &hiper::cuda::available);
  module.def("cuda_advance", &cuda_advance, "out_sample"_a, "sample"_a, "timestep"_a, "latents"_a, "x0"_a, "steps"_a,
             "size"_a, "count"_a, "stream"_a);
}
