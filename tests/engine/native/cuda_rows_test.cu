// Oracle: the CPU core, bit by bit, launched plainly and replayed from a CUDA graph. Skipped (77) without a GPU.
#include <cuda_runtime_api.h>

#include <cstring>

#include "batch.h"
#include "check.h"
#include "cuda_rows.h"

namespace {

constexpr int kSkip = 77;

template <typename T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& values) : count_(values.size()) {
    CHECK(cudaMalloc(&data_, count_ * sizeof(T)) == cudaSuccess);
    CHECK(cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice) == cudaSuccess);
  }
  ~OnDevice() { cudaFree(data_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  T* data() { return data_; }
  bool holds(const std::vector<T>& expected) {
    std::vector<T> found(count_);
    CHECK(cudaMemcpy(found.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost) == cudaSuccess);
    return std::memcmp(found.data(), expected.data(), count_ * sizeof(T)) == 0;
  }

 private:
  std::size_t count_;
  T* data_ = nullptr;
};

struct DeviceBatch {
  std::size_t rows, slots, size;
  OnDevice<float> out_sample, sample, timestep, latents, x0;

  explicit DeviceBatch(const Batch& host)
      : rows(host.rows), slots(host.slots), size(host.size), out_sample(host.out_sample), sample(host.sample),
        timestep(host.timestep), latents(host.latents), x0(host.x0) {}

  hiper::RowBuffers buffers() {
    return {out_sample.data(), sample.data(), timestep.data(), latents.data(), x0.data(), rows, rows, slots, size};
  }
  bool equals(const Batch& host) {
    return sample.holds(host.sample) && timestep.holds(host.timestep) && latents.holds(host.latents) &&
           x0.holds(host.x0);
  }
};

void test_advance_equals_the_cpu_plainly_and_from_a_graph(std::size_t size) {
  Batch host(5, 4, size);
  DeviceBatch device(host);
  const auto steps = mixed_steps();
  OnDevice<hiper::RowStep> device_steps(steps);
  cudaStream_t stream;
  CHECK(cudaStreamCreate(&stream) == cudaSuccess);

  hiper::advance(host.buffers(), steps.data(), steps.size());
  hiper::cuda::advance(device.buffers(), device_steps.data(), steps.size(), stream);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess && device.equals(host));

  cudaGraph_t graph;
  cudaGraphExec_t executable;
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  hiper::cuda::advance(device.buffers(), device_steps.data(), steps.size(), stream);
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  CHECK(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
  for (int replay = 0; replay < 3; ++replay) {
    hiper::advance(host.buffers(), steps.data(), steps.size());
    CHECK(cudaGraphLaunch(executable, stream) == cudaSuccess);
  }
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess && device.equals(host));
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

}  // namespace

int main() {
  if (!hiper::cuda::available()) {
    std::printf("skipped: %s\n", hiper::cuda::status().c_str());
    return kSkip;
  }
  for (const std::size_t size : {1, 255, 256, 1000, 16384}) test_advance_equals_the_cpu_plainly_and_from_a_graph(size);
  return failures != 0;
}
