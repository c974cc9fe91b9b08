import { status } from '@grpc/grpc-js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { runWith } from './fake-io.js';
import { plainError, richError, type Script, scriptedServer, snapshot } from './scripted-server.js';

/** Runs `argv` against a server with this script. */
async function against(script: Script, argv: readonly string[], world: Parameters<typeof runWith>[1] = {}) {
  await using server = await scriptedServer(script);
  const ended = await runWith([...argv, '--target', server.target], world);
  return { ...ended, calls: server.calls, options: server.options };
}

for (const [command, text] of [
  ['start', 'started'],
  ['pause', 'paused'],
  ['resume', 'resumed'],
  ['commit', 'committing'],
  ['reverse', 'reversing'],
] as const) {
  test(`${command} calls the server and says so`, async () => {
    const { exitCode, out, err, calls } = await against({}, [command]);
    assert.equal({ exitCode, out, err, calls }, { exitCode: 0, out: `${text}\n`, err: '', calls: [command] });
  });
  test(`${command} --output json answers as the gateway does`, async () => {
    const { exitCode, out } = await against({}, [command, '--output', 'json']);
    assert.equal({ exitCode, out }, { exitCode: 0, out: '{"success":true}\n' });
  });
}

test('a refusal names the error, what it says and every field, and exits 1', async () => {
  const refuse = richError(status.INVALID_ARGUMENT, 'InvalidRequest', 'a: is wrong; b[0].c: too', [
    { field: 'a', description: 'is wrong' },
    { field: 'b[0].c', description: 'too' },
  ]);
  const text = await against({ refuse }, ['start']);
  assert.equal(
    [text.exitCode, text.out, text.err],
    [1, '', 'mongoferry: InvalidRequest\n  a: is wrong\n  b[0].c: too\n'],
  );
  const json = await against({ refuse }, ['start', '--output', 'json']);
  assert.equal([json.exitCode, json.err], [1, '']);
  assert.equal(JSON.parse(json.out), {
    success: false,
    error: 'InvalidRequest',
    errorDescription: 'a: is wrong; b[0].c: too',
    violations: [
      { field: 'a', description: 'is wrong' },
      { field: 'b[0].c', description: 'too' },
    ],
  });
});

test('a refusal without fields is one line', async () => {
  const refuse = richError(status.FAILED_PRECONDITION, 'InvalidStateTransition', 'pause needs RUNNING, not IDLE');
  const { exitCode, err } = await against({ refuse }, ['pause']);
  assert.equal([exitCode, err], [1, 'mongoferry: InvalidStateTransition: pause needs RUNNING, not IDLE\n']);
});

test('a cluster that the server cannot reach is its refusal, not unreachability', async () => {
  const refuse = richError(status.UNAVAILABLE, 'ClusterUnreachable', 'cluster0 does not answer');
  assert.is((await against({ refuse }, ['start'])).exitCode, 1);
});

test('a server without details is quoted with the status of gRPC', async () => {
  const { exitCode, err } = await against({ refuse: plainError(status.PERMISSION_DENIED, 'go away') }, ['pause']);
  assert.equal([exitCode, err], [1, 'mongoferry: PERMISSION_DENIED: go away\n']);
});

test('nobody listening exits 3', async () => {
  const { exitCode, err } = await runWith(['pause', '--target', '127.0.0.1:1']);
  assert.is(exitCode, 3);
  assert.match(err, /^mongoferry: Unreachable: no answer from a server at 127\.0\.0\.1:1: /);
});

for (const argv of [['--bogus'], ['bogus'], ['pause', 'now'], ['progress', '--output', 'xml'], ['start', '--source']]) {
  test(`${argv.join(' ')} is a usage error, exit code 2`, async () => {
    const { exitCode, out, err } = await runWith(argv);
    assert.is(exitCode, 2);
    assert.is(out, '');
    assert.match(err, /^error: /);
  });
}

