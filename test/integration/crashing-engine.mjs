// Preloaded into every Node process of a test: an engine's process aborts when it is given a sample of a certain length,
// as native code does on an input that it cannot stand.

const length = Number(process.env.SLUICE_TEST_CRASH_LENGTH);

function crashOnLength(message) {
  if (message.type !== "compute") return;
  const { inputOffsets } = message.job;
  for (let i = 1; i < inputOffsets.length; i++)
    if (inputOffsets[i] - inputOffsets[i - 1] === length) process.abort();
}

if (process.argv[1]?.endsWith("engine-main.js")) {
  // Not before the engine itself listens: the first listener would take the messages that were kept for it.
  process.on("newListener", function onListener(event) {
    if (event !== "message") return;
    process.off("newListener", onListener);
    process.nextTick(() => process.prependListener("message", crashOnLength));
  });
}
