// How long a structure is that Python fills in: both sides are compared when the program is loaded.

#pragma once

#include <cstdint>

#define NIMA_SIZE(Structure) \
    extern "C" std::int64_t nima_size_of_##Structure() { return sizeof(Structure); }
