// Softmax and what follows from it: attention's probabilities and their gradient, and the cross-entropy.

#include <cmath>
#include <limits>
#include <vector>

#include "rows.h"
#include "threads.h"

namespace {

// The last of `rows` sees all `columns`, and each one before it one less than the next.
std::int64_t visible(std::int64_t row, std::int64_t rows, std::int64_t columns) {
    return columns - rows + row % rows + 1;
}

template <typename Number>
void gradient_of_softmax(const Number *probs, Number *grad, std::int64_t width) {
    Floats total = {};
    across(width, [&](std::int64_t at, int count) { total += load(probs + at, count) * load(grad + at, count); });
    const float mean = sum(total);
    across(width, [&](std::int64_t at, int count) {
        store(grad + at, load(probs + at, count) * (load(grad + at, count) - mean), count);
    });
}

// Returns the loss and leaves its gradient in the row.
template <typename Number>
float cross_entropy(Number *logits, std::int64_t target, std::int64_t width, float *space) {
    const float greatest = greatest_of(logits, width);
    const float chosen = load(logits + target, 1)[0];
    const float total = exponentials(logits, greatest, width, space);
    scale(space, 1.0f / total, width, logits);
    store(logits + target, Floats{space[target] / total - 1.0f}, 1);
    return std::log(total) + (greatest - chosen);
}

}  // namespace

extern "C" {

// Scores `[matrices, rows, columns]` become probabilities, in place; what lies above the diagonal becomes zero.
void nima_causal_softmax(
    int kind, void *scores, std::int64_t matrices, std::int64_t rows, std::int64_t columns, int threads) {
    with_kind(kind, [&](auto number) {
        using Number = decltype(number);
        share(matrices * rows, threads, [&](std::int64_t first, std::int64_t end) {
            std::vector<float> space(columns);
            for (std::int64_t at = first; at < end; ++at) {
                Number *row = static_cast<Number *>(scores) + at * columns;
                const std::int64_t width = visible(at, rows, columns);
                const float total = exponentials(row, greatest_of(row, width), width, space.data());
                scale(space.data(), 1.0f / total, width, row);
                zero(row + width, columns - width);
            }
        });
    });
}

// The gradient of the probabilities becomes that of the scores, in place.
void nima_causal_softmax_gradient(
    int kind, const void *probs, void *grad, std::int64_t matrices, std::int64_t rows, std::int64_t columns,
    int threads) {
    with_kind(kind, [&](auto number) {
        using Number = decltype(number);
        share(matrices * rows, threads, [&](std::int64_t first, std::int64_t end) {
            for (std::int64_t at = first; at < end; ++at) {
                Number *row = static_cast<Number *>(grad) + at * columns;
                const std::int64_t width = visible(at, rows, columns);
                gradient_of_softmax(static_cast<const Number *>(probs) + at * columns, row, width);
                zero(row + width, columns - width);
            }
        });
    });
}

// Logits `[rows, columns]` become the gradient of the sum of `losses`, in place. A row whose target is `ignored` has none.
void nima_cross_entropy(
    int kind, void *logits, const std::int64_t *targets, std::int64_t ignored, std::int64_t rows, std::int64_t columns,
    float *losses, int threads) {
    with_kind(kind, [&](auto number) {
        using Number = decltype(number);
        share(rows, threads, [&](std::int64_t first, std::int64_t end) {
            std::vector<float> space(columns);
            for (std::int64_t at = first; at < end; ++at) {
                Number *row = static_cast<Number *>(logits) + at * columns;
                losses[at] = 0.0f;
                if (targets[at] == ignored)
                    zero(row, columns);
                else if (targets[at] < 0 || targets[at] >= columns)
                    losses[at] = std::numeric_limits<float>::quiet_NaN();
                else
                    losses[at] = cross_entropy(row, targets[at], columns, space.data());
            }
        });
    });
}

}
