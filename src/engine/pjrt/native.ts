// The one file that talks to koffi, the foreign function interface: libraries, calls by address, callbacks, addresses of our
// own memory, foreign memory. koffi is loaded when the first plug-in is, never before.

import { createRequire } from "node:module";
import type * as Koffi from "koffi";

type KoffiModule = typeof Koffi;

/** XLA's compiler needs more than koffi's own stacks of 2 MiB and 128 KiB. */
const STACK_BYTES = 16 * 2 ** 20;
const RTLD_LAZY = 1;
/** A plug-in must never be unloaded: its threads and destructors outlive the call, and Node's exit would crash in them. */
const RTLD_NODELETE = process.platform === "darwin" ? 0x80 : 0x1000;
const PROT_READ = 1;
const MAP_PRIVATE = 2;
const MAP_FAILED = 2n ** 64n - 1n;
/** M_MMAP_THRESHOLD of glibc's mallopt. */
const MMAP_THRESHOLD = -3;
/** What is at least so large goes back to the system when it is freed: glibc would raise its threshold to 32 MiB by itself. */
const LARGE_BYTES = 2 ** 20;

interface Native {
  readonly koffi: KoffiModule;
  readonly dlopen: (file: string, flags: number) => unknown;
  readonly dlsym: (library: bigint, name: string) => unknown;
  readonly dlerror: () => string | null;
  readonly mmap: (at: null, length: number, prot: number, flags: number, fd: number, from: number) => unknown;
  /** Where the C library is glibc. */
  readonly mallocTrim: { async(keep: number, done: () => void): void } | null;
  readonly getter: Koffi.TypeObject;
  readonly caller: Koffi.TypeObject;
  readonly callback: Koffi.TypeObject;
}

let loaded: Native | undefined;

function native(): Native {
  if (loaded) return loaded;
  const koffi = createRequire(import.meta.url)("koffi") as KoffiModule;
  koffi.config({ sync_stack_size: STACK_BYTES, async_stack_size: STACK_BYTES });
  const c = koffi.load(null);
  const find = (declaration: string) => {
    try {
      return c.func(declaration);
    } catch {
      return null;
    }
  };
  find("int mallopt(int option, int value)")?.(MMAP_THRESHOLD, LARGE_BYTES);
  loaded = {
    koffi,
    dlopen: c.func("void *dlopen(str file, int flags)"),
    dlsym: c.func("void *dlsym(void *library, str name)"),
    dlerror: c.func("str dlerror()"),
    mmap: c.func("void *mmap(void *at, size_t length, int prot, int flags, int fd, int64_t from)"),
    mallocTrim: find("int malloc_trim(size_t keep)"),
    getter: koffi.proto("void *PjrtGetter()"),
    caller: koffi.proto("void *PjrtCaller(void *argument)"),
    callback: koffi.pointer(koffi.proto("void PjrtCallback(void *error, void *user)")),
  };
  return loaded;
}

/** A foreign function that takes an address and gives one; 0n is null. What it gives means nothing where it is `void` in C. */
export interface NativeFunction {
  /** Calls it here and now. */
  now(argument: bigint): bigint;
  /** Calls it on a thread of libuv's pool: for what may take long, or wait for a callback. */
  onThread(argument: bigint): Promise<bigint>;
}

/** Loads a library for good and calls its function `entry`, which takes nothing. @throws Error in the loader's words. */
export function callEntry(file: string, entry: string): bigint {
  const { koffi, dlopen, dlsym, dlerror, getter } = native();
  const library = asAddress(dlopen(file, RTLD_LAZY | RTLD_NODELETE));
  if (library === 0n) throw new Error(dlerror() ?? "dlopen failed");
  const symbol = asAddress(dlsym(library, entry));
  if (symbol === 0n) throw new Error(`it has no function ${entry}`);
  return asAddress((koffi.decode(symbol, getter) as () => unknown)());
}

/** The function at an address. */
export function functionAt(address: bigint): NativeFunction {
  const { koffi, caller } = native();
  const raw = koffi.decode(address, caller) as {
    (argument: bigint): unknown;
    async(argument: bigint, done: (error: Error | null, result: unknown) => void): void;
  };
  return {
    now: (argument) => asAddress(raw(argument)),
    onThread: (argument) =>
      new Promise((resolve, reject) =>
        raw.async(argument, (error, result) => (error ? reject(error) : resolve(asAddress(result)))),
      ),
  };
}

/**
 * A C function `void f(void *error, void *user)` that calls `listener` on this thread, from whatever thread it is called; that
 * thread waits meanwhile. It stays for good, and does not keep Node alive.
 */
export function callbackFor(listener: (error: bigint, user: bigint) => void): bigint {
  const { koffi, callback } = native();
  return koffi.register(
    (error: unknown, user: unknown) => listener(asAddress(error), asAddress(user)),
    callback,
  );
}

/** Where the bytes of a view lie. They stay there as long as its buffer is referenced. */
export function addressOf(view: ArrayBufferView): bigint {
  void view.buffer; // Asking for it moves a small array off V8's heap, where it would be moved about.
  return native().koffi.address(view);
}

/** A copy of foreign memory. */
export function copyMemory(address: bigint, length: number): Uint8Array {
  return length === 0 ? new Uint8Array() : new Uint8Array(native().koffi.view(address, length)).slice();
}

/** A list of addresses in foreign memory. */
export function readAddresses(address: bigint, count: number): bigint[] {
  return Array.from(new BigUint64Array(copyMemory(address, 8 * count).buffer));
}

/** Maps a part of an open file for reading, for good; `from` is a multiple of the page size. @throws Error with errno. */
export function mapPages(fd: number, from: number, length: number): Uint8Array {
  const { koffi, mmap } = native();
  const address = asAddress(mmap(null, length, PROT_READ, MAP_PRIVATE, fd, from));
  if (address === MAP_FAILED) throw new Error(`mmap failed with errno ${koffi.errno()}`);
  return new Uint8Array(koffi.view(address, length));
}

/**
 * Gives the system back what malloc holds free. Compiling or loading a program takes and frees a hundred MB in small pieces, on
 * threads that each have an arena of their own, which would stay with the process. Nothing where the C library is not glibc.
 */
export async function returnFreedMemory(): Promise<void> {
  const { mallocTrim } = native();
  if (mallocTrim) await new Promise<void>((resolve) => mallocTrim.async(0, () => resolve()));
}

function asAddress(value: unknown): bigint {
  return typeof value === "bigint" ? value : 0n;
}
