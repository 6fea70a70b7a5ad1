// Numbers as 8-bit integers times a scale for each row or each column, so that matrices are multiplied as integers.

#include "packing.h"
#include "quantize.h"

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

}  // namespace

extern "C" {

// Layouts of `x` `[rows, columns]`, and a scale for each row.
void nima_quantize_rows(
    int kind, const void *x, std::int64_t rows, std::int64_t columns, const Layouts *layouts, float *scales, int threads) {
    with_kind(kind, [&](auto number) {
        const auto *from = static_cast<const decltype(number) *>(x);
        pack(rows, columns, *layouts, threads, [&] {
            return [&](std::int64_t row, std::int8_t *q) {
                scales[row] = quantize_row(from + row * columns, columns, q);
            };
        });
    });
}

// The same with a scale for each column, of `x` with its rows times `factors`, where there are any.
void nima_quantize_columns(
    int kind, const void *x, const float *factors, std::int64_t rows, std::int64_t columns, const Layouts *layouts,
    float *scales, int threads) {
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
        pack(rows, columns, *layouts, threads, [&] {
            return [&](std::int64_t row, std::int8_t *q) {
                const float factor = factors ? factors[row] : 1.0f;
                across(columns, [&](std::int64_t at, int count) {
                    const Floats number = load(from + row * columns + at, count) * factor;
                    store(q + at, number * load(&inverses[at], count), count);
                });
            };
        });
    });
}

}
