import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Namespace } from '../../../src/catalog/namespace.js';
import { type NameMatcher, NamespaceFilter, type NamespaceFilterEntry } from '../../../src/catalog/namespace-filter.js';
import { narrowing } from '../../../src/catalog/narrowing.js';

const { signal } = new AbortController();
const matcher: NameMatcher = {
  matches: async ({ pattern }, text) => new RegExp(pattern).test(text),
  learn: async () => undefined,
};
const target = (db: string): string => (db === 'a' ? 'z' : db);

/** The expressions that are used here, as the server takes them. */
function holds(expression: Record<string, unknown>, ns: Namespace): boolean {
  const [[operator, value]] = Object.entries(expression) as [[string, unknown]];
  const parts = value as Record<string, unknown>[];
  if (operator === '$and') return parts.every((each) => holds(each, ns));
  if (operator === '$or') return parts.some((each) => holds(each, ns));
  if (operator === '$not') return !holds(parts[0] ?? {}, ns);
  const [field, { $literal: names }] = value as [string, { $literal: string[] }];
  return names.includes(field === '$ns.db' ? ns.db : ns.coll);
}

const passes = (stages: readonly unknown[], ns: Namespace): boolean =>
  (stages as { $match: { $expr: Record<string, unknown> } }[]).every(({ $match }) => holds($match.$expr, ns));

const regex = fc.constantFrom('^a', 'b', 'c$').map((pattern) => ({ pattern, options: '' }));
const name = fc.constantFrom('a', 'b', 'ab', 'c');
const entry: fc.Arbitrary<NamespaceFilterEntry> = fc.record(
  { database: name, databaseRegex: regex, collections: fc.array(name, { maxLength: 2 }), collectionsRegex: regex },
  { requiredKeys: ['collections'] },
);
const entries = fc
  .array(entry, { maxLength: 3 })
  .map((all) =>
    all.filter(({ database, databaseRegex }) => (database === undefined) !== (databaseRegex === undefined)),
  );

test('whatever a filter includes is let through, on both sides', async () => {
  const property = fc.asyncProperty(entries, entries, name, name, async (include, exclude, db, coll) => {
    const options = { includeNamespaces: include, excludeNamespaces: exclude };
    const stages = narrowing(options, target);
    if (!(await new NamespaceFilter(options, matcher).includes({ db, coll }, signal))) return;
    assert.ok(passes(stages.source, { db, coll }), 'the source');
    assert.ok(passes(stages.destination, { db: target(db), coll }), 'the destination');
  });
  await fc.assert(property, { numRuns: 3000 });
});

test('what plain names rule out is left out, and nothing where a pattern decides', () => {
  const items: NamespaceFilterEntry = { database: 'a', collections: ['b'] };
  const named = narrowing({ includeNamespaces: [items], excludeNamespaces: [] }, target);
  assert.equal(
    ['a.b', 'a.c', 'c.b'].map((each) => {
      const [db = '', coll = ''] = each.split('.');
      return [passes(named.source, { db, coll }), passes(named.destination, { db, coll })];
    }),
    [
      [true, false],
      [false, false],
      [false, false],
    ],
  );
  assert.ok(passes(named.destination, { db: 'z', coll: 'any' }));
  const excluding = narrowing({ includeNamespaces: [], excludeNamespaces: [items] }, target);
  assert.not.ok(passes(excluding.source, { db: 'a', coll: 'b' }));
  assert.equal(excluding.destination, []);
  const byPattern = { databaseRegex: { pattern: '^a', options: '' }, collections: [] };
  const open = narrowing({ includeNamespaces: [items, byPattern], excludeNamespaces: [] }, target);
  assert.equal(open, { source: [], destination: [] });
  assert.equal(narrowing({ includeNamespaces: [], excludeNamespaces: [] }, target), open);
});

test.run();
