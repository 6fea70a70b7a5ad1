// Numbers as 8-bit integers times a scale for each row or each column, so that matrices are multiplied as integers, and
// what becomes of the products' sums.

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "quantize.h"
#include "threads.h"

namespace {

constexpr std::int64_t PIECE = 128;  // rows

// The greatest magnitude in each column of a piece of the rows.
template <typename Number>
void most_of_columns(
    const Number *x, const float *factors, std::int64_t rows, std::int64_t columns, std::uint32_t *most) {
    std::memset(most, 0, columns * sizeof *most);
    for (std::int64_t row = 0; row < rows; ++row)
        across(columns, [&](std::int64_t at, int count) {
            Words before = {};
            std::memcpy(&before, most + at, count * sizeof *most);
            const Floats number = load(x + row * columns + at, count) * (factors ? factors[row] : 1.0f);
            const Words now = greater(magnitude(number), before);
            std::memcpy(most + at, &now, count * sizeof *most);
        });
}

// Between 0 and 1, the same for the same number at the same place: a hash in the manner of MurmurHash3's last step.
inline Floats dither(const Floats &x, std::uint32_t place) {
    const Words NUMBERS = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    Words words = bits_of<Words>(x) + (NUMBERS + place) * 0x9e3779b9u;
    words = (words ^ (words >> 16)) * 0x85ebca6bu;
    words = (words ^ (words >> 13)) * 0xc2b2ae35u;
    words ^= words >> 16;
    return __builtin_convertvector(words >> 8, Floats) * 0x1p-24f;
}

// Returns the loss of a row, whose logits are sums times scales, and leaves the probabilities `q scale`.
float probabilities(
    const std::int32_t *sums, float row_scale, const float *column_scales, std::int64_t target, std::int64_t width,
    std::uint32_t place, float *logits, std::int8_t *q, float &scale) {
    constexpr float LEAST = -std::numeric_limits<float>::infinity();
    Floats most = LEAST - Floats{}, bad = {}, parts = {};
    across(width, [&](std::int64_t at, int count) {
        const Floats found = load(sums + at, count) * (load(column_scales + at, count) * row_scale);
        store(logits + at, found, count);
        most = greater(count == LANES ? found : load(logits + at, count, LEAST), most);
        bad += found * 0.0f;  // a comparison passes over what is not a number
    });
    const float peak = greatest(most);
    across(width, [&](std::int64_t at, int count) {
        const Floats e = exponential(load(logits + at, count, LEAST) - peak);
        parts += e;
        store(q + at, e * MOST + dither(e, place + static_cast<std::uint32_t>(at)) - 0.5f, count);
    });
    const float total = sum(parts);
    scale = 1.0f / (MOST * total);
    return std::log(total) + (peak - logits[target]) + sum(bad);
}

}  // namespace

extern "C" {

// `q` `[rows, columns]`, whose rows are `stride` apart, and a scale for each row.
void nima_quantize_rows(
    int kind, const void *x, std::int64_t rows, std::int64_t columns, std::int8_t *q, std::int64_t stride,
    float *scales, int threads) {
    with_kind(kind, [&](auto number) {
        using Number = decltype(number);
        share(rows, threads, [&](std::int64_t first, std::int64_t end) {
            for (std::int64_t row = first; row < end; ++row)
                scales[row] = quantize_row(static_cast<const Number *>(x) + row * columns, columns, q + row * stride);
        });
    });
}

// The same with a scale for each column, of `x` with its rows times `factors`, where there are any.
void nima_quantize_columns(
    int kind, const void *x, const float *factors, std::int64_t rows, std::int64_t columns, std::int8_t *q,
    std::int64_t stride, float *scales, int threads) {
    with_kind(kind, [&](auto number) {
        using Number = decltype(number);
        const auto *from = static_cast<const Number *>(x);
        const std::int64_t pieces = (rows + PIECE - 1) / PIECE;
        std::vector<std::uint32_t> most(pieces * columns);
        share(pieces, threads, [&](std::int64_t first, std::int64_t end) {
            for (std::int64_t piece = first; piece < end; ++piece) {
                const std::int64_t row = piece * PIECE, count = rows - row < PIECE ? rows - row : PIECE;
                most_of_columns(
                    from + row * columns, factors ? factors + row : nullptr, count, columns, &most[piece * columns]);
            }
        });
        std::vector<float> inverses(columns);
        for (std::int64_t column = 0; column < columns; ++column) {
            std::uint32_t found = 0;
            for (std::int64_t at = column; at < pieces * columns; at += columns) found = std::max(found, most[at]);
            scales[column] = scale_from(found);
            inverses[column] = inverse(scales[column]);
        }
        share(rows, threads, [&](std::int64_t first, std::int64_t end) {
            for (std::int64_t row = first; row < end; ++row) {
                const float factor = factors ? factors[row] : 1.0f;
                across(columns, [&](std::int64_t at, int count) {
                    const Floats number = load(from + row * columns + at, count) * factor;
                    store(q + row * stride + at, number * load(&inverses[at], count), count);
                });
            }
        });
    });
}

// `y` = sums times the scales of their row, where there are any, and column; and, where there is `plus`, which may be
// `y` itself, that times `factor` besides. The rows of both are `stride` apart.
void nima_dequantize(
    int kind, const std::int32_t *sums, const float *row_scales, const float *column_scales, std::int64_t rows,
    std::int64_t columns, const void *plus, float factor, void *y, std::int64_t stride, int threads) {
    with_kind(kind, [&](auto number) {
        using Number = decltype(number);
        share(rows, threads, [&](std::int64_t first, std::int64_t end) {
            for (std::int64_t row = first; row < end; ++row) {
                const std::int32_t *from = sums + row * columns;
                const float scale = row_scales ? row_scales[row] : 1.0f;
                const Number *summand = plus ? static_cast<const Number *>(plus) + row * stride : nullptr;
                Number *to = static_cast<Number *>(y) + row * stride;
                across(columns, [&](std::int64_t at, int count) {
                    const Floats product = load(from + at, count) * scale * load(column_scales + at, count);
                    store(to + at, summand ? product + load(summand + at, count) * factor : product, count);
                });
            }
        });
    });
}

// Sums `[rows, columns]`, which with the scales of rows and columns are logits, become losses and the probabilities
// `q scales`, whose rows are `stride` apart. These are rounded up or down by chance, so that the many small ones are not lost but right on the whole.
// A row whose target is `ignored` has neither loss nor probabilities.
void nima_quantized_cross_entropy(
    const std::int32_t *sums, const float *row_scales, const float *column_scales, const std::int64_t *targets,
    std::int64_t ignored, std::int64_t rows, std::int64_t columns, float *losses, std::int8_t *q, std::int64_t stride,
    float *scales, int threads) {
    share(rows, threads, [&](std::int64_t first, std::int64_t end) {
        std::vector<float> logits(columns);
        for (std::int64_t row = first; row < end; ++row) {
            std::int8_t *to = q + row * stride;
            const std::int64_t target = targets[row];
            losses[row] = scales[row] = 0.0f;
            if (target == ignored || target < 0 || target >= columns) {
                std::memset(to, 0, columns);
                if (target != ignored) losses[row] = std::numeric_limits<float>::quiet_NaN();
                continue;
            }
            losses[row] = probabilities(
                sums + row * columns, row_scales[row], column_scales, target, columns,
                static_cast<std::uint32_t>(row * columns), logits.data(), to, scales[row]);
        }
    });
}

}
