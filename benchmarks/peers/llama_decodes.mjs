// llama.cpp through its Node binding: `node llama_decodes.mjs FOLDER MODEL THREADS TOKENS ID...`; see turns.py.
//
// FOLDER/node_modules holds node-llama-cpp, MODEL is a GGUF file. Greedy tokens after the prompt, one stream.

import {join} from "node:path";
import {createInterface} from "node:readline";
import {pathToFileURL} from "node:url";

const [folder, modelPath, threads, tokens, ...prompt] = process.argv.slice(2);
const binding = join(folder, "node_modules", "node-llama-cpp", "dist", "index.js");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(binding));
const llama = await getLlama({
    gpu: false, build: "never", skipDownload: true, progressLogs: false, logLevel: LlamaLogLevel.error,
    maxThreads: Number(threads)
});
const model = await llama.loadModel({modelPath});
const context = await model.createContext({contextSize: 512, threads: Number(threads)});
const sequence = context.getSequence();

async function decode() {
    await sequence.clearHistory();
    let count = 0;
    for await (const _ of sequence.evaluate(prompt.map(Number), {temperature: 0, yieldEogToken: true}))
        if (++count === Number(tokens)) return;
    throw new Error(`ended after ${count} tokens`);
}

process.stdout.write("0\n");
for await (const _ of createInterface({input: process.stdin})) {
    const began = performance.now();
    await decode();
    process.stdout.write(`${(performance.now() - began) / 1000}\n`);
}
process.exit(0);
