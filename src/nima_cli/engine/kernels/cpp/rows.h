// What softmax does with a row of numbers.

#pragma once

#include <limits>

#include "vectors.h"

template <typename Number>
inline float greatest_of(const Number *row, std::int64_t width) {
    constexpr float LEAST = -std::numeric_limits<float>::infinity();
    Floats greatest_so_far = LEAST - Floats{};
    across(width, [&](std::int64_t at, int count) {
        greatest_so_far = greater(load(row + at, count, LEAST), greatest_so_far);
    });
    return greatest(greatest_so_far);
}

// Writes e^(x - greatest) and returns its sum.
template <typename From, typename To>
inline float exponentials(const From *row, float greatest, std::int64_t width, To *to) {
    Floats total = {};
    across(width, [&](std::int64_t at, int count) {
        const Floats found = exponential(load(row + at, count, -std::numeric_limits<float>::infinity()) - greatest);
        store(to + at, found, count);
        total += found;  // zero beyond the row's end
    });
    return sum(total);
}

template <typename From, typename To>
inline void scale(const From *from, float factor, std::int64_t width, To *to) {
    across(width, [&](std::int64_t at, int count) { store(to + at, load(from + at, count) * factor, count); });
}

template <typename Number>
inline void zero(Number *row, std::int64_t width) {
    std::memset(row, 0, width * sizeof(Number));
}
