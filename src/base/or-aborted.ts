/** What the promise gives, or the signal's reason as soon as it is aborted: for what cannot be told to stop, such as a file system that does not answer. */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let leave = () => {};
  const told = new Promise<never>((_, reject) => {
    leave = () => reject(signal.reason);
    signal.addEventListener("abort", leave, { once: true });
    if (signal.aborted) leave();
  });
  try {
    return await Promise.race([promise, told]);
  } finally {
    signal.removeEventListener("abort", leave);
  }
}
