/** Names: each exported one is used and exists once, and what the pages name is in the code. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

function filesOf(folder: string, ending: RegExp): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => ending.test(name) && !name.includes('node_modules'))
    .map((name) => path.join(folder, name));
}

const textsOf = (folders: readonly string[], ending: RegExp): Map<string, string> =>
  new Map(folders.flatMap((folder) => filesOf(folder, ending)).map((file) => [file, readFileSync(file, 'utf8')]));

const SOURCES = textsOf(['src'], /(?<!\.d)\.ts$/);
const USERS = textsOf(['src', 'test', 'bench', 'demo'], /\.ts$/);

const DECLARED = /^export (?:async )?(?:abstract )?(const|function|class|interface|type)\*? (\w+)/gm;

interface Exported {
  readonly file: string;
  readonly kind: string;
  readonly name: string;
}

const EXPORTED: readonly Exported[] = [...SOURCES].flatMap(([file, text]) =>
  [...text.matchAll(DECLARED)].map(([, kind = '', name = '']) => ({ file, kind, name })),
);

test('every exported name exists once', () => {
  const files = new Map<string, string[]>();
  for (const { file, name } of EXPORTED) files.set(name, [...(files.get(name) ?? []), file]);
  assert.equal(
    [...files].filter(([, all]) => all.length > 1),
    [],
  );
});

test('every value and class that is exported is used in another file', () => {
  const needless = EXPORTED.filter(({ file, kind, name }) => {
    if (kind === 'interface' || kind === 'type') return false;
    const used = new RegExp(`\\b${name}\\b`);
    return [...USERS].every(([other, text]) => other === file || !used.test(text));
  });
  assert.equal(
    needless.map(({ file, name }) => `${file}: ${name}`),
    [],
  );
});

/** Pages about the code. Those for operators name fields of servers and of other programs, too. */
const PAGES = ['ARCHITECTURE.md', ...filesOf('docs', /^0\d-.*\.md$/)];
/** What belongs to servers and other programs, and is named only to say what it does. */
const FOREIGN = new Set(['noRestrictedImports', 'minSnapshotHistoryWindowInSeconds']);

test('what the pages about the code name is in the code', () => {
  const code = [...USERS.values(), ...textsOf(['gen', 'proto', 'scripts'], /\.(ts|proto|mjs|sh)$/).values()].join('\n');
  const words = new Set(code.match(/\w+/g));
  const unknown = PAGES.flatMap((page) => {
    const quoted = [...readFileSync(page, 'utf8').matchAll(/`([^`\n]+)`/g)].map(([, text = '']) => text);
    const names = quoted.flatMap((text) =>
      /^#?[A-Za-z]\w*(\.\w+)*(\(.*\))?$/.test(text) ? text.match(/[A-Za-z]\w*/g) : [],
    ) as string[];
    // With a capital within: words of prose and of shells have none.
    const ofCode = names.filter((name) => /[a-z][A-Z]/.test(name) && !words.has(name) && !FOREIGN.has(name));
    return ofCode.map((name) => `${page}: ${name}`);
  });
  assert.equal(unknown, []);
});

test('files that the pages about the code name are there', () => {
  const all = [...USERS.keys(), ...filesOf('scripts', /\./), ...filesOf('proto', /\./)];
  const missing = PAGES.flatMap((page) =>
    [...readFileSync(page, 'utf8').matchAll(/`((?:src|test|scripts|proto)\/)?([\w./-]+\.(?:ts|mjs|sh|proto))`/g)]
      .map(([, folder = '', name = '']) => `${folder}${name}`)
      .filter((name) => !all.some((file) => file === name || file.endsWith(`/${name}`)))
      .map((name) => `${page}: ${name}`),
  );
  assert.equal(missing, []);
});

/** Numbers that a page tells, and where the code has them. */
const NUMBERS: readonly [page: string, said: RegExp, file: string, has: RegExp][] = [
  ['docs/04-apply.md', /up to (\d+) operations or/, 'src/apply/lanes.ts', /MAX_OPERATIONS = (\d+);/],
  ['docs/04-apply.md', /operations or (\d+) MB at a time/, 'src/apply/lanes.ts', /MAX_BYTES = (\d+) \* 1024 \* 1024/],
  ['docs/04-apply.md', /but for one over (\d+) MB/, 'src/ddl/applier.ts', /MAX_STORED_EVENT_BYTES = (\d+) \* 1024/],
  ['docs/06-verify.md', /ranges of about (\d+) MB/, 'src/verify/plan.ts', /RANGE_BYTES = (\d+) \* 1024 \* 1024/],
  ['docs/06-verify.md', /and again in (three) comparisons/, 'src/verify/recheck-queue.ts', /CONFIRMED_AFTER = (3);/],
  [
    'docs/api.md',
    /longer than (ten) seconds, the answer is `OutcomeUnknown`/,
    'src/migration/pausing.ts',
    /PAUSE_MS = (10)_000/,
  ],
];
const WORDS: Readonly<Record<string, string>> = { three: '3', ten: '10' };

for (const [page, said, file, has] of NUMBERS) {
  test(`${page} tells the number of ${file} that it says: ${said.source}`, () => {
    const told = said.exec(readFileSync(page, 'utf8'))?.[1] ?? 'nothing';
    assert.is(WORDS[told] ?? told, has.exec(readFileSync(file, 'utf8'))?.[1]);
  });
}

test.run();
