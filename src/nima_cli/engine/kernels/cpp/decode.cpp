// One token through the decoder of engine/model/gpt.py: no library but the C++ standard's and, where present, OpenMP's.
//
// A single token multiplies every weight once, so its time is that of reading the weights from memory. Each kind of
// weight is widened to float32 in registers; activations, keys and values are float32 throughout. Threads share the
// rows of each matrix, and every row is summed in the same order by whoever has it: the result does not depend on how
// many threads there are.

#include <algorithm>
#include <numeric>
#include <vector>

#include "norm.h"
#include "sizes.h"

namespace {

// A matrix of `rows` times `columns`, row by row; `scales` holds one factor a row and `bias` what is added to each
// result, or they are null.
struct Matrix {
    const void *weights;
    const float *scales, *bias;
    std::int64_t rows;
    std::int64_t columns;
};

struct Layer {
    Matrix query, key, value, output, gate, up, down;
    const float *input_gain, *query_gain, *key_gain, *mlp_gain;  // the two in the middle are null without QK-norm
    float *keys, *values;                                        // [heads, room, head width]
};

}  // namespace

extern "C" {

struct Decoder {
    std::int64_t layers, width, heads, kv_heads, head_width, hidden, vocabulary;
    std::int64_t room;  // positions that keys and values have memory for
    std::int64_t kind;  // of the weights: 0 float32, 1 bfloat16, 2 int8
    float epsilon;
    const Layer *layer;
    Matrix head;
    const Matrix *embedding;  // the rows that tokens begin as, which may be the head
    const float *gain;
    const float *cosines, *sines;  // [context, half a head width]
};

}