test('help and version are answers', async () => {
  const help = await runWith(['--help']);
  assert.is(help.exitCode, 0);
  for (const word of ['--cluster0', '--grpcPort', 'progress', 'commit']) assert.match(help.out, word);
  for (const flag of ['--version', '-v']) {
    const version = await runWith([flag]);
    assert.equal([version.exitCode, version.out.trim().split('.').length], [0, 3], flag);
  }
});

test("mongosync's flags are taken as it takes them: numbers of verbosity, flags that may be repeated, undocumented ones", async () => {
  const words = ['--verbosity', '1', '--hotDocIDs', '{"db":"a"}', '--hotDocIDs', '{"db":"b"}'];
  const { exitCode, err } = await runWith([...words, '--enableVerifierPersistence', '--cluster0', 'mongodb://a']);
  assert.is(exitCode, 2);
  assert.is(err, 'mongoferry: InvalidRequest\n  cluster1: is required: the connection string of a cluster\n');
});

test('serve without clusters is a usage error that names them', async () => {
  for (const argv of [[], ['serve'], ['--acceptDisclaimer', 'serve']]) {
    const { exitCode, err } = await runWith(argv);
    assert.is(exitCode, 2);
    assert.match(err, /^mongoferry: InvalidRequest\n {2}cluster0: is required.*\n {2}cluster1: is required/);
  }
});

test('check prints a table, and exits 1 only for blockers', async () => {
  const warning = {
    name: 'OplogShort',
    severity: 'warning',
    description: 'short',
    remedy: 'enlarge it',
    namespaces: [],
  };
  const namespaces = ['a.b', 'a.c', 'a.d', 'a.e', 'a.f', 'a.g', 'a.h'];
  const blocker = {
    name: 'DestinationNotEmpty',
    severity: 'blocker',
    description: 'has data',
    remedy: 'drop it',
    namespaces,
  };
  const fine = await against({ findings: [warning] }, ['check']);
  assert.is(fine.exitCode, 0);
  const bad = await against({ findings: [blocker, warning] }, ['check']);
  assert.is(bad.exitCode, 1);
  assert.equal(bad.out.split('\n'), [
    'SEVERITY  FINDING             DESCRIPTION',
    'blocker   DestinationNotEmpty has data',
    '                              in: a.b, a.c, a.d, a.e, a.f and 2 more',
    '                              do: drop it',
    'warning   OplogShort          short',
    '                              do: enlarge it',
    '',
    'A start with these options would be refused.',
    '',
  ]);
  const json = await against({ findings: [blocker] }, ['check', '--output', 'json']);
  assert.is(json.exitCode, 1);
  assert.equal(JSON.parse(json.out), { success: true, ok: false, findings: [blocker] });
  assert.match((await against({}, ['check'])).out, /^Nothing found\./);
});

test('progress shows the state once', async () => {
  const text = await against({ snapshots: [snapshot({ state: 'PAUSED' })] }, ['progress']);
  assert.equal([text.exitCode, text.out, text.calls], [0, 'PAUSED\n', ['getProgress']]);
  const json = await against({ snapshots: [snapshot({ state: 'PAUSED' })] }, ['progress', '--output', 'json']);
  const body = JSON.parse(json.out) as { success: boolean; progress: Record<string, unknown> };
  assert.is(body.success, true);
  assert.is(body.progress['state'], 'PAUSED');
  assert.is(body.progress['canCommit'], false);
  assert.is(body.progress['info'], null);
});

const journey = [
  snapshot({ info: 'collection copy', collectionCopy: { estimatedCopiedBytes: 512, estimatedTotalBytes: 2048 } }),
  snapshot({ info: 'collection copy', collectionCopy: { estimatedCopiedBytes: 512, estimatedTotalBytes: 2048 } }),
  snapshot({
    info: 'change event application',
    ceaStage: 'steady state',
    lagTimeSeconds: 2,
    totalEventsApplied: 1234,
    canCommit: true,
  }),
  snapshot({ state: 'COMMITTED', info: 'commit completed', canWrite: true }),
];

