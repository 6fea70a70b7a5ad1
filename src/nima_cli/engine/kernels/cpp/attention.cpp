// Causal attention in bfloat16, a head at a time, whose scores never leave the processor's caches.
//
// FlashAttention (2205.14135) by blocks of queries. What a query pays to each key is kept for the gradient, which is less
// work than to compute it again: packed, for each block of queries the exponentials of the scores of the keys that it may
// see, and one over the sum of each query's, which makes probabilities of them.

#include <algorithm>
#include <vector>

#include "pairs.h"
#include "rows.h"
#include "sizes.h"
#include "threads.h"

extern "C" {

struct Attention {
    std::int64_t batch, heads, kv_heads, time, width;
};

}

namespace {

constexpr std::int64_t BLOCK = 32;            // queries: a multiple of a tile's rows and columns
constexpr std::int64_t CHUNK = 4 * BLOCK;     // queries whose part in the gradients of keys and values is added at once
constexpr std::int64_t PANEL = CHUNK / 2 * TILE_COLUMNS + TILE_COLUMNS;  // words of one of pairs of these, and a gap:
                                                                         // see `panel_size` of packing.h

// Room for one head, in rows that are filled up with zeros to whole tiles.
struct Space {
    std::int64_t time, width;
    std::vector<BFloat16> block;                           // rows of a block of queries
    std::vector<std::uint32_t> transposed, paired;         // of keys or values
    std::vector<BFloat16> score_rows;                      // of a block
    std::vector<std::uint32_t> query_pairs, grad_pairs;    // of the rows of a chunk
    std::vector<std::uint32_t> score_pairs, exp_score_pairs;   // and of their scores
    std::vector<float> scores, result, grad_keys, grad_values;

