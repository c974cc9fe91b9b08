import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { AppError } from '../../../src/errors.js';
import { BUILD_INDEXES } from '../../../src/metadata/migration-options.js';
import { oplogRemainingText } from '../../../src/progress/oplog-remaining.js';
import { completeOptions, resolveStartOptions, type StartOptions } from '../../../src/start/options.js';
import { DEFAULT_START } from '../../support/migration-harness.js';

function violationsOf(options: Partial<StartOptions>): string[] {
  try {
    resolveStartOptions({ ...DEFAULT_START, ...options });
    return [];
  } catch (error) {
    assert.instance(error, AppError);
    assert.is((error as AppError).code, 'InvalidRequest');
    return (error as AppError).violations.map((each) => each.field);
  }
}

test('defaults are filled in', () => {
  const options = resolveStartOptions(DEFAULT_START);
  assert.is(options.buildIndexes, undefined);
  assert.is(options.writeBlocking, 'destinationOnly');
});

test('the 1.0 reference booleans work as they did there', () => {
  assert.is(
    resolveStartOptions({ ...DEFAULT_START, enableUserWriteBlocking: false, reversible: false }).writeBlocking,
    'none',
  );
  const both = resolveStartOptions({ ...DEFAULT_START, enableUserWriteBlocking: true, reversible: true });
  assert.equal([both.writeBlocking, both.reversible], ['sourceAndDestination', true]);
});

test('"reversible" alone blocks both sides, as it does in mongosync of 1.20 and later', () => {
  const { writeBlocking, reversible } = resolveStartOptions({ ...DEFAULT_START, reversible: true });
  assert.equal([writeBlocking, reversible], ['sourceAndDestination', true]);
  assert.is(resolveStartOptions({ ...DEFAULT_START, reversible: false }).writeBlocking, 'destinationOnly');
});

for (const buildIndexes of BUILD_INDEXES) {
  test(`buildIndexes "${buildIndexes}" is taken`, () => {
    assert.is(resolveStartOptions({ ...DEFAULT_START, buildIndexes }).buildIndexes, buildIndexes);
  });
}

/** Violations of the rules alone: what this version refuses altogether is left out. */
function rulesBrokenBy(options: Partial<StartOptions>): string[] {
  try {
    resolveStartOptions({ ...DEFAULT_START, ...options });
    return [];
  } catch (error) {
    assert.instance(error, AppError);
    return (error as AppError).violations
      .filter(({ description }) => !description.includes('not available'))
      .map(({ field, description }) => `${field}: ${description}`);
  }
}

const FILTER = { includeNamespaces: [{ database: 'a', collections: [] }] };
const DUAL = { enableUserWriteBlocking: 'sourceAndDestination' };
const RULES: readonly [Partial<StartOptions>, string | readonly string[]][] = [
  ...['destinationOnly', 'none', false].map((enableUserWriteBlocking): [Partial<StartOptions>, string] => [
    { reversible: true, enableUserWriteBlocking },
    'reversible: needs enableUserWriteBlocking "sourceAndDestination"',
  ]),
  [{ ...FILTER, reversible: true }, 'reversible: is not permitted with includeNamespaces or excludeNamespaces'],
  [
    { ...FILTER, reversible: true, preExistingDestinationData: true },
    [
      'reversible: is not permitted with includeNamespaces or excludeNamespaces',
      'reversible: is not permitted with preExistingDestinationData',
    ],
  ],
  [{ ...DUAL, reversible: true, buildIndexes: 'never' }, 'reversible: is not permitted with buildIndexes "never"'],
  [
    { ...DUAL, reversible: true, namespaceRemap: [{ from: 'a', to: 'b' }] },
    'reversible: is not permitted with namespaceRemap',
  ],
  [
    { reversible: true, documentFilter: { field: 'a', matchValues: [1] } },
    'reversible: is not permitted with documentFilter',
  ],
  [
    { ...DUAL, ...FILTER },
    'enableUserWriteBlocking: "sourceAndDestination" is not permitted with includeNamespaces or excludeNamespaces; use "destinationOnly"',
  ],
  [
    { ...DUAL, documentFilter: { field: 'a', matchValues: [1] } },
    'enableUserWriteBlocking: "sourceAndDestination" is not permitted with documentFilter; use "destinationOnly"',
  ],
  [{ preExistingDestinationData: true }, 'preExistingDestinationData: needs includeNamespaces or excludeNamespaces'],
  [
    { includeNamespaces: [{ database: 'admin', collections: [] }] },
    'includeNamespaces[0].database: "admin" is a system database, which is never migrated',
  ],
  [
    { excludeNamespaces: [{ database: 'a', collections: ['system.js'] }] },
    'excludeNamespaces[0].collections[0]: "system.js" is a system collection, which is never migrated',
  ],
  [
    { copyInNaturalOrder: [{ database: '.', collections: ['a'] }] },
    'copyInNaturalOrder[0].collections: must be left out with database ".", which means everything',
  ],
  [
    { namespaceRemap: [{ from: 'a', to: 'config' }] },
    'namespaceRemap[0].to.database: "config" is a system database, which is never migrated',
  ],
  ...['Admin', 'LOCAL', 'Mongosync_internal_x', '__MDB_internal_mongosync_x'].map(
    (to): [Partial<StartOptions>, string] => [
      { namespaceRemap: [{ from: 'a', to }] },
      `namespaceRemap[0].to.database: "${to}" is a system database, which is never migrated`,
    ],
  ),
  [
    { namespaceRemap: [{ from: 'a', to: 'b:c' }] },
    'namespaceRemap[0].to.database: "b:c" is not a valid database name on every server',
  ],
  [
    { namespaceRemap: [{ from: 'b/c', to: 'a' }] },
    'namespaceRemap[0].from.database: "b/c" is not a valid database name',
  ],
  [{ namespaceRemap: [{ from: 'a', to: 'b/c' }] }, 'namespaceRemap[0].to.database: "b/c" is not a valid database name'],
  [{ namespaceRemap: [{ from: 'a', to: 'a' }] }, 'namespaceRemap[0].to.database: is the same as from'],
];