test('progress --watch writes one line per change when piped', async () => {
  const { exitCode, out } = await against({ snapshots: journey }, ['progress', '--watch']);
  assert.is(exitCode, 0);
  assert.equal(out.trimEnd().split('\n'), [
    'RUNNING, collection copy | copied 512 B of 2.0 KiB (25%)',
    'RUNNING, change event application (steady state), lag 2 s, can commit | changes 1,234',
    'COMMITTED, commit completed, can write',
  ]);
});

test('progress --watch --output json writes one JSON object per message', async () => {
  const { out } = await against({ snapshots: journey }, ['progress', '--watch', '--output', 'json'], {
    terminalColumns: 80,
  });
  const lines = out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { progress: { state: string } });
  assert.equal(
    lines.map(({ progress }) => progress.state),
    ['RUNNING', 'RUNNING', 'RUNNING', 'COMMITTED'],
  );
});

test('progress --watch draws over its own lines on a terminal', async () => {
  const { out } = await against({ snapshots: journey }, ['progress', '--watch'], { terminalColumns: 80 });
  assert.match(out, 'copy      [#####---------------]  25% 512 B of 2.0 KiB');
  assert.match(out, '\u001b[2A', 'goes back over the two lines of the message before');
});

test('a stream that ends with a failure exits 1 and names it; one that breaks off exits 3', async () => {
  const failed = richError(status.ABORTED, 'MigrationFailed', 'the oplog rolled over');
  const first = await against({ snapshots: journey.slice(0, 1), endWith: failed }, ['progress', '--watch']);
  assert.equal([first.exitCode, first.err], [1, 'mongoferry: MigrationFailed: the oplog rolled over\n']);
  const broken = await against({ snapshots: journey.slice(0, 1), endWith: plainError(status.UNAVAILABLE, 'reset') }, [
    'progress',
    '--watch',
  ]);
  assert.is(broken.exitCode, 3);
});

test('commit --wait ends at COMMITTED, and fails when the stream ends earlier', async () => {
  const good = await against({ snapshots: journey }, ['commit', '--wait']);
  assert.equal([good.exitCode, good.calls], [0, ['commit', 'progress']]);
  const bad = await against({ snapshots: journey.slice(0, 3) }, ['commit', '--wait']);
  assert.is(bad.exitCode, 1);
  assert.match(bad.err, 'before the state was COMMITTED');
});

test('reverse --wait ends when it runs again', async () => {
  const snapshots = [snapshot({ state: 'REVERSING' }), snapshot({ state: 'RUNNING' }), snapshot({ state: 'PAUSED' })];
  const { exitCode, out } = await against({ snapshots }, ['reverse', '--wait']);
  assert.equal([exitCode, out], [0, 'REVERSING\nRUNNING\n']);
});

test('a commit and a reversal that the server gives up end the waiting with 1 and the reason', async () => {
  const warnings = ['The commit was given up: a transaction is open'];
  const commit = [snapshot({ state: 'COMMITTING' }), snapshot({ state: 'RUNNING', warnings })];
  const first = await against({ snapshots: commit }, ['commit', '--wait']);
  assert.equal([first.exitCode, first.err], [1, `mongoferry: ${warnings[0]}\n`]);
  const because = ['The reversal was given up: the old source was changed'];
  const reverse = [snapshot({ state: 'REVERSING' }), snapshot({ state: 'COMMITTED', warnings: because })];
  const second = await against({ snapshots: reverse }, ['reverse', '--wait']);
  assert.equal([second.exitCode, second.err], [1, `mongoferry: ${because[0]}\n`]);
});

test('start says on a terminal what to do next', async () => {
  const { out } = await against({}, ['start'], { terminalColumns: 80 });
  assert.match(out, 'mongoferry progress --watch');
  assert.match(out, 'mongoferry commit --wait');
});

