// Prefill and decode speed of a GGUF with libllama: what `fathom bench` measures, in the same way.
//
//   peer_bench MODEL.gguf THREADS PREFILL DEPTHS GEN [DONOR.gguf]
//
// PREFILL and DEPTHS are lists such as 512,2048, or none. Tokens are random. After a warm-up each prompt is read once
// from an empty cache; then decoding: one token, and GEN more against the clock, at each depth in ascending order. With
// DONOR, a small model of the same cache shape, depths are read by the donor and its sequence state is loaded into the
// model: what the cache holds does not change the speed. One JSON object goes to standard output.
#include "llama.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace {

constexpr int BATCH = 2048;
constexpr int UBATCH = 512;

[[noreturn]] void fail(const char * what) {
    fprintf(stderr, "peer_bench: %s\n", what);
    exit(1);
}

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::vector<int> numbers(const std::string & list) {
    std::vector<int> result;
    if (list == "none") return result;
    for (size_t at = 0; at <= list.size();) {
        size_t end = std::min(list.find(',', at), list.size());
        result.push_back(std::stoi(list.substr(at, end - at)));
        at = end + 1;
    }
    return result;
}

void quiet(ggml_log_level level, const char * text, void *) {
    if (level >= GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

// Kibibytes of a line of /proc/self/status, as bytes.
long memory(const char * name) {
    FILE * file = fopen("/proc/self/status", "r");
    if (!file) return 0;
    char line[256];
    long bytes = 0;
    while (fgets(line, sizeof line, file))
        if (!strncmp(line, name, strlen(name))) bytes = 1024 * atol(strchr(line, ':') + 1);
    fclose(file);
    return bytes;
}

// A model with one sequence.
class Runner {
public:
    Runner(const char * path, int threads, int tokens_max) {
        auto model_params = llama_model_default_params();
        model_params.n_gpu_layers = 0;
        // Without one, loading prints dots.
        model_params.progress_callback = [](float, void *) { return true; };
        model = llama_model_load_from_file(path, model_params);
        if (!model) fail("the model cannot be loaded");
        auto params = llama_context_default_params();
        params.n_ctx = tokens_max;
        params.n_batch = BATCH;
        params.n_ubatch = UBATCH;
        params.n_threads = params.n_threads_batch = threads;
        params.swa_full = false;
        context = llama_init_from_model(model, params);
        if (!context) fail("no context can be made");
        batch = llama_batch_init(BATCH, 0, 1);
        vocab_size = llama_vocab_n_tokens(llama_model_get_vocab(model));
    }

    ~Runner() {
        llama_batch_free(batch);
        llama_free(context);
        llama_model_free(model);
    }

    Runner(const Runner &) = delete;
    Runner & operator=(const Runner &) = delete;

    void clear() {
        llama_memory_clear(llama_get_memory(context), true);
        position = 0;
    }

    // Appends random tokens, with logits of the last; returns seconds.
    double read(int tokens) {
        double start = now();
        while (tokens > 0) {
            int count = std::min(tokens, BATCH);
            batch.n_tokens = count;
            for (int i = 0; i < count; i++) {
                batch.token[i] = static_cast<llama_token>(random() % vocab_size);
                batch.pos[i] = position + i;
                batch.n_seq_id[i] = 1;
                batch.seq_id[i][0] = 0;
                batch.logits[i] = i == tokens - 1;
            }
            if (llama_decode(context, batch)) fail("decoding failed");
            position += count;
            tokens -= count;
        }
        llama_synchronize(context);
        return now() - start;
    }

    void copy_from(Runner & donor) {
        std::vector<uint8_t> state(llama_state_seq_get_size(donor.context, 0));
        size_t bytes = llama_state_seq_get_data(donor.context, state.data(), state.size(), 0);
        clear();
        if (!bytes || !llama_state_seq_set_data(context, state.data(), bytes, 0)) fail("the donor's state does not fit");
        position = donor.position;
    }

    size_t state_bytes() { return llama_state_seq_get_size(context, 0); }

    int position = 0;

private:
    llama_model * model = nullptr;
    llama_context * context = nullptr;
    llama_batch batch{};
    int vocab_size = 0;
    std::mt19937 random{1};
};

} // namespace

int main(int argc, char ** argv) {
    if (argc < 6) fail("usage: peer_bench MODEL.gguf THREADS PREFILL DEPTHS GEN [DONOR.gguf]");
    const int threads = atoi(argv[2]), generate = atoi(argv[5]);
    const auto prefill = numbers(argv[3]), depths = numbers(argv[4]);
    int tokens_max = 256;
    for (int tokens : prefill) tokens_max = std::max(tokens_max, tokens + 1);
    for (int depth : depths) tokens_max = std::max(tokens_max, depth + generate + 1);
    tokens_max = (tokens_max + 255) / 256 * 256;
    llama_log_set(quiet, nullptr);
    llama_backend_init();
    Runner runner(argv[1], threads, tokens_max);
    runner.read(prefill.empty() ? 64 : prefill[0]);
    runner.read(1);

    printf("{\"prefill\": [");
    for (size_t i = 0; i < prefill.size(); i++) {
        runner.clear();
        double seconds = runner.read(prefill[i]);
        printf("%s{\"tokens\": %d, \"tokens_per_s\": %.4f}", i ? ", " : "", prefill[i], prefill[i] / seconds);
    }
    printf("], \"decode\": [");
    runner.clear();
    Runner * donor = argc > 6 && !depths.empty() ? new Runner(argv[6], threads, tokens_max) : nullptr;
    for (size_t i = 0; i < depths.size(); i++) {
        if (donor && depths[i] > 0) {
            donor->read(depths[i] - donor->position);
            runner.copy_from(*donor);
        } else {
            runner.read(depths[i] - runner.position);
        }
        runner.read(1);
        double seconds = 0;
        for (int n = 0; n < generate; n++) seconds += runner.read(1);
        printf("%s{\"depth\": %d, \"tokens_per_s\": %.4f, \"state_bytes\": %zu}", i ? ", " : "", depths[i],
               generate / seconds, runner.state_bytes());
    }
    printf("], \"memory\": {\"rss_bytes\": %ld, \"anonymous_bytes\": %ld}}\n", memory("VmRSS"), memory("RssAnon"));
    delete donor;
}
