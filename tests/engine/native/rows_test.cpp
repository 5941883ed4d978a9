// Oracle: figures worked out by hand, and the rule that an edit touches nothing of another.
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "batch.h"
#include "check.h"
#include "cuda_rows.h"

using hiper::kNone;
using hiper::RowStep;

namespace {

void test_a_guided_step_by_hand() {
  Batch batch(2, 1, 1);
  batch.latents = {2.0f}, batch.x0 = {4.0f}, batch.out_sample = {1.5f, 0.5f};
  const RowStep step{0, 0, 1, 1, 0, 3.0f, 2.0f, -1.0f, 0.5f, 0.25f, 0.125f, 41.0f};
  hiper::advance(batch.buffers(), &step, 1);
  // model_out = 0.5 + 3 (1.5 - 0.5) = 3.5; x0 = 2*2 - 3.5 = 0.5; next = 0.5*2 + 0.25*0.5 + 0.125*4 = 1.625
  CHECK(batch.x0[0] == 0.5f && batch.latents[0] == 1.625f);
  CHECK(batch.sample[0] == 1.625f && batch.sample[1] == 1.625f);
  CHECK(batch.timestep[0] == 41.0f && batch.timestep[1] == 41.0f);
}

void test_an_unguided_step_reads_one_row() {
  Batch batch(2, 1, 1);
  batch.latents = {2.0f}, batch.x0 = {0.0f}, batch.out_sample = {std::nanf(""), 1.0f};
  const RowStep step{0, 1, kNone, 1, kNone, std::nanf(""), 1.0f, -1.0f, 1.0f, 1.0f, 0.0f, 7.0f};
  hiper::advance(batch.buffers(), &step, 1);
  CHECK(batch.latents[0] == 3.0f && batch.sample[1] == 3.0f && batch.timestep[1] == 7.0f);
  CHECK(batch.sample[0] == -7.0f && batch.timestep[0] == -7.0f);
}

void test_joining_takes_no_step_and_leaving_writes_no_row() {
  Batch batch(2, 2, 1);
  batch.latents = {5.0f, 6.0f}, batch.x0 = {0.0f, 0.0f}, batch.out_sample = {1.0f, 1.0f};
  const RowStep joins{0, kNone, kNone, 1, kNone, 1.0f, 9.0f, 9.0f, 9.0f, 9.0f, 9.0f, 999.0f};
  const RowStep leaves{1, 0, kNone, kNone, kNone, 1.0f, 0.0f, 1.0f, 1.0f, 1.0f, 0.0f, 0.0f};
  const RowStep steps[] = {joins, leaves};
  hiper::advance(batch.buffers(), steps, 2);
  CHECK(batch.latents[0] == 5.0f && batch.sample[1] == 5.0f && batch.timestep[1] == 999.0f);
  CHECK(batch.latents[1] == 7.0f && batch.sample[0] == -7.0f);
}

void test_edits_do_not_depend_on_each_other() {
  Batch together(5, 4, 37), apart(5, 4, 37), poisoned(5, 4, 37);
  const auto steps = mixed_steps();
  for (std::size_t i = 2 * 37; i < 3 * 37; ++i) poisoned.latents[i] = std::numeric_limits<float>::quiet_NaN();
  hiper::advance(together.buffers(), steps.data(), steps.size());
  hiper::advance(poisoned.buffers(), steps.data(), steps.size());
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) hiper::advance(apart.buffers(), &*step, 1);
  CHECK(together.sample == apart.sample && together.latents == apart.latents && together.x0 == apart.x0);
  CHECK(together.sample == poisoned.sample && together.timestep == poisoned.timestep);
}

void test_rows_that_are_not_there_are_refused() {
  for (const std::int32_t wrong : {-2, 5, 1 << 30}) {
    for (const std::size_t field : {0, 1, 2, 3, 4}) {
      Batch batch(5, 4, 1);
      auto step = mixed_steps()[0];
      std::memcpy(reinterpret_cast<char*>(&step) + field * sizeof(wrong), &wrong, sizeof(wrong));
      bool refused = false;
      try {
        hiper::check(batch.buffers(), &step, 1);
      } catch (const std::out_of_range&) {
        refused = true;
      }
      CHECK(refused);
    }
  }
}

void test_pixels() {
  constexpr float inf = std::numeric_limits<float>::infinity();
  // Two images of two pixels; channels come apart in the input and together in the output.
  const float image[] = {-1.0f, 1.0f, 0.0f, -0.5f, -9.0f, 9.0f, inf, -inf, std::nanf(""), 0.5f, 1.0f, -1.0f};
  std::uint8_t pixels[12];
  hiper::to_pixels(image, pixels, 2, 2);
  const std::uint8_t expected[] = {0, 128, 0, 255, 64, 255, 255, 0, 255, 0, 191, 0};
  CHECK(std::memcmp(pixels, expected, sizeof(pixels)) == 0);
  for (int level = 0; level < 256; ++level) {
    const float gray[] = {static_cast<float>(level) / 127.5f - 1.0f, 0.0f, 0.0f};
    hiper::to_pixels(gray, pixels, 1, 1);
    CHECK(pixels[0] == level);
  }
}

void test_without_a_gpu_the_error_says_what_is_missing() {
  if (hiper::cuda::available()) return;
  CHECK(hiper::cuda::status().find("CUDA") != std::string::npos);
  const RowStep step = mixed_steps()[0];
  try {
    hiper::cuda::advance(Batch(5, 4, 1).buffers(), &step, 1, nullptr);
    CHECK(false);
  } catch (const std::runtime_error& error) {
    CHECK(std::strstr(error.what(), "row kernel") != nullptr);
  }
}

}  // namespace

int main() {
  test_a_guided_step_by_hand();
  test_an_unguided_step_reads_one_row();
  test_joining_takes_no_step_and_leaving_writes_no_row();
  test_edits_do_not_depend_on_each_other();
  test_rows_that_are_not_there_are_refused();
  test_pixels();
  test_without_a_gpu_the_error_says_what_is_missing();
  return failures != 0;
}
