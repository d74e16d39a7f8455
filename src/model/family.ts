// What a model family is: how its config is read, and its decoder described with the graph builder.

import type { GraphBuilder } from "../graph/builder.js";
import type { ConfigReader } from "./config.js";
import type { ModulePaths } from "./parse-hooks.js";

/** What every decoder has, whatever its family. */
export interface ModelShape {
  readonly layers: number;
  /** Width of the residual stream. */
  readonly width: number;
  readonly vocabulary: number;
  /** The longest input, where positions are learned; otherwise what the config says, which is advice. */
  readonly maxPositions: number;
  readonly positionsAreLearned: boolean;
  /** Hugging Face's module paths, as people name hook points. */
  readonly modules: ModulePaths;
  /** Describes the decoder, from the embedding up to the highest wanted hook. */
  build(g: GraphBuilder): void;
}

/** A family: one file, and one line in `families.ts`. */
export interface Family {
  readonly name: string;
  /** The values of `architectures` that mean it. */
  readonly architectures: readonly string[];
  /** @throws SluiceError `config` naming a field that is not supported. */
  read(config: ConfigReader): ModelShape;
}
