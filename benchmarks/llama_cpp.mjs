// Answers with llama.cpp's Node binding: `node llama_cpp.mjs FOLDER`, where FOLDER/node_modules holds node-llama-cpp.
//
// Reads one JSON object from stdin: `model` (a GGUF file), `texts`, `prompts` (lists of ids), `context`, `tokens`, `ends`
// (ids that end an answer). Writes one: `ids` of each text, and the greedy `answers` to the prompts as ids.

import {join} from "node:path";
import {pathToFileURL} from "node:url";

const binding = join(process.argv[2], "node_modules", "node-llama-cpp", "dist", "index.js");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(binding));
// Not read in one call: that fails where stdin is a pipe whose other end has not written yet.
let told = "";
for await (const part of process.stdin.setEncoding("utf-8")) told += part;
const job = JSON.parse(told);

// One thread: llama.cpp's threads spin while they wait for each other, which on a busy machine takes for ever.
const llama = await getLlama({
    gpu: false, build: "never", skipDownload: true, progressLogs: false, logLevel: LlamaLogLevel.error, maxThreads: 1
});
const model = await llama.loadModel({modelPath: job.model});
const ids = job.texts.map((text) => model.tokenize(text, false));

// Keys and values in float32, as nima and transformers keep them; llama.cpp's own default is float16.
const context = await model.createContext({
    contextSize: job.context, threads: 1, flashAttention: false,
    experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32"
});
const sequence = context.getSequence();
const answers = [];
for (const prompt of job.prompts) {
    await sequence.clearHistory();
    const answer = [];
    for await (const token of sequence.evaluate(prompt, {temperature: 0, yieldEogToken: true})) {
        if (job.ends.includes(token)) break;
        answer.push(token);
        if (answer.length === job.tokens) break;
    }
    answers.push(answer);
}
process.stdout.write(JSON.stringify({ids, answers}) + "\n", () => process.exit(0));
