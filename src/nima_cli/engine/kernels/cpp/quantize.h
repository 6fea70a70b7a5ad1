// Numbers as 8-bit integers times a scale: the greatest absolute value over 127. One that is not finite is kept: what is
// computed with it is none either, and a step that went wrong shows.

#pragma once

#include "vectors.h"

constexpr float MOST = 127.0f;

// The bits of absolute values are ordered as these are, and those of what is not finite come last.
inline Words magnitude(const Floats &x) { return bits_of<Words>(x) & 0x7fffffffu; }

inline float scale_from(std::uint32_t most) { return bits_of<float>(most) / MOST; }

// What to multiply with to come to integers; numbers so small that this would overflow become zero.
inline float inverse(float scale) { return scale > 1e-36f ? 1.0f / scale : 0.0f; }

template <typename Number>
inline float scale_of_row(const Number *row, std::int64_t width) {
    Words most = {};
    across(width, [&](std::int64_t at, int count) { most = greater(magnitude(load(row + at, count)), most); });
    return scale_from(greatest(most));
}

// Returns the scale of the row.
template <typename Number>
inline float quantize_row(const Number *row, std::int64_t width, std::int8_t *q) {
    const float scale = scale_of_row(row, width), factor = inverse(scale);
    across(width, [&](std::int64_t at, int count) { store(q + at, load(row + at, count) * factor, count); });
    return scale;
}
