// A worker's store where the worker can be killed: none of its calls ever returns after that.

import type { Store } from "../../src/store/store.js";

/** A process that can be killed, as its store sees it. */
export class Mortal {
  readonly store: Store;
  #isDead = false;

  constructor(store: Store) {
    const never = new Promise<never>(() => {});
    this.store = new Proxy(store, {
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key, target);
        if (typeof value !== "function") return value;
        return (...args: unknown[]) => (this.#isDead ? never : Reflect.apply(value, target, args));
      },
    });
  }

  kill(): void {
    this.#isDead = true;
  }
}
