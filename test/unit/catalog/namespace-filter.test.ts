import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  convertToCappedName,
  describeNs,
  isOutTemporary,
  isRenameTemporary,
  isUnnamedTemporary,
} from '../../../src/catalog/namespace.js';
import { type NameMatcher, NamespaceFilter, type NamespaceFilterEntry } from '../../../src/catalog/namespace-filter.js';

const signal = new AbortController().signal;

/** Patterns so plain that JavaScript will do; what a server makes of others is for the tests on servers. */
const matcher: NameMatcher = {
  matches: async ({ pattern, options }, text) => new RegExp(pattern, options).test(text),
  learn: async () => undefined,
};

function filter(include: NamespaceFilterEntry[], exclude: NamespaceFilterEntry[] = []): NamespaceFilter {
  return new NamespaceFilter({ includeNamespaces: include, excludeNamespaces: exclude }, matcher);
}

const whole = (database: string): NamespaceFilterEntry => ({ database, collections: [] });
const part = (database: string, ...collections: string[]): NamespaceFilterEntry => ({ database, collections });
const regex = (pattern: string) => ({ pattern, options: '' });

/** Filter, namespaces that pass, namespaces that do not. */
const ROWS: readonly (readonly [what: string, filter: NamespaceFilter, passing: string[], others: string[]])[] = [
  ['nothing given', filter([]), ['a.b', 'c.d'], []],
  ['a whole database', filter([whole('a')]), ['a.b', 'a.c'], ['A.b', 'aa.b']],
  ['named collections', filter([part('a', 'b', 'c.d')]), ['a.b', 'a.c.d'], ['a.c', 'a.B']],
  [
    'named collections and an expression: either matches',
    filter([{ database: 'a', collections: ['x'], collectionsRegex: regex('^y') }]),
    ['a.x', 'a.y1'],
    ['a.z', 'b.x'],
  ],
  [
    'an expression for databases',
    filter([{ databaseRegex: regex('^shop'), collections: ['x'] }]),
    ['shop.x', 'shop_eu.x'],
    ['shop.y', 'my_shop.x'],
  ],
  ['exclude alone', filter([], [whole('a'), part('b', 'x')]), ['b.y', 'c.x'], ['a.x', 'b.x']],
  [
    'exclude wins over include',
    filter([whole('a'), part('b', 'x')], [part('a', 'x'), whole('b')]),
    ['a.y'],
    ['a.x', 'b.x'],
  ],
];

function parse(text: string): { db: string; coll: string } {
  const dot = text.indexOf('.');
  return { db: text.slice(0, dot), coll: text.slice(dot + 1) };
}

for (const [what, each, passing, others] of ROWS) {
  test(`${what}: lets pass what it should`, async () => {
    for (const text of passing) assert.is(await each.includes(parse(text), signal), true, text);
    for (const text of others) assert.is(await each.includes(parse(text), signal), false, text);
  });
}

test('a database is wholly included only if no entry names a part of it alone', async () => {
  const rows: [NamespaceFilter, boolean][] = [
    [filter([]), true],
    [filter([whole('a')]), true],
    [filter([part('a', 'x'), whole('a')]), true],
    [filter([part('a', 'x')]), false],
    [filter([{ database: 'a', collections: [], collectionsRegex: regex('') }]), false],
    [filter([whole('b')]), false],
    [filter([], [part('a', 'x')]), false],
    [filter([], [part('b', 'x')]), true],
    [filter([whole('a')], [{ databaseRegex: regex('a'), collections: ['x'] }]), false],
  ];
  for (const [index, [each, expected]] of rows.entries())
    assert.is(await each.includesAllOf('a', signal), expected, `row ${index}`);
});

test('a database is looked into if anything of it may be included', async () => {
  assert.is(await filter([part('a', 'x')]).includesSomeOf('a', signal), true);
  assert.is(await filter([part('a', 'x')]).includesSomeOf('b', signal), false);
  assert.is(await filter([], [part('a', 'x')]).includesSomeOf('a', signal), true);
  assert.is(await filter([], [whole('a')]).includesSomeOf('a', signal), false);
});

test("the server's temporary names are told from ordinary ones", () => {
  assert.is(isOutTemporary('tmp.agg_out.92db699f-b6b2-4168-9853-36c26130415b'), true);
  assert.is(isOutTemporary('tmp.agg_out.mine'), false);
  assert.is(isRenameTemporary('tmpGW2HF.renameCollection'), true);
  assert.is(isRenameTemporary('tmpGW2HF.renameCollections'), false);
  assert.is(isUnnamedTemporary('tmp4lhls.convertToCapped.y'), false);
  assert.is(convertToCappedName('tmp4lhls.convertToCapped.y.z'), 'y.z');
  assert.is(convertToCappedName('y'), undefined);
});

test('a namespace is described by its name on the source, and by the other one where that differs', () => {
  assert.is(describeNs(parse('a.b'), parse('a.b')), 'a.b');
  assert.is(describeNs(parse('a.b'), parse('c.b')), 'a.b (c.b on the destination)');
});

test.run();
