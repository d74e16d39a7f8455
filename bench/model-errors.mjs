// Prints how far each engine is from PyTorch on the fixtures of every family: the largest difference over the tensor's largest
// value, and the same for each hook point.
//
//   node bench/model-errors.mjs [--plugin FILE] [--json]
//
// With --plugin, the library of a PJRT plug-in: XLA too, in float32.

import { parseArgs } from "node:util";
import { createServer } from "vite"; // Comes with vitest; runs the TypeScript of the engine suite's fixtures.

const { values } = parseArgs({
  options: { plugin: { type: "string" }, json: { type: "boolean", default: false } },
});

const server = await createServer({
  server: { middlewareMode: true, watch: null },
  appType: "custom",
  logLevel: "error",
});
const load = (file) => server.ssrLoadModule(`/src/${file}`);
const { FIXTURES, errorsOf, loadAll, readFixture } = await load("engine/model-fixtures.suite.ts");
const { onnxEngine } = await load("engine/onnx.ts");
const { referenceEngine } = await load("engine/reference.ts");
const { xlaEngine } = await load("engine/xla.ts");
const { openModel } = await load("model/model.ts");
const { HOOK_NAMES, tapOf } = await load("model/hooks.ts");

const engines = [onnxEngine({ threads: 1 }), referenceEngine()];
if (values.plugin !== undefined)
  engines.push(xlaEngine({ plugin: values.plugin, compute: "float32", threads: 1 }));
const rows = [];
for (const name of FIXTURES) {
  const fixture = readFixture(name);
  const checkpoint = await openModel(fixture.folder);
  for (const engine of engines) {
    const model = await loadAll(engine, checkpoint);
    for (const [key, error] of await errorsOf(model, fixture)) {
      const [kind, hook] = key.split(" ");
      rows.push({
        family: checkpoint.family,
        fixture: name,
        engine: engine.name,
        case: kind,
        hook: tapOf(hook).hook,
        error,
      });
    }
    await model.close();
  }
}
await server.close();

if (values.json) console.log(JSON.stringify(rows));
else print();
process.exit(); // A plug-in's threads would keep it.

function print() {
  const families = [...new Set(rows.map((row) => row.family))];
  const names = engines.map((engine) => engine.name);
  const cases = ["one", "batch", "token", "long"];
  const worst = (rows) =>
    rows.length === 0 ? "" : Math.max(...rows.map((row) => row.error)).toExponential(1);
  const table = (header, lines) => {
    console.log(`| ${header.join(" | ")} |\n|${header.map(() => " --- |").join("")}`);
    for (const line of lines) console.log(`| ${line.join(" | ")} |`);
    console.log();
  };
  console.log(
    "Largest difference from PyTorch over the tensor's largest value, float32, all hook points and layers.\n",
  );
  table(
    ["family", "engine", "fixtures", "tensors", "worst", ...cases],
    families.flatMap((family) =>
      names.map((engine) => {
        const own = rows.filter((row) => row.family === family && row.engine === engine);
        const fixtures = new Set(own.map((row) => row.fixture)).size;
        return [
          family,
          engine,
          fixtures,
          own.length,
          worst(own),
          ...cases.map((c) => worst(own.filter((r) => r.case === c))),
        ];
      }),
    ),
  );
  for (const engine of names) {
    console.log(`${engine}, by hook point:\n`);
    table(
      ["hook", ...families],
      HOOK_NAMES.map((hook) => {
        const own = rows.filter((row) => row.hook === hook && row.engine === engine);
        return [hook, ...families.map((family) => worst(own.filter((row) => row.family === family)))];
      }),
    );
  }
}
