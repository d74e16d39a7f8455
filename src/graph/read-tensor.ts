// A parameter in memory, wherever it comes from: for engines that do not map files, for adapters, for tests.

import { closeSync, openSync } from "node:fs";
import { decodeBfloat16, decodeFloat16 } from "../base/float16.js";
import { readFully } from "../base/read-at.js";
import { isStored, type WeightTensor } from "./weights.js";

/** All values of a tensor, row-major; 16-bit ones are widened exactly. @throws SluiceError `config` where its file is truncated. */
export function readTensor(tensor: WeightTensor): Float32Array {
  const bytes = readBytes(tensor);
  if (tensor.dtype === "float32") return new Float32Array(bytes.buffer);
  const patterns = new Uint16Array(bytes.buffer);
  return tensor.dtype === "bfloat16" ? decodeBfloat16(patterns) : decodeFloat16(patterns);
}

function readBytes(tensor: WeightTensor): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(tensor.length);
  if (isStored(tensor)) {
    const file = openSync(tensor.file, "r");
    try {
      readFully(file, bytes, tensor.offset, tensor.file);
    } finally {
      closeSync(file);
    }
  } else {
    let done = 0;
    tensor.fill((piece) => {
      bytes.set(piece, done);
      done += piece.length;
    });
  }
  return bytes;
}