test('commit --when-ready waits until a commit is permitted, and fails where there is nothing to commit', async () => {
  const ready = await against({ snapshots: journey }, ['commit', '--when-ready']);
  assert.equal([ready.exitCode, ready.calls], [0, ['progress', 'commit']]);
  const over = await against({ snapshots: [snapshot({ state: 'COMMITTED' })] }, ['commit', '--when-ready']);
  assert.equal([over.exitCode, over.calls], [1, ['progress']]);
  assert.match(over.err, 'nothing to commit in state COMMITTED');
});

test('a mistyped command is asked back, and help is one', async () => {
  for (const [typed, meant] of [
    ['progres', 'progress'],
    ['comit', 'commit'],
    ['puase', 'pause'],
  ] as const) {
    const { exitCode, err } = await runWith([typed]);
    assert.is(exitCode, 2);
    assert.match(err, `unknown command '${typed}'; did you mean ${meant}?`);
  }
  assert.match((await runWith(['wibble'])).err, 'see mongoferry help');
  const help = await runWith(['help']);
  assert.is(help.exitCode, 0);
  assert.match(help.out, 'commit');
  assert.match((await runWith(['help', 'commit'])).out, '--when-ready');
});

test("a target without a port has the default one; the server's ports are refused, before the command and after it", async () => {
  for (const target of ['localhost', '[::1]']) {
    const { exitCode, err } = await runWith(['pause', '--target', target]);
    assert.is(exitCode, 3);
    assert.match(err, `no answer from a server at ${target}:27183`);
  }
  for (const argv of [
    ['progress', '--port', '27182'],
    ['--port', '27182', 'progress'],
    ['pause', '--grpcPort', '1'],
    ['--cluster0', 'mongodb://a', 'pause'],
  ]) {
    const { exitCode, err } = await runWith(argv);
    assert.is(exitCode, 2, argv.join(' '));
    assert.match(err, '--target HOST:PORT');
  }
});

test('an empty environment variable counts as unset; a flag goes before the environment', async () => {
  const env = { MONGOFERRY_TARGET: '', MONGOFERRY_OUTPUT: '', MONGOFERRY_TLS: '', MONGOFERRY_TLS_CA_FILE: '' };
  assert.equal((await against({}, ['pause'], { env })).out, 'paused\n');
  const json = { MONGOFERRY_OUTPUT: 'json' };
  assert.equal((await against({}, ['pause'], { env: json })).out, '{"success":true}\n');
  assert.equal((await against({}, ['pause', '--output', 'text'], { env: json })).out, 'paused\n');
  assert.is((await against({}, ['pause'], { env: { MONGOFERRY_OUTPUT: 'yaml' } })).exitCode, 2);
});

test('filters are flags, a database or a collection each, beside the ones in JSON', async () => {
  const { options, exitCode, err } = await against({}, [
    'start',
    '--includeNamespaces',
    '[{"database":"a"}]',
    '--include',
    'shop.items',
    'shop.orders.old',
    'staff',
    '--exclude',
    'staff.secret',
  ]);
  assert.equal([exitCode, err], [0, '']);
  const [request] = options;
  const named = (entries: unknown[]) =>
    (entries as { database?: string; collections: string[] }[]).map(({ database, collections }) => [
      database,
      ...collections,
    ]);
  assert.equal(named(request?.includeNamespaces ?? []), [['a'], ['shop', 'items', 'orders.old'], ['staff']]);
  assert.equal(named(request?.excludeNamespaces ?? []), [['staff', 'secret']]);
});

test('cleanup does nothing without a terminal or a word', async () => {
  const flags = ['--cluster0', 'mongodb://127.0.0.1:1', '--cluster1', 'mongodb://127.0.0.1:2'];
  const { exitCode, err } = await runWith(['cleanup', ...flags]);
  assert.is(exitCode, 2);
  assert.match(err, 'yes');
});

test.run();
