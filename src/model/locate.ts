// From what the user calls a model to where it lies: a folder or a .gguf file of this machine, or a Hub id, whose files are
// brought into the standard cache.

import { stat } from "node:fs/promises";
import { SluiceError } from "../base/errors.js";
import { describeRepo, type HubRepo, parseHubId } from "../hub/repo.js";
import { type DownloadOptions, downloadSnapshot, openHubFile } from "../hub/snapshot.js";

/** Files that are read where they are there. Weights and config.json are asked for besides. */
const SMALL_FILES = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];
const ADAPTER_FILES = ["adapter_config.json", "adapter_model.safetensors"];
const INDEX = "model.safetensors.index.json";

/**
 * The local path of a model. What exists as a path is one; else `org/name`, `org/name@revision` and
 * `org/name/file.gguf@revision` are Hub ids.
 * @throws SluiceError `config` where there is no such model, or it has no safetensors; `store` where the Hub cannot be reached.
 */
export async function locateModel(model: string, options: DownloadOptions = {}): Promise<string> {
  const id = await hubIdOf(model);
  if (!id) return model;
  if (id.path === null)
    return (await downloadSnapshot(id.repo, (paths) => chooseModelFiles(id.repo, paths), options)).folder;
  if (id.path.endsWith(".gguf")) return openHubFile(id.repo, id.path, options);
  throw new SluiceError("config", `there is no model at ${model}`, {
    expected: "a folder, a .gguf file, or a Hub id (org/name, org/name@revision, org/name/file.gguf)",
  });
}

/** The local folder of an adapter: what exists as a path, or a Hub id. @throws SluiceError as {@link locateModel} does. */
export async function locateAdapter(adapter: string, options: DownloadOptions = {}): Promise<string> {
  const id = await hubIdOf(adapter);
  if (!id || id.path !== null) return adapter;
  const choose = (paths: readonly string[]) => {
    const lacking = ADAPTER_FILES.filter((path) => !paths.includes(path));
    if (lacking.length === 0) return ADAPTER_FILES;
    throw new SluiceError("config", `${describeRepo(id.repo)} is no adapter`, {
      expected: lacking.join(" and "),
    });
  };
  return (await downloadSnapshot(id.repo, choose, options)).folder;
}

/** What exists as a path is one, whatever it looks like. */
async function hubIdOf(text: string): Promise<ReturnType<typeof parseHubId>> {
  const isHere = await stat(text).then(
    () => true,
    () => false,
  );
  return isHere ? null : parseHubId(text, "model");
}

/** The files of a repository that a model needs: config, tokenizer, and the safetensors that transformers would take. */
export function chooseModelFiles(repo: HubRepo, paths: readonly string[]): string[] {
  const parts = paths.filter((path) => /^model-\d+-of-\d+\.safetensors$/.test(path));
  const oneFile = paths.filter((path) => path === "model.safetensors");
  const weights = oneFile.length === 0 && paths.includes(INDEX) ? [INDEX, ...parts] : oneFile;
  if (!paths.includes("config.json") || weights.length === 0) {
    const others = paths.filter((path) => /\.(safetensors|bin|gguf|pth|h5|msgpack)$/.test(path));
    const gguf = others.find((path) => path.endsWith(".gguf"));
    throw new SluiceError(
      "config",
      `${describeRepo(repo)} has no ${weights.length === 0 ? "model.safetensors" : "config.json"}`,
      {
        found: others.length > 0 ? others.slice(0, 10).join(", ") : "no weights at all",
        expected: "config.json and *.safetensors",
        fix: gguf ? `Name the file: --model ${repo.name}/${gguf}` : "Choose a repository that has them.",
      },
    );
  }
  return ["config.json", ...SMALL_FILES.filter((path) => paths.includes(path)), ...weights];
}