    explicit Space(const Attention &a)
        : time(up_to_multiple(a.time, BLOCK)), width(up_to_multiple(a.width, TILE_COLUMNS)), block(BLOCK * width),
          transposed(time * width / 2), paired(time / 2 * width), score_rows(BLOCK * time),
          query_pairs(PANEL * width / TILE_COLUMNS), grad_pairs(PANEL * width / TILE_COLUMNS),
          score_pairs(PANEL * time / TILE_COLUMNS), exp_score_pairs(PANEL * time / TILE_COLUMNS), scores(BLOCK * time),
          result(BLOCK * width) {}
};

// The rows of a head, to read or to write.
template <typename Number>
struct Rows {
    Number *rows;
    std::int64_t stride, time, width;
};
using Head = Rows<const BFloat16>;
using Target = Rows<BFloat16>;

// A block of them, each times its factor, where there are any.
void take_block(
    const Head &head, std::int64_t start, std::int64_t width, BFloat16 *to, const float *factors = nullptr) {
    zero(to, BLOCK * width);
    for (std::int64_t row = 0; row < BLOCK && start + row < head.time; ++row) {
        const BFloat16 *from = head.rows + (start + row) * head.stride;
        if (factors)
            scale(from, factors[row], head.width, to + row * width);
        else
            std::memcpy(to + row * width, from, head.width * sizeof *to);
    }
}

// Pairs of rows of a block, `[BLOCK, width]`, in panels.
void pair_block(const BFloat16 *block, std::int64_t width, std::uint32_t *to, std::int64_t panel_stride) {
    for (std::int64_t row = 0; row < BLOCK; row += 2)
        pair_rows(
            block + row * width, block + (row + 1) * width, width, to + row / 2 * TILE_COLUMNS, panel_stride);
}

// Pairs of a head's columns, in a panel for each block of rows.
void transpose(const Head &head, Space &space) {
    for (std::int64_t start = 0; start < space.time; start += BLOCK) {
        take_block(head, start, space.width, space.block.data());
        std::uint32_t *to = space.transposed.data() + start * space.width / 2;
        for (std::int64_t pair = 0; pair < space.width / 2; pair += 4)
            for (std::int64_t row = 0; row < BLOCK; row += 4) {
                FourWords square[4];
                for (int line = 0; line < 4; ++line)
                    std::memcpy(
                        &square[line], space.block.data() + (row + line) * space.width + 2 * pair, sizeof square[line]);
                transpose_square(square);
                for (int line = 0; line < 4; ++line)
                    std::memcpy(to + (pair + line) * TILE_COLUMNS + row, &square[line], sizeof square[line]);
            }
    }
}

// Pairs of a head's rows.
void pair(const Head &head, Space &space) {
    for (std::int64_t start = 0; start < space.time; start += BLOCK) {
        take_block(head, start, space.width, space.block.data());
        pair_block(
            space.block.data(), space.width, space.paired.data() + start / 2 * TILE_COLUMNS,
            space.time / 2 * TILE_COLUMNS);
    }
}

auto rows_of(const BFloat16 *matrix, std::int64_t width) {
    return [=](std::int64_t row) {
        return Left{reinterpret_cast<const std::uint32_t *>(matrix + row * width), width / 2, 1};
    };
}

// What queries of the block, or the gradients of what came of them, have in products with all keys or values before.
void multiply_with_transposed(Space &space, std::int64_t seen) {
    multiply_pairs(
        rows_of(space.block.data(), space.width), {space.transposed.data(), BLOCK * space.width / 2}, space.width / 2, BLOCK, seen,
        space.scores.data(), seen);
}

// Rows of scores or their exponentials times all keys or values before and times their factors, where there are any,
// into `to`.
void multiply_with_paired(
    Space &space, const BFloat16 *rows, std::int64_t seen, const Target &to, std::int64_t start,
    const float *factors = nullptr) {
    multiply_pairs(
        rows_of(rows, seen), {space.paired.data(), space.time / 2 * TILE_COLUMNS}, seen / 2, BLOCK, space.width,
        space.result.data(), space.width);
    for (std::int64_t row = 0; row < BLOCK && start + row < to.time; ++row)
        scale(
            space.result.data() + row * space.width, factors ? factors[row] : 1.0f, to.width,
            to.rows + (start + row) * to.stride);
}

// Adds the transposed product of the scores, or their exponentials, of queries `[first, end)` of a chunk with their rows.
void add_transposed(
    const Space &space, const std::vector<std::uint32_t> &scores, const std::vector<std::uint32_t> &rows,
    std::int64_t first, std::int64_t end, std::vector<float> &to) {
    for (std::int64_t column = 0; column < space.width; column += TILE_COLUMNS)
        for (std::int64_t key = 0; key < end; key += TILE_ROWS) {
            const std::int64_t seen_from = std::max(first, key / BLOCK * BLOCK), skipped = (seen_from - first) / 2;
            const std::uint32_t *left = scores.data() + key / TILE_COLUMNS * PANEL + key % TILE_COLUMNS;
            multiply_pair_tile(
                {left + skipped * TILE_COLUMNS, 1, TILE_COLUMNS},
                rows.data() + column / TILE_COLUMNS * PANEL + skipped * TILE_COLUMNS, (end - seen_from) / 2, true,
                to.data() + key * space.width + column, space.width);
        }
}

// Scores become exponentials, and `inverses` one over the sum of each row. A query's own key is the last that it sees.
void softmax(float *scores, std::int64_t start, std::int64_t seen, BFloat16 *exp_scores, float *inverses) {
    const Integers NUMBERS = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    constexpr float LEAST = -std::numeric_limits<float>::infinity();
    for (int row = 0; row < BLOCK; ++row, scores += seen, exp_scores += seen) {
        for (int at = 0; at < BLOCK; at += LANES) {
            const Floats found = load(scores + start + at, LANES);
            store(scores + start + at, NUMBERS + at > row ? LEAST - Floats{} : found, LANES);
        }
        const float peak = greatest_of(scores, seen);
        Floats total = {};
        for (std::int64_t at = 0; at < seen; at += LANES) {
            const Floats exp_score = exponential_of_negative(load(scores + at, LANES) - peak);
            store(exp_scores + at, exp_score, LANES);
            total += exp_score;  // nearly nothing for what is not seen
        }
        inverses[row] = 1.0f / sum(total);
        zero(exp_scores + start + row + 1, BLOCK - row - 1);
    }
}

// The gradient of scores from their exponentials and `grad`, that of probabilities times the rows' inverses.
void softmax_gradient(
    const BFloat16 *exp_scores, const float *inverses, const float *grad, std::int64_t seen, BFloat16 *to) {
    for (std::int64_t row = 0; row < BLOCK; ++row, exp_scores += seen, grad += seen, to += seen) {
        Floats total = {};
        across(seen, [&](std::int64_t at, int count) { total += load(exp_scores + at, count) * load(grad + at, count); });
        const float mean = sum(total) * inverses[row];
        across(seen, [&](std::int64_t at, int count) {
            store(to + at, load(exp_scores + at, count) * (load(grad + at, count) - mean), count);
        });
    }
}

// Powers that are kept for one head.
std::int64_t kept_numbers(std::int64_t time) {
    const std::int64_t blocks = (time + BLOCK - 1) / BLOCK;
    return BLOCK * BLOCK * blocks * (blocks + 1) / 2;
}

// What is kept of one head.
struct Kept {
    BFloat16 *exp_scores;
    float *inverses;
};

void attend(const Head &q, const Head &k, const Head &v, const Target &out, Kept kept, Space &space) {
    transpose(k, space);
    pair(v, space);
    for (std::int64_t start = 0; start < q.time; start += BLOCK) {
        const std::int64_t seen = start + BLOCK;
        take_block(q, start, space.width, space.block.data());
        multiply_with_transposed(space, seen);
        softmax(space.scores.data(), start, seen, kept.exp_scores, kept.inverses + start);
        multiply_with_paired(space, kept.exp_scores, seen, out, start, kept.inverses + start);
        kept.exp_scores += BLOCK * seen;
    }
}

// Adds to the gradients of keys and values, whose own forms are in `space`.
void attend_back(const Head &q, const Head &grad_out, Kept kept, const Target &grad_q, Space &space) {
    for (std::int64_t start = 0; start < q.time; start += BLOCK) {
        const std::int64_t seen = start + BLOCK, chunk = start / CHUNK * CHUNK;
        const std::int64_t place = (start - chunk) / 2 * TILE_COLUMNS;
        const float *inverses = kept.inverses + start;
        take_block(grad_out, start, space.width, space.block.data(), inverses);
        pair_block(space.block.data(), space.width, space.grad_pairs.data() + place, PANEL);
        pair_block(kept.exp_scores, seen, space.exp_score_pairs.data() + place, PANEL);
        multiply_with_transposed(space, seen);
        softmax_gradient(kept.exp_scores, inverses, space.scores.data(), seen, space.score_rows.data());
        multiply_with_paired(space, space.score_rows.data(), seen, grad_q, start);
        take_block(q, start, space.width, space.block.data());
        pair_block(space.block.data(), space.width, space.query_pairs.data() + place, PANEL);
        pair_block(space.score_rows.data(), seen, space.score_pairs.data() + place, PANEL);
        if (seen == chunk + CHUNK || seen >= q.time) {
            add_transposed(space, space.exp_score_pairs, space.grad_pairs, chunk, seen, space.grad_values);
            add_transposed(space, space.score_pairs, space.query_pairs, chunk, seen, space.grad_keys);
        }
        kept.exp_scores += BLOCK * seen;
    }
}

void store_rows(const std::vector<float> &rows, std::int64_t width, const Target &to) {
    for (std::int64_t row = 0; row < to.time; ++row)
        scale(rows.data() + row * width, 1.0f, to.width, to.rows + row * to.stride);
}

// Head `index` of those that follow one another.
template <typename Number>
Rows<Number> separate(const Attention &a, Number *heads, std::int64_t index) {
    return {heads + index * a.time * a.width, a.width, a.time, a.width};
}

// Head `index` of those that lie beside each other, `[batch, time, heads, width]`.
template <typename Number>
Rows<Number> beside(const Attention &a, Number *heads, std::int64_t index) {
    const std::int64_t stride = a.heads * a.width;
    return {heads + index / a.heads * a.time * stride + index % a.heads * a.width, stride, a.time, a.width};
}

Kept of_head(const Attention &a, BFloat16 *exp_scores, float *inverses, std::int64_t head) {
    return {exp_scores + head * kept_numbers(a.time), inverses + head * up_to_multiple(a.time, BLOCK)};
}

}  // namespace

