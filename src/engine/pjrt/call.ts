// Calls through a plug-in's function table. A function that the plug-in is too old to have is refused by name, and an error
// that it gives is read, freed and thrown.

import { SluiceError } from "../../base/errors.js";
import { PjrtError } from "./error.js";
import {
  API_MAJOR_OFFSET,
  API_MINOR_OFFSET,
  API_SIZE_OFFSET,
  FUNCTIONS,
  type FunctionName,
} from "./functions.js";
import { callEntry, copyMemory, functionAt, type NativeFunction } from "./native.js";
import { Struct } from "./struct.js";
import type { StructName } from "./structs.js";

type Arguments<F extends FunctionName> = `${F}_Args` & StructName;
type Values<F extends FunctionName> = ConstructorParameters<typeof Struct<Arguments<F>>>[1];

/** Versions of another major number are incompatible. */
const API_MAJOR = 0;
const VERSION_END = API_MINOR_OFFSET + 4;
/** What a plug-in says to a struct that has fewer fields than it knows of (pjrt_c_api_helpers.cc). */
const TOO_SMALL = /Unexpected (\w+) size: expected (\d+), got/;

/** A loaded plug-in's functions. */
export class PjrtApi {
  readonly file: string;
  readonly major: number;
  readonly minor: number;
  readonly #table: DataView;
  readonly #functions = new Map<FunctionName, NativeFunction>();

  /** @throws Error in the loader's words where the file is no plug-in. */
  constructor(file: string) {
    this.file = file;
    const address = callEntry(file, "GetPjrtApi");
    if (address === 0n) throw new Error("GetPjrtApi gave nothing");
    const head = viewOf(copyMemory(address, VERSION_END));
    this.major = head.getInt32(API_MAJOR_OFFSET, true);
    this.minor = head.getInt32(API_MINOR_OFFSET, true);
    if (this.major !== API_MAJOR)
      throw new Error(`it has PJRT API ${this.version}, Sluice speaks ${API_MAJOR}: their structs differ`);
    this.#table = viewOf(copyMemory(address, Number(head.getBigUint64(API_SIZE_OFFSET, true))));
  }

  get version(): string {
    return `${this.major}.${this.minor}`;
  }

  /** Calls a function on this thread. @returns the struct, with what the call has written. @throws PjrtError */
  call<F extends FunctionName>(name: F, values: Values<F>): Struct<Arguments<F>> {
    const f = this.#find(name);
    const args = new Struct<Arguments<F>>(argumentsOf(name), values);
    while (this.#mustRepeat(name, args, f.now(args.address)));
    return args;
  }

  /** Calls a function that may take long, or wait for one of our callbacks, on another thread. @throws PjrtError */
  async callOnThread<F extends FunctionName>(name: F, values: Values<F>): Promise<Struct<Arguments<F>>> {
    const f = this.#find(name);
    const args = new Struct<Arguments<F>>(argumentsOf(name), values);
    while (this.#mustRepeat(name, args, await f.onThread(args.address)));
    return args;
  }

  /** Reads and frees an error that a call or a callback gave; null for none. */
  takeError(operation: string, address: bigint): PjrtError | null {
    if (address === 0n) return null;
    const message = new Struct("PJRT_Error_Message_Args", { error: address });
    this.#find("PJRT_Error_Message").now(message.address);
    const code = new Struct("PJRT_Error_GetCode_Args", { error: address });
    this.#find("PJRT_Error_GetCode").now(code.address);
    const error = new PjrtError(operation, code.number("code"), message.text("message", "message_size"));
    this.#find("PJRT_Error_Destroy").now(new Struct("PJRT_Error_Destroy_Args", { error: address }).address);
    return error;
  }

  #find(name: FunctionName): NativeFunction {
    const known = this.#functions.get(name);
    if (known) return known;
    const offset = FUNCTIONS[name];
    const address = offset + 8 <= this.#table.byteLength ? this.#table.getBigUint64(offset, true) : 0n;
    if (address === 0n)
      throw new SluiceError("config", `${this.file} has no ${name}`, {
        found: `PJRT API ${this.version}`,
        fix: "Use a newer version of the plug-in: `sluice plugins` lists those there are.",
      });
    const found = functionAt(address);
    this.#functions.set(name, found);
    return found;
  }

  /** Whether a struct was made larger, as a newer plug-in asks for: it was refused before anything was done. @throws PjrtError */
  #mustRepeat(name: FunctionName, args: Struct<StructName>, errorAddress: bigint): boolean {
    const error = this.takeError(name, errorAddress);
    if (!error) return false;
    const [, struct = "", size] = TOO_SMALL.exec(error.reason) ?? [];
    if (args.find(struct)?.grow(Number(size))) return true;
    throw error;
  }
}

function argumentsOf<F extends FunctionName>(name: F): Arguments<F> {
  return `${name}_Args` as Arguments<F>;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
