// The cross-entropy of logits that are products of 8-bit integers.

#include <cmath>
#include <limits>

#include "products.h"
#include "quantize.h"
#include "rows.h"
#include "sizes.h"

extern "C" {

// The output matrix `[columns, width]` as two right factors: times hidden states, and times gradients of logits.
struct Head {
    const std::uint32_t *by_rows, *by_columns;
    const std::int32_t *correction_by_rows, *correction_by_columns;
    const float *row_scales, *column_scales;
};

// The target of each row. One that is `ignored` has neither loss nor probabilities.
struct Targets {
    const std::int64_t *ids;
    std::int64_t ignored;
};

}

namespace {

constexpr std::int64_t ROWS = 2 * TILE_ROWS;  // whose logits stay in a core's own cache

// Between -0.5 and 0.5, the same for the same number at the same places: the number's last bits, hashed in the manner of
// MurmurHash3's last step.
inline Floats dither(const Floats &x, const Words &places) {
    Words words = bits_of<Words>(x) + places;
    words = (words ^ (words >> 16)) * 0x85ebca6bu;
    words = (words ^ (words >> 13)) * 0xc2b2ae35u;
    return bits_of<Floats>(words >> 9 | 0x3f800000u) - 1.5f;  // the first bits are the good ones
}

// Returns the loss of a row and leaves the probabilities `q scale`, stochastically rounded, so that the many small
// ones are not lost but right on the whole.
float probabilities(
    const float *logits, std::int64_t target, std::int64_t width, std::uint32_t place, std::int8_t *q, float &scale) {
    constexpr std::uint32_t STEP = 0x9e3779b9u;
    const Words NUMBERS = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    Words places = (NUMBERS + place) * STEP;
    const float peak = greatest_of(logits, width);
    Floats bad = {}, parts = {};
    across(width, [&](std::int64_t at, int count) {
        const Floats found = load(logits + at, count, -std::numeric_limits<float>::infinity());
        const Floats e = exponential_of_negative(found - peak);
        parts += e;
        bad += load(logits + at, count) * 0.0f;  // a comparison passes over what is not a number
        store(q + at, e * MOST + dither(e, places), count);
        places += LANES * STEP;
    });
    const float total = sum(parts);
    scale = 1.0f / (MOST * total);
    return std::log(total) + (peak - logits[target]) + sum(bad);
}

// The same for any target.
float loss_of(
    const float *logits, const Targets &targets, std::int64_t row, std::int64_t width, std::int8_t *q, float &scale) {
    const std::int64_t target = targets.ids[row];
    if (target >= 0 && target < width)
        return probabilities(logits, target, width, static_cast<std::uint32_t>(row * width), q, scale);
    std::memset(q, 0, width);
    scale = 0.0f;
    return target == targets.ignored ? 0.0f : std::numeric_limits<float>::quiet_NaN();
}

// What a thread keeps of a few rows.
struct Space {
    std::vector<float> logits;
    std::vector<std::int8_t> q;
    std::vector<std::uint32_t> packed;

    explicit Space(std::int64_t columns)
        : logits(ROWS * columns), q(ROWS * columns), packed(packed_size(TILE_ROWS, ROWS, columns)) {}
};

// Some `rows` of a packed left factor times a right one.
template <typename Number>
void multiply_rows(
    const Packed &left, const Packed &right, const std::int32_t *correction, std::int64_t rows, std::int64_t sums,
    std::int64_t columns, const Scaled &to) {
    for (std::int64_t column = 0; column < columns; column += TILE_COLUMNS)
        for (std::int64_t row = 0; row < rows; row += TILE_ROWS)
            multiply_and_scale(
                left.at(row), right.at(column), correction, steps_of(sums), to, row, rows - row, column,
                columns - column, static_cast<Number *>(to.y) + row * to.stride + column, to.stride);
}

}  // namespace

extern "C" {

// From hidden states `[rows, width]`: losses, the gradient of the hidden states without what is their
// targets' part, and the transposed probabilities, packed, with a scale for each row.
void nima_linear_cross_entropy(
    int kind, const std::uint32_t *h, const float *h_scales, const Head *head, const Targets *targets,
    std::int64_t rows, std::int64_t width, std::int64_t columns, float *losses, void *grad_h,
    std::uint32_t *probabilities, float *scales, int threads) {
    const Packed states = packed_left(h, width);
    const auto few_rows = [&](Space &space, std::int64_t item) {
        const std::int64_t first = item * ROWS, count = std::min(ROWS, rows - first);
        multiply_rows<float>(
            {states.at(first), TILE_ROWS, states.size}, packed_right(head->by_rows, width), head->correction_by_rows,
            count, width, columns, {h_scales + first, head->row_scales, nullptr, 0.0f, space.logits.data(), columns});
        for (std::int64_t row = 0; row < count; ++row)
            losses[first + row] = loss_of(
                &space.logits[row * columns], *targets, first + row, columns, &space.q[row * columns],
                scales[first + row]);
        Layouts of_all{}, of_these{};
        of_all.left_transposed = probabilities;
        of_these.left = space.packed.data();
        pack_group({space.q.data(), columns, first, count, columns}, rows, of_all, nullptr);
        pack_group({space.q.data(), columns, 0, count, columns}, count, of_these, nullptr);
        with_kind(kind, [&](auto number) {
            using Number = decltype(number);
            multiply_rows<Number>(
                packed_left(space.packed.data(), columns), packed_right(head->by_columns, columns),
                head->correction_by_columns, count, columns, width,
                {scales + first, head->column_scales, nullptr, 0.0f, static_cast<Number *>(grad_h) + first * width,
                 width});
        });
    };
    share_by_turns((rows + ROWS - 1) / ROWS, threads, [&] { return Space(columns); }, few_rows);
}

}

NIMA_SIZE(Head)
NIMA_SIZE(Targets)
