#include <cuda_runtime_api.h>

#include <stdexcept>

#include "cuda_rows.h"
#include "row_math.h"

namespace hiper::cuda {
namespace {

constexpr unsigned kThreads = 256;

unsigned blocks(std::size_t numbers) { return static_cast<unsigned>((numbers + kThreads - 1) / kThreads); }

void check_launch() {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) throw std::runtime_error(std::string("a row kernel failed: ") + cudaGetErrorString(error));
}

// One thread per number of a row, one row of blocks per edit.
__global__ void advance_kernel(RowBuffers buffers, const RowStep* steps) {
  const RowStep step = steps[blockIdx.y];
  const std::size_t i = std::size_t{blockIdx.x} * kThreads + threadIdx.x;
  if (step.slot == kNone || i >= buffers.size) return;
  const auto at = [&](std::int32_t index) { return index * buffers.size + i; };

  float latents = buffers.latents[at(step.slot)];
  if (step.cond_row != kNone) {
    float model_out = buffers.out_sample[at(step.cond_row)];
    if (step.uncond_row != kNone) {
      model_out = guide(model_out, buffers.out_sample[at(step.uncond_row)], step.guidance_scale);
    }
    const Solved solved = solve(step, latents, buffers.x0[at(step.slot)], model_out);
    buffers.latents[at(step.slot)] = latents = solved.latents;
    buffers.x0[at(step.slot)] = solved.x0;
  }
  for (const auto row : {step.next_cond_row, step.next_uncond_row}) {
    if (row == kNone) continue;
    buffers.sample[at(row)] = latents;
    if (i == 0) buffers.timestep[row] = step.next_timestep;
  }
}

}  // namespace

std::string status() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return std::string("built with CUDA, but no GPU can be used: ") + cudaGetErrorString(error);
  return "built with CUDA, " + std::to_string(count) + " GPU" + (count == 1 ? "" : "s");
}

bool available() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

void advance(const RowBuffers& buffers, const RowStep* steps, std::size_t count, void* stream) {
  if (count == 0 || buffers.size == 0) return;
  const dim3 grid(blocks(buffers.size), static_cast<unsigned>(count));
  advance_kernel<<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(buffers, steps);
  check_launch();
}

}  // namespace hiper::cuda
