// Buffers of a batch with numbers of every size in them, owned by the test.
#pragma once

#include <random>
#include <vector>

#include "rows.h"

struct Batch {
  std::size_t rows, slots, size;
  std::vector<float> out_sample, sample, timestep, latents, x0;

  Batch(std::size_t rows, std::size_t slots, std::size_t size)
      : rows(rows), slots(slots), size(size), out_sample(rows * size), sample(rows * size, -7.0f),
        timestep(rows, -7.0f), latents(slots * size), x0(slots * size) {
    std::mt19937 generator(42);
    std::normal_distribution<float> normal;
    for (auto* values : {&out_sample, &latents, &x0}) {
      for (float& value : *values) value = normal(generator);
    }
  }

  hiper::RowBuffers buffers() {
    return {out_sample.data(), sample.data(), timestep.data(), latents.data(), x0.data(), rows, rows, slots, size};
  }
};

// Edits of every kind: guided, unguided, joining, leaving, and turning from guided to unguided; an entry without edit.
inline std::vector<hiper::RowStep> mixed_steps() {
  return {
      {0, 0, 1, 0, 1, 7.5f, 1.1f, -0.4f, 0.8f, 0.3f, -0.1f, 981.0f},
      {3, 2, hiper::kNone, 4, hiper::kNone, 0.0f, 0.9f, -0.2f, 0.5f, 0.6f, 0.0f, 421.5f},
      {1, hiper::kNone, hiper::kNone, 2, 3, 3.0f, 9.0f, 9.0f, 9.0f, 9.0f, 9.0f, 999.0f},
      {2, 3, 4, hiper::kNone, hiper::kNone, 2.0f, 1.0f, -1.0f, 0.0f, 1.0f, 0.0f, 0.0f},
      {hiper::kNone, 0, 0, 0, 0, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f},
  };
}