namespace {

// Several sums side by side, because each addition waits for the one before it. One row after the other: that is how
// processors foresee what will be read.
template <typename Weight>
inline float dot(const Weight *row, const float *x, std::int64_t columns) {
    constexpr int PARTS = 4;
    Floats parts[PARTS] = {};
    std::int64_t at = 0;
    for (; at + PARTS * LANES <= columns; at += PARTS * LANES)
        for (int part = 0; part < PARTS; ++part)
            parts[part] += load(row + at + part * LANES, LANES) * load(x + at + part * LANES, LANES);
    for (; at + LANES <= columns; at += LANES) parts[0] += load(row + at, LANES) * load(x + at, LANES);
    float total = sum((parts[0] + parts[1]) + (parts[2] + parts[3]));
    for (; at < columns; ++at) total += load(row + at, 1)[0] * x[at];
    return total;
}

// Whoever needs all of `y` waits for the other threads first.
template <typename Weight>
void multiply(const Matrix &matrix, const float *x, float *y) {
    const auto *weights = static_cast<const Weight *>(matrix.weights);
#pragma omp for schedule(static) nowait
    for (std::int64_t row = 0; row < matrix.rows; ++row) {
        const float product = dot(weights + row * matrix.columns, x, matrix.columns);
        const float scaled = matrix.scales ? product * matrix.scales[row] : product;
        y[row] = matrix.bias ? scaled + matrix.bias[row] : scaled;
    }
}

template <typename Weight>
void look_up(const Matrix &matrix, std::int64_t row, float *x) {
    const auto *weights = static_cast<const Weight *>(matrix.weights) + row * matrix.columns;
    const float scale = matrix.scales ? matrix.scales[row] : 1.0f;
    across(matrix.columns, [&](std::int64_t at, int count) { store(x + at, load(weights + at, count) * scale, count); });
}

void normalise(const float *x, const float *gain, float epsilon, std::int64_t width, float *y) {
    scale_by_gain(x, inverse_root(dot(x, x, width), width, epsilon), gain, width, y);
}

// What one step works in; shared by all threads.
struct Space {
    std::vector<float> x, normed, qkv, attended, gates, scores;  // qkv: queries, keys and values of all heads
    Space(const Decoder &d, std::int64_t position)
        : x(d.width), normed(d.width), qkv((d.heads + 2 * d.kv_heads) * d.head_width), attended(d.heads * d.head_width),
          gates(2 * d.hidden), scores(d.heads * (position + 1)) {}
};

// Norm and rotation of one head of queries or keys, as the model's q_norm, k_norm and `rotate`.
void finish_head(const Decoder &d, const float *gain, std::int64_t position, float *head) {
    const std::int64_t half = d.head_width / 2;
    if (gain) normalise(head, gain, d.epsilon, d.head_width, head);
    apply_rope(head, d.cosines + position * half, d.sines + position * half, half);
}

void attend(const Decoder &d, const Layer &layer, std::int64_t position, std::int64_t head, Space &space) {
    const std::int64_t width = d.head_width;
    const std::int64_t group = head / (d.heads / d.kv_heads);
    const float *query = space.qkv.data() + head * width;
    const float *keys = layer.keys + group * d.room * width, *values = layer.values + group * d.room * width;
    float *scores = space.scores.data() + head * (position + 1), *out = space.attended.data() + head * width;
    const float scale = 1.0f / std::sqrt(static_cast<float>(width));
    float greatest = -INFINITY, sum = 0.0f;
    for (std::int64_t at = 0; at <= position; ++at) {
        scores[at] = dot(keys + at * width, query, width) * scale;
        greatest = std::fmax(greatest, scores[at]);
    }
    for (std::int64_t at = 0; at <= position; ++at) sum += scores[at] = std::exp(scores[at] - greatest);
    std::int64_t i = 0;
    for (; i + LANES <= width; i += LANES) {
        Floats mixed = {};
        for (std::int64_t at = 0; at <= position; ++at) mixed += scores[at] * load(values + at * width + i, LANES);
        mixed /= sum;
        store(out + i, mixed, LANES);
    }
    for (; i < width; ++i) {
        float mixed = 0.0f;
        for (std::int64_t at = 0; at <= position; ++at) mixed += scores[at] * values[at * width + i];
        out[i] = mixed / sum;
    }
}

template <typename Weight>
void attention(const Decoder &d, const Layer &layer, std::int64_t position, Space &space) {
    const std::int64_t width = d.head_width;
    float *queries = space.qkv.data(), *keys = queries + d.heads * width, *values = keys + d.kv_heads * width;
    multiply<Weight>(layer.query, space.normed.data(), queries);
    multiply<Weight>(layer.key, space.normed.data(), keys);
    multiply<Weight>(layer.value, space.normed.data(), values);
#pragma omp barrier
#pragma omp for schedule(static)
    for (std::int64_t head = 0; head < d.heads + d.kv_heads; ++head) {
        const bool asks = head < d.heads;
        finish_head(d, asks ? layer.query_gain : layer.key_gain, position, queries + head * width);
        if (asks) continue;
        const std::int64_t group = head - d.heads, to = (group * d.room + position) * width;
        std::memcpy(layer.keys + to, keys + group * width, width * sizeof(float));
        std::memcpy(layer.values + to, values + group * width, width * sizeof(float));
    }
#pragma omp for schedule(static)
    for (std::int64_t head = 0; head < d.heads; ++head) attend(d, layer, position, head, space);
    multiply<Weight>(layer.output, space.attended.data(), space.normed.data());
#pragma omp barrier
}

template <typename Weight>
void mlp(const Decoder &d, const Layer &layer, Space &space) {
    float *gates = space.gates.data();
    multiply<Weight>(layer.gate, space.normed.data(), gates);
    multiply<Weight>(layer.up, space.normed.data(), gates + d.hidden);
#pragma omp barrier
#pragma omp for schedule(static)
    for (std::int64_t at = 0; at < d.hidden; ++at) gates[at] *= gates[at + d.hidden] / (1.0f + std::exp(-gates[at]));
    multiply<Weight>(layer.down, gates, space.normed.data());
#pragma omp barrier
}

// Adds a branch to the residual stream and normalises it for what comes next.
void join(const Decoder &d, const float *gain, Space &space) {
#pragma omp single
    {
        for (std::int64_t at = 0; at < d.width; ++at) space.x[at] += space.normed[at];
        normalise(space.x.data(), gain, d.epsilon, d.width, space.normed.data());
    }
}

template <typename Weight>
void step(const Decoder &d, std::int64_t token, std::int64_t position, float *logits, int threads) {
    Space space(d, position);
    look_up<Weight>(*d.embedding, token, space.x.data());
    normalise(space.x.data(), d.layer[0].input_gain, d.epsilon, d.width, space.normed.data());
#pragma omp parallel num_threads(threads)
    {
        for (std::int64_t index = 0; index < d.layers; ++index) {
            const Layer &layer = d.layer[index];
            attention<Weight>(d, layer, position, space);
            join(d, layer.mlp_gain, space);
            mlp<Weight>(d, layer, space);
            join(d, index + 1 < d.layers ? d.layer[index + 1].input_gain : d.gain, space);
        }
        multiply<Weight>(d.head, space.normed.data(), logits);
    }
}

}  // namespace

