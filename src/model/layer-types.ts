// Which layers attend to everything before a token, and which only to a window, as configs of both transformers 4 and 5 say it.

import type { ConfigReader } from "./config.js";

/** A layer's kind of attention, in the words of `layer_types`. */
export type LayerType = "full_attention" | "sliding_attention";

/**
 * The kind of each layer. @param usual of a layer where the config does not list them.
 * @throws SluiceError `config` for another kind (chunked, linear), or a list of another length.
 */
export function readLayerTypes(
  config: ConfigReader,
  layers: number,
  usual: (layer: number) => LayerType,
): LayerType[] {
  const types = config.raw("layer_types") ?? Array.from({ length: layers }, (_, layer) => usual(layer));
  const isKnown = (type: unknown): type is LayerType =>
    type === "full_attention" || type === "sliding_attention";
  if (Array.isArray(types) && types.length === layers && types.every(isKnown)) return types;
  throw config.refuse("layer_types", `${layers} times full_attention or sliding_attention`);
}

/**
 * `sliding_window`: tokens that a token sees, itself included; null for all before it.
 * @param fallback transformers' default where the field is absent (null in the file means none).
 */
export function readWindow(config: ConfigReader, fallback: number | null): number | null {
  const value = config.raw("sliding_window");
  if (value === null) return null;
  return fallback === null && value === undefined
    ? null
    : config.whole("sliding_window", fallback ?? undefined);
}

/** The window of each layer by its kind; null where it sees everything before it. */
export function windowsOf(
  config: ConfigReader,
  types: readonly LayerType[],
  window: number | null,
): (number | null)[] {
  if (window === null && types.includes("sliding_attention"))
    throw config.refuse("sliding_window", "a number, as layer_types names sliding_attention");
  return types.map((type) => (type === "sliding_attention" ? window : null));
}

/** Qwen's rule: windows only with `use_sliding_window`, from layer `max_window_layers` on. */
export function readQwenWindows(config: ConfigReader, layers: number): (number | null)[] {
  const window = config.flag("use_sliding_window", false) ? readWindow(config, 4096) : null;
  config.raw("sliding_window"); // Without effect unless use_sliding_window is true.
  const from = config.raw("max_window_layers") === 0 ? 0 : config.whole("max_window_layers", 28);
  const types = readLayerTypes(config, layers, (layer) =>
    window !== null && layer >= from ? "sliding_attention" : "full_attention",
  );
  return windowsOf(config, types, window);
}
