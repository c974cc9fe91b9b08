/** Filters and remaps for random workloads, and by what names their target is compared. */
import type { CompareOptions } from './compare-clusters.js';

const NAMES: Readonly<Record<string, string>> = { work0: 'home', work2: 'work1' };

/** Two of three databases, wholly, under other names: collections move in and out of them by every kind of rename. */
export const WHOLE = {
  start: {
    includeNamespaces: [{ databaseRegex: { pattern: '^work[02]\\z', options: '' }, collections: [] }],
    namespaceRemap: Object.entries(NAMES).map(([from, to]) => ({ from, to })),
  },
  target: ((db, coll) => {
    const to = NAMES[db];
    return to === undefined ? undefined : [to, coll];
  }) satisfies CompareOptions['target'],
};

/** A database less some of its collections: what `$out` and convertToCapped write must be found by its final name. */
export const PART = {
  start: {
    includeNamespaces: [
      {
        database: 'work0',
        collections: ['capped'],
        collectionsRegex: { pattern: '^(moving|RESULT|view)', options: 'i' },
      },
    ],
    excludeNamespaces: [{ database: 'work0', collections: ['view1'] }],
  },
  target: ((db, coll) =>
    db === 'work0' && (coll === 'capped' || (/^(moving|result|view)/.test(coll) && coll !== 'view1'))
      ? [db, coll]
      : undefined) satisfies CompareOptions['target'],
  // It moves collections over the filter's border, which is not permitted.
  without: ['renameAcross'] as const,
};
