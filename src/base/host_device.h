// HALFTONE_HOST_DEVICE marks small functions in headers that CUDA kernels call too: nvcc compiles them for both sides,
// every other compiler sees plain C++. Such functions use no standard library beyond <cstdint>, whose constexpr
// functions would not exist on the device.
#pragma once

#if defined(__CUDACC__)
#define HALFTONE_HOST_DEVICE __host__ __device__
#else
#define HALFTONE_HOST_DEVICE
#endif
