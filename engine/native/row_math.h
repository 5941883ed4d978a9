// The arithmetic of one number, for CPU and GPU alike. No multiplication may be fused with an addition here
// (-ffp-contract=off, --fmad=false), so that both equal the NumPy oracle bit by bit; memory is what they wait for.
#pragma once

#include "rows.h"

#ifdef __CUDACC__
#define HIPER_BOTH __host__ __device__
#else
#define HIPER_BOTH
#endif

namespace hiper {

struct Solved {
  float latents, x0;
};

HIPER_BOTH inline float guide(float cond, float uncond, float guidance_scale) {
  return uncond + guidance_scale * (cond - uncond);
}

HIPER_BOTH inline Solved solve(const RowStep& step, float latents, float x0_prev, float model_out) {
  const float x0 = step.p_x * latents + step.p_m * model_out;
  return {step.k_x * latents + step.k_0 * x0 + step.k_1 * x0_prev, x0};
}

}  // namespace hiper
