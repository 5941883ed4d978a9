// The same work on an NVIDIA GPU: rows.cu where the build has CUDA, no_cuda.cpp with a clear error where it has not.
#pragma once

#include <string>

#include "rows.h"

namespace hiper::cuda {

// What this build and this machine can do, in words; never throws.
std::string status();

// True where the kernels can run.
bool available();

// As hiper::advance. Buffers and steps lie on the device and `stream` is a cudaStream_t. Nothing is allocated, copied
// or waited for, so that a CUDA graph can capture the call: rewrite `steps` and replay it; unused entries have no slot.
// Row and slot numbers are not checked: whoever hands them out knows how many there are.
// Throws std::runtime_error.
void advance(const RowBuffers& buffers, const RowStep* steps, std::size_t count, void* stream);

}  // namespace hiper::cuda
