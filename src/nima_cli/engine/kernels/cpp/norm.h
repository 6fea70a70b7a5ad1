// Division by the root mean square, and the rotation of heads.

#pragma once

#include <cmath>

#include "vectors.h"

inline float inverse_root(float squares, std::int64_t width, float epsilon) {
    return 1.0f / std::sqrt(squares / static_cast<float>(width) + epsilon);
}

// `y` = x times the inverse of its root mean square and the gain.
template <typename From, typename To>
inline void scale_by_gain(const From *x, float inverse, const float *gain, std::int64_t width, To *y) {
    across(width, [&](std::int64_t at, int count) {
        store(y + at, load(x + at, count) * inverse * load(gain + at, count), count);
    });
}

// Rotates the two halves of a head, the coordinates, by its position's angle, or back with `direction` -1; times a
// factor.
inline void apply_rope(
    float *x, const float *cosines, const float *sines, std::int64_t half, float direction = 1.0f,
    float factor = 1.0f) {
    across(half, [&](std::int64_t at, int count) {
        const Floats first = load(x + at, count) * factor, second = load(x + half + at, count) * factor;
        const Floats cosine = load(cosines + at, count), sine = load(sines + at, count) * direction;
        store(x + at, first * cosine - second * sine, count);
        store(x + half + at, second * cosine + first * sine, count);
    });
}