extern "C" void nima_step(const Decoder *d, std::int64_t token, std::int64_t position, float *logits, int threads) {
    if (d->kind == 0) step<float>(*d, token, position, logits, threads);
    if (d->kind == 1) step<BFloat16>(*d, token, position, logits, threads);
    if (d->kind == 2) step<std::int8_t>(*d, token, position, logits, threads);
}

// How the next token is chosen; see engine/inference/sampling.py, whose `sample` this is for one row.
extern "C" struct SamplingParams {
    double temperature;
    std::int64_t top_k;
    double top_p, min_p, repetition_penalty;
};

namespace {

// The ids of the `count` greatest logits, greatest first, equals in the order of their ids.
std::vector<std::int64_t> greatest(const float *logits, std::int64_t vocabulary, std::int64_t count) {
    std::vector<std::int64_t> ids(vocabulary);
    std::iota(ids.begin(), ids.end(), 0);
    const auto before = [logits](std::int64_t one, std::int64_t other) {
        return logits[one] != logits[other] ? logits[one] > logits[other] : one < other;
    };
    if (count < vocabulary) std::nth_element(ids.begin(), ids.begin() + count, ids.end(), before);
    ids.resize(count);
    std::sort(ids.begin(), ids.end(), before);
    return ids;
}

std::int64_t draw(const std::vector<double> &weights, double uniform) {
    double total = 0.0, passed = 0.0;
    std::int64_t last = 0;
    for (const double weight : weights) total += weight;
    for (std::size_t at = 0; at < weights.size(); ++at) {
        if (weights[at] > 0.0) last = static_cast<std::int64_t>(at);
        passed += weights[at];
        if (passed > uniform * total) return static_cast<std::int64_t>(at);
    }
    return last;
}

}  // namespace

// Returns the chosen token, or -1 when the logits are not finite. The logits of tokens in `seen` are changed by the
// penalty.
extern "C" std::int64_t nima_sample(float *logits, const bool *seen, std::int64_t vocabulary,
                                    const SamplingParams *params,
                                  double uniform) {
    const float penalty = static_cast<float>(params->repetition_penalty);
    for (std::int64_t at = 0; at < vocabulary; ++at)
        if (!std::isfinite(logits[at])) return -1;
    if (penalty != 1.0f)
        for (std::int64_t at = 0; at < vocabulary; ++at)
            if (seen[at]) logits[at] = logits[at] > 0 ? logits[at] / penalty : logits[at] * penalty;
    if (params->temperature == 0.0) return std::max_element(logits, logits + vocabulary) - logits;
    const std::int64_t wanted = params->top_k > 0 ? std::min(params->top_k, vocabulary) : vocabulary;
    const std::vector<std::int64_t> ids = greatest(logits, vocabulary, wanted);
    std::vector<double> weights(ids.size());
    double sum = 0.0, before = 0.0;
    for (std::size_t at = 0; at < ids.size(); ++at)
        sum += weights[at] = std::exp((double(logits[ids[at]]) - logits[ids[0]]) / params->temperature);
    for (double &weight : weights) weight /= sum;
    const double least = params->min_p * weights[0];
    for (std::size_t at = 0; at < ids.size(); ++at) {
        const double weight = weights[at];
        if (at && (before >= params->top_p || weight < least)) weights[at] = 0.0;
        before += weight;
    }
    return ids[draw(weights, uniform)];
}

NIMA_SIZE(Matrix)
NIMA_SIZE(Layer)
NIMA_SIZE(Decoder)
NIMA_SIZE(SamplingParams)
