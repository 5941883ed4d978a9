// What happens between two calls of the UNet: guidance, the solver's step, the next input rows, and 8-bit pixels.
// The core knows no Python. Memory belongs to the caller; numbers are fp32 and arrays C-contiguous.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hiper {

constexpr std::int32_t kNone = -1;

// One edit's part of the work. Its row numbers are kNone where it has no such row, its slot where there is no edit.
struct RowStep {
  std::int32_t slot;             // of the edit's latents and x0
  std::int32_t cond_row;         // its prediction in out_sample; kNone: it has just joined and takes no step
  std::int32_t uncond_row;       // kNone: the step is unguided
  std::int32_t next_cond_row;    // where its next input goes; kNone: it leaves
  std::int32_t next_uncond_row;  // kNone: its next step is unguided
  float guidance_scale;
  float p_x, p_m, k_x, k_0, k_1;  // see engine/schedule.py
  float next_timestep;
};
static_assert(sizeof(RowStep) == 48, "engine/row_kernels.py lays it out in the same way");

struct RowBuffers {
  const float* out_sample;  // (out_rows, size), the UNet's answer
  float* sample;            // (rows, size), the UNet's next input
  float* timestep;          // (rows,)
  float* latents;           // (slots, size)
  float* x0;                // (slots, size), the clean latents as last estimated
  std::size_t out_rows, rows, slots, size;
};

// Throws std::out_of_range for a row or slot that the buffers do not have.
void check(const RowBuffers& buffers, const RowStep* steps, std::size_t count);

// Takes every edit's step and writes its next rows. An edit reads and writes nothing of another edit.
void advance(const RowBuffers& buffers, const RowStep* steps, std::size_t count);

// Turns images (images, 3, area) in [-1, 1] into pixels (images, area, 3); NaN becomes 0.
void to_pixels(const float* image, std::uint8_t* pixels, std::size_t images, std::size_t area);

}  // namespace hiper