for (const [options, violation] of RULES) {
  test(`refused: ${violation}`, () => {
    assert.equal(rulesBrokenBy(options), [violation].flat());
  });
}

test('a database may have a name that only some servers take, to be given another one', () => {
  assert.equal(rulesBrokenBy({ namespaceRemap: [{ from: 'a:b*|?<>', to: 'c' }] }), []);
});

test('names of remapped databases are unique, also without regard to case', () => {
  const namespaceRemap = [
    { from: 'a', to: 'x' },
    { from: 'a', to: 'X' },
  ];
  assert.equal(rulesBrokenBy({ namespaceRemap }), [
    'namespaceRemap[1].from.database: "a" is already remapped',
    'namespaceRemap[1].to.database: "X" differs from "x" only in case',
  ]);
});

test('data that was there before is not blocked by default', () => {
  assert.equal(rulesBrokenBy({ ...FILTER, preExistingDestinationData: true }), []);
  assert.equal(rulesBrokenBy({ ...DUAL, ...FILTER, preExistingDestinationData: true }), [
    'enableUserWriteBlocking: "sourceAndDestination" is not permitted with preExistingDestinationData; use "none" or "destinationOnly"',
  ]);
});

test('every violation is reported at once', () => {
  assert.equal(violationsOf({ source: '', destination: 'cluster7', buildIndexes: 'sometimes' }), [
    'source',
    'destination',
    'buildIndexes',
  ]);
});

test('source and destination must differ', () => {
  assert.equal(violationsOf({ destination: 'cluster0' }), ['destination']);
});

test('sharding is taken as it is given; left out it is none', () => {
  const sharding = {
    createSupportingIndexes: true,
    shardingEntries: [{ database: 'a', collection: 'b', key: [{ field: 'x', value: 1 as const }] }],
  };
  assert.equal(resolveStartOptions({ ...DEFAULT_START, sharding }).sharding, sharding);
  assert.is(resolveStartOptions(DEFAULT_START).sharding, null);
});

test('the remaining oplog time is told in mongosync’s words', () => {
  assert.is(oplogRemainingText(undefined), 'not checked yet');
  assert.is(oplogRemainingText(60), 'less than 15 minutes');
  assert.is(oplogRemainingText(45 * 60), '45 minutes');
  assert.is(oplogRemainingText(3600), '1 hour');
  assert.is(oplogRemainingText(12 * 3600), '12 hours');
  assert.is(oplogRemainingText(80 * 3600), 'more than 72 hours');
});

test('indexes are built before the copy by default where the source tells of no new ones', () => {
  const resolved = resolveStartOptions(DEFAULT_START);
  const version = (major: number) => ({ isAtLeast: (wanted: number) => major >= wanted });
  assert.is(completeOptions(resolved, version(5)).buildIndexes, 'beforeDataCopy');
  assert.is(completeOptions(resolved, version(6)).buildIndexes, 'afterDataCopy');
  assert.is(completeOptions(resolved, undefined).buildIndexes, 'afterDataCopy');
  const given = resolveStartOptions({ ...DEFAULT_START, buildIndexes: 'never' });
  assert.is(completeOptions(given, version(5)).buildIndexes, 'never');
});

test.run();