extern "C" {

// Whether this processor has the instruction, and none that multiplies larger pieces, which torch makes better use of.
int nima_attention_is_fast() {
#if defined(__AVX512BF16__) && !defined(__AMX_BF16__)
    return 1;
#else
    return 0;
#endif
}

// How many exponentials of scores are kept for a head, and how many inverses.
std::int64_t nima_exp_scores_kept(std::int64_t time) { return kept_numbers(time); }

std::int64_t nima_inverses_kept(std::int64_t time) { return up_to_multiple(time, BLOCK); }

// Queries `[batch, heads, time, width]`, keys and values with `kv_heads` of them become `out` `[batch, time, heads,
// width]`.
void nima_attention(
    const Attention *attention, const BFloat16 *q, const BFloat16 *k, const BFloat16 *v, BFloat16 *out,
    BFloat16 *exp_scores, float *inverses, int threads) {
    const Attention &a = *attention;
    const std::int64_t group = a.heads / a.kv_heads;
    const auto one_head = [&](Space &space, std::int64_t head) {
        attend(
            separate(a, q, head), separate(a, k, head / group), separate(a, v, head / group), beside(a, out, head),
            of_head(a, exp_scores, inverses, head), space);
    };
    share_by_turns(a.batch * a.heads, threads, [&] { return Space(a); }, one_head);
}

void nima_attention_gradient(
    const Attention *attention, const BFloat16 *q, const BFloat16 *k, const BFloat16 *v, BFloat16 *exp_scores,
    float *inverses, const BFloat16 *grad_out, BFloat16 *grad_q, BFloat16 *grad_k, BFloat16 *grad_v, int threads) {
    const Attention &a = *attention;
    const std::int64_t group = a.heads / a.kv_heads;
    const auto one_head = [&](Space &space, std::int64_t index) {
        transpose(separate(a, v, index), space);
        pair(separate(a, k, index), space);
        space.grad_keys.assign(space.time * space.width, 0.0f);
        space.grad_values.assign(space.time * space.width, 0.0f);
        for (std::int64_t head = index * group; head < (index + 1) * group; ++head)
            attend_back(
                separate(a, q, head), beside(a, grad_out, head), of_head(a, exp_scores, inverses, head),
                separate(a, grad_q, head), space);
        store_rows(space.grad_keys, space.width, separate(a, grad_k, index));
        store_rows(space.grad_values, space.width, separate(a, grad_v, index));
    };
    share_by_turns(a.batch * a.kv_heads, threads, [&] { return Space(a); }, one_head);
}

}

NIMA_SIZE(Attention)
