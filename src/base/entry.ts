// Where the compiled file of a child process or worker thread lies. Tests run from `src` under vitest, but a forked
// Node needs JavaScript: there the entry point is the one that `npm run build` (part of `npm test`) left in `dist`.

/**
 * The URL of a compiled entry point, given relative to the caller's own module.
 *
 * @example fork(entryPoint(import.meta.url, "./engine-main.js"))
 */
export function entryPoint(callerUrl: string, relative: string): URL {
  const url = new URL(relative, callerUrl);
  const inSource = url.href.lastIndexOf("/src/");
  const inDist = url.href.lastIndexOf("/dist/");
  if (inSource > inDist)
    return new URL(`${url.href.slice(0, inSource)}/dist/${url.href.slice(inSource + 5)}`);
  return url;
}
