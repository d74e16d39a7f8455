// Objects that belong to a plug-in: each is destroyed exactly once, never while a call uses it, never used afterwards. How many
// there are is counted, so that tests see what was forgotten.

import { SluiceError } from "../../base/errors.js";

/** What a handle stands for. */
export type ObjectKind = "client" | "executable" | "buffer" | "event";

const live: Record<ObjectKind, number> = { client: 0, executable: 0, buffer: 0, event: 0 };

/** How many objects of each kind there are in this process. */
export function liveObjects(): Readonly<Record<ObjectKind, number>> {
  return { ...live };
}

/** An object of a plug-in. */
export class Handle {
  readonly kind: ObjectKind;
  readonly #address: bigint;
  readonly #destroy: (address: bigint) => void;
  readonly #owned: Set<Handle> | undefined;
  #uses = 0;
  #isReleased = false;

  /** @param owned where the owner counts what it has made: the handle is in it until it ends. */
  constructor(kind: ObjectKind, address: bigint, destroy: (address: bigint) => void, owned?: Set<Handle>) {
    this.kind = kind;
    this.#address = address;
    this.#destroy = destroy;
    this.#owned = owned;
    owned?.add(this);
    live[kind] += 1;
  }

  get isReleased(): boolean {
    return this.#isReleased;
  }

  /** Its address, for a call that ends before anything else happens. @throws SluiceError `bug` where it was released. */
  get address(): bigint {
    if (this.#isReleased) throw new SluiceError("bug", `this ${this.kind} was released`);
    return this.#address;
  }

  /** Its address for a call on another thread: it is not destroyed before {@link endUse}. */
  beginUse(): bigint {
    const address = this.address;
    this.#uses += 1;
    return address;
  }

  endUse(): void {
    this.#uses -= 1;
    if (this.#isReleased && this.#uses === 0) this.#end();
  }

  /** Destroys it, now or when the last call that uses it has ended. A second time is nothing. */
  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    if (this.#uses === 0) this.#end();
  }

  #end(): void {
    live[this.kind] -= 1;
    this.#owned?.delete(this);
    this.#destroy(this.#address);
  }
}
