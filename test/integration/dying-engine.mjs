// Preloaded into every Node process of a test: an engine's process is killed as soon as it starts, as it is where the machine has
// too little memory for the model.

if (process.argv[1]?.endsWith("engine-main.js")) process.kill(process.pid, "SIGKILL");
