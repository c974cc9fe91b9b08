/** Looks into the deltas by which update events tell what has changed in a document. */
import { findField, forEachField, rawName } from './raw-document.js';

/**
 * Whether a raw update delta (`{$v: 2, diff: …}`) may change one of some top-level fields. The diff's parts: `u`, `i` and
 * `d` hold fields set, inserted and deleted, `s<field>` is a diff below a field; whatever else there is counts as a
 * change.
 */
export function deltaTouches(delta: Buffer, names: ReadonlySet<string>): boolean {
  const diff = findField(delta, 'diff');
  if (diff === undefined) return true;
  const content = delta.subarray(diff.start, diff.end);
  let touches = false;
  forEachField(content, (part, { start, end }) => {
    if (part.startsWith('s')) touches = names.has(part.slice(1));
    else if (part === 'u' || part === 'i' || part === 'd')
      forEachField(content.subarray(start, end), (name) => {
        touches = names.has(name);
        return !touches;
      });
    else touches = true;
    return !touches;
  });
  return touches;
}

/** The top-level fields of some paths, as `deltaTouches` takes them. */
export function topLevelNames(paths: readonly string[]): ReadonlySet<string> {
  return new Set(paths.map((path) => rawName(path.split('.')[0] ?? path)));
}
