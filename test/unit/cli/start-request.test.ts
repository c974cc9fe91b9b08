import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { StartRequest } from '../../../gen/mongoferry/v1/start_options.js';
import { runWith, type World } from './fake-io.js';
import { scriptedServer } from './scripted-server.js';

/** The request that a command line sends. */
async function sent(argv: readonly string[], world: World = {}): Promise<StartRequest> {
  await using server = await scriptedServer();
  const { exitCode, err } = await runWith([...argv, '--target', server.target], world);
  assert.is(exitCode, 0, err);
  const [request] = server.options;
  assert.ok(request);
  return request as StartRequest;
}

/** "field: description" of every violation of a command line that never reaches the server. */
async function refused(argv: readonly string[], world: World = {}): Promise<string[]> {
  const { exitCode, err } = await runWith([...argv, '--target', '127.0.0.1:1'], world);
  assert.is(exitCode, 2, err);
  return err
    .trimEnd()
    .split('\n')
    .slice(1)
    .map((line) => line.trim());
}

test('the clusters default to cluster0 and cluster1, or to the one not named', async () => {
  for (const command of ['start', 'check']) {
    assert.equal(await sent([command]), StartRequest.fromPartial({ source: 'cluster0', destination: 'cluster1' }));
  }
  assert.equal(
    await sent(['start', '--source', 'cluster1']),
    StartRequest.fromPartial({ source: 'cluster1', destination: 'cluster0' }),
  );
  assert.equal(
    await sent(['start', '--destination', 'cluster0']),
    StartRequest.fromPartial({ source: 'cluster1', destination: 'cluster0' }),
  );
});

test('a file may write names in any case of letters; flags and defaults replace them all the same', async () => {
  const files = { 'r.json': '{"Source": "cluster1", "BUILDINDEXES": "never"}' };
  const request = await sent(['start', '--file', 'r.json', '--buildIndexes', 'beforeDataCopy'], { files });
  assert.equal(
    request,
    StartRequest.fromPartial({ source: 'cluster1', destination: 'cluster0', buildIndexes: 'beforeDataCopy' }),
  );
  const twice = { 'r.json': '{"Source": "cluster1", "source": "cluster0"}' };
  assert.equal(await refused(['start', '--file', 'r.json'], { files: twice }), [
    'source: is given more than once, as "Source" and as "source"',
  ]);
});

test('every option has a flag', async () => {
  const request = await sent(
    [
      'start',
      ...['--buildIndexes', 'never', '--enableUserWriteBlocking', 'sourceAndDestination', '--reversible'],
      ...[
        '--includeNamespaces',
        '[{"database":"a","collections":["b"]}]',
        '--excludeNamespaces',
        '[{"databaseRegex":{"pattern":"^x"}}]',
      ],
      ...['--copyInNaturalOrder', '[{"database":"."}]', '--detectRandomId=false', '--preExistingDestinationData'],
      ...[
        '--sharding',
        '{"shardingEntries":[],}',
        '--verification',
        'false',
        '--namespaceRemap',
        '[{"from":{"database":"a"},"to":{"database":"b"}}]',
      ],
      ...['--documentFilter', '{"field":"f","matchValues":[1,"x"]}', '--skipDiskSpaceCheck'],
    ]
      .filter((word) => word !== 'false')
      .map((word) => (word === '--verification' ? '--verification=false' : word)),
  );
  const { includeNamespaces, excludeNamespaces, copyInNaturalOrder, namespaceRemap, documentFilter, ...plain } =
    request;
  assert.is(plain.buildIndexes, 'never');
  assert.is(plain.enableUserWriteBlocking, 'sourceAndDestination');
  assert.equal(
    [plain.reversible, plain.detectRandomId, plain.preExistingDestinationData, plain.skipDiskSpaceCheck],
    [true, false, true, true],
  );
  assert.is(includeNamespaces[0]?.collections[0], 'b');
  assert.is(excludeNamespaces[0]?.databaseRegex?.pattern, '^x');
  assert.is(copyInNaturalOrder[0]?.database, '.');
  assert.equal(plain.sharding?.shardingEntries, []);
  assert.is(plain.verification?.enabled, false);
  assert.is(namespaceRemap[0]?.to?.database, 'b');
  assert.equal(documentFilter?.matchValues, [1, 'x']);
});

test('true and false are modes of write blocking too', async () => {
  assert.is((await sent(['start', '--enableUserWriteBlocking', 'false'])).enableUserWriteBlocking, false);
  assert.is((await sent(['start', '--enableUserWriteBlocking', 'true'])).enableUserWriteBlocking, true);
});

test('a file or standard input gives the body, trailing commas and all; flags replace its fields', async () => {
  const body = '{"source":"cluster1","destination":"cluster0","buildIndexes":"never","reversible":null,}';
  const fromFile = await sent(['start', '--file', 'r.json', '--buildIndexes', 'beforeDataCopy'], {
    files: { 'r.json': body },
  });
  assert.equal(
    [fromFile.source, fromFile.buildIndexes, fromFile.reversible],
    ['cluster1', 'beforeDataCopy', undefined],
  );
  assert.is((await sent(['check', '--file', '-'], { stdin: body })).buildIndexes, 'never');
});

test('what is wrong in form is refused before any call, all at once', async () => {
  const body = '{"reversible":"false","nonsense":1,"includeNamespaces":"abc"}';
  const found = await refused(['start', '--file', 'r.json', '--sharding', '{', '--detectRandomId=maybe'], {
    files: { 'r.json': body },
  });
  assert.equal(found.map((text) => text.split(':')[0]).sort(), [
    'detectRandomId',
    'includeNamespaces',
    'nonsense',
    'reversible',
    'sharding',
  ]);
});

test('a file that is missing, no JSON or no object is refused', async () => {
  assert.equal(await refused(['start', '--file', 'gone']), ['file: cannot read gone (ENOENT)']);
  assert.match((await refused(['start', '--file', '-'], { stdin: '{"a":' })).join(), /^file: is not valid JSON: /);
  assert.equal(await refused(['start', '--file', '-'], { stdin: '[]' }), ['file: must hold a JSON object']);
});

test.run();
