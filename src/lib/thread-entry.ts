/** Finds the file that a thread of this program runs, in a build and in the one-file executable. */

/** Set by the wrapper of the one-file executable; there is no such name when the compiled files run as they are. */
declare const __bundleUrl: string | undefined;

/** The file that a worker thread of this program begins with: the program itself (src/main.ts), bundled or not. */
export function threadEntry(): URL {
  return typeof __bundleUrl === 'string' ? new URL(__bundleUrl) : new URL('../main.js', import.meta.url);
}
