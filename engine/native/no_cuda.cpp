#include <stdexcept>

#include "cuda_rows.h"

namespace hiper::cuda {
namespace {

constexpr const char* kMissing =
    "built without CUDA; install nvcc 12.8 or newer, then HiPer again with HIPER_CUDA=ON in the environment";

}  // namespace

std::string status() { return kMissing; }

bool available() { return false; }

void advance(const RowBuffers&, const RowStep*, std::size_t, void*) {
  throw std::runtime_error(std::string("the row kernels were ") + kMissing);
}

}  // namespace hiper::cuda
