/** Decides by `buildIndexes` which indexes are built, and when. */
import type { OrderedDoc } from '../bson/bson.js';

/** `buildIndexes`: whether, which, and when. Source: docs/options.md. */
export type BuildMode = 'afterDataCopy' | 'beforeDataCopy' | 'excludeHashed' | 'excludeHashedAfterCopy' | 'never';

/** Whether the indexes that are there at the start are built before the copy begins. */
export function buildsBeforeCopy(mode: BuildMode): boolean {
  return mode === 'beforeDataCopy' || mode === 'excludeHashed';
}

/** Whether a migration of this mode builds an index; `_id` indexes belong to their collections and are always there. */
export function isBuilt(mode: BuildMode, spec: OrderedDoc): boolean {
  if (mode === 'never') return false;
  if (mode === 'excludeHashed' || mode === 'excludeHashedAfterCopy') return !isHashed(spec);
  return true;
}

function isHashed(spec: OrderedDoc): boolean {
  const key = spec.get('key');
  return key instanceof Map && [...key.values()].includes('hashed');
}
