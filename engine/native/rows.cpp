#include "rows.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "row_math.h"

namespace hiper {
namespace {

void check_index(const char* what, std::int32_t index, std::size_t count) {
  if (index < kNone || index >= static_cast<std::int64_t>(count)) {
    throw std::out_of_range(std::string(what) + " " + std::to_string(index) + " is not among the " +
                            std::to_string(count) + " there are");
  }
}

// The two loops differ so that an unguided step reads no second row.
void take_step(const RowBuffers& buffers, const RowStep& step, float* latents) {
  float* x0 = buffers.x0 + step.slot * buffers.size;
  const float* cond = buffers.out_sample + step.cond_row * buffers.size;
  const auto put = [&](std::size_t i, float model_out) {
    const Solved solved = solve(step, latents[i], x0[i], model_out);
    latents[i] = solved.latents;
    x0[i] = solved.x0;
  };
  if (step.uncond_row == kNone) {
    for (std::size_t i = 0; i < buffers.size; ++i) put(i, cond[i]);
  } else {
    const float* uncond = buffers.out_sample + step.uncond_row * buffers.size;
    for (std::size_t i = 0; i < buffers.size; ++i) put(i, guide(cond[i], uncond[i], step.guidance_scale));
  }
}

void write_row(const RowBuffers& buffers, const RowStep& step, std::int32_t row, const float* latents) {
  if (row == kNone) return;
  std::copy_n(latents, buffers.size, buffers.sample + row * buffers.size);
  buffers.timestep[row] = step.next_timestep;
}

std::uint8_t to_pixel(float value) {
  // fmax and fmin return the other argument in place of NaN.
  return static_cast<std::uint8_t>(rintf(fminf(fmaxf(value * 0.5f + 0.5f, 0.0f), 1.0f) * 255.0f));
}

}  // namespace

void check(const RowBuffers& buffers, const RowStep* steps, std::size_t count) {
  for (const RowStep* step = steps; step != steps + count; ++step) {
    check_index("slot", step->slot, buffers.slots);
    check_index("row", step->cond_row, buffers.out_rows);
    check_index("row", step->uncond_row, buffers.out_rows);
    check_index("row", step->next_cond_row, buffers.rows);
    check_index("row", step->next_uncond_row, buffers.rows);
  }
}

void advance(const RowBuffers& buffers, const RowStep* steps, std::size_t count) {
  for (const RowStep* step = steps; step != steps + count; ++step) {
    if (step->slot == kNone) continue;
    float* latents = buffers.latents + step->slot * buffers.size;
    if (step->cond_row != kNone) take_step(buffers, *step, latents);
    write_row(buffers, *step, step->next_cond_row, latents);
    write_row(buffers, *step, step->next_uncond_row, latents);
  }
}

void to_pixels(const float* image, std::uint8_t* pixels, std::size_t images, std::size_t area) {
  for (std::size_t n = 0; n < images; ++n, image += 3 * area, pixels += 3 * area) {
    for (std::size_t i = 0; i < area; ++i) {
      for (std::size_t channel = 0; channel < 3; ++channel) {
        pixels[3 * i + channel] = to_pixel(image[channel * area + i]);
      }
    }
  }
}

}  // namespace hiper
