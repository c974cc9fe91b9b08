import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { START_FLAGS } from '../../src/cli/start-flags.js';
import { envNameOf, FLAGS } from '../../src/config/flags.js';
import { ERRORS, GrpcCode } from '../../src/errors.js';
import { STATES } from '../../src/metadata/state.js';

/** A file's text; the cells of Markdown tables without the spaces that line them up. */
const read = (file: string): string => {
  const text = readFileSync(file, 'utf8');
  return file.endsWith('.md') ? text.replace(/^\|.*$/gm, (row) => row.replace(/ {2,}/g, ' ')) : text;
};

/** Files below a folder whose names end in `ending`. */
function filesOf(folder: string, ending: RegExp): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => ending.test(name) && !name.includes('node_modules'))
    .map((name) => path.join(folder, name));
}

const TOP = ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'CHANGELOG.md'];
const PAGES = [...TOP, ...filesOf('docs', /\.md$/), ...filesOf('clients', /^[a-z]+\/README\.md$/)];
const CODE = ['src', 'test', 'scripts', 'proto', 'bench', 'demo'].flatMap((folder) =>
  filesOf(folder, /\.(ts|mjs|sh|proto)$/),
);

/** A page without its code blocks, where brackets are no links and hashes no headings. */
const proseOf = (page: string): string => read(page).replace(/^ *```[\s\S]*?^ *```/gm, '');

/** The anchors that a page's headings have on the usual sites. */
function anchorsOf(page: string): Set<string> {
  const headings = [...proseOf(page).matchAll(/^#{1,6} (.+)$/gm)].map(([, text = '']) => text);
  return new Set(
    headings.map((text) =>
      text
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

test('every relative link leads to a file, and to a heading in it', () => {
  const broken: string[] = [];
  for (const page of PAGES) {
    for (const [, target = ''] of proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [file = '', anchor] = target.split('#');
      const to = file === '' ? page : path.join(path.dirname(page), file);
      if (!existsSync(to)) broken.push(`${page}: ${target}`);
      else if (anchor !== undefined && !anchorsOf(to).has(anchor)) broken.push(`${page}: ${target} (no such heading)`);
    }
  }
  assert.equal(broken, []);
});

test('every page that code cites is there', () => {
  const cited = CODE.flatMap((file) => [...read(file).matchAll(/\bdocs\/[a-z0-9-]+\.md/g)].map(([page]) => page));
  const missing = [...new Set(cited)].filter((page) => !existsSync(page));
  assert.ok(cited.length > 10);
  assert.equal(missing, []);
});

test('every file that a page names is there', () => {
  const missing = PAGES.filter((page) => !page.startsWith('clients')).flatMap((page) =>
    [...read(page).matchAll(/`((?:src|test|scripts|proto|bench|demo|docs|clients)\/[\w./-]+)`/g)]
      .map(([, file = '']) => file)
      .filter((file) => !existsSync(file))
      .map((file) => `${page}: ${file}`),
  );
  assert.equal(missing, []);
});

/** The cells of a table's row that begins with a name in backticks. */
function rowOf(page: string, name: string): string[] | undefined {
  const line = read(page)
    .split('\n')
    .find((text) => text.startsWith(`| \`${name}\` |`));
  return line?.split('|').map((cell) => cell.trim());
}

for (const [name, row] of Object.entries(ERRORS)) {
  test(`docs/errors.md tells of ${name} as the table of errors has it`, () => {
    const grpc = Object.entries(GrpcCode).find(([, code]) => code === row.grpc)?.[0];
    const cells = rowOf('docs/errors.md', name);
    assert.equal(cells?.slice(2, 5), [String(row.http), grpc, String(row.exit)]);
    assert.ok((cells?.[5] ?? '').length > 10, 'says what it means');
  });
}

test('docs/errors.md tells of no error that is not there', () => {
  const names = [...read('docs/errors.md').matchAll(/^\| `(\w+)` \| \d{3} \|/gm)].map(([, name = '']) => name);
  assert.equal(names.sort(), Object.keys(ERRORS).sort());
});

test('docs/errors.md tells of every warning of the preflight, and of none that is not there', () => {
  const found = CODE.filter((file) => /^src\/(preflight|migration)\//.test(file)).flatMap((file) =>
    [...read(file).matchAll(/\bwarning\(\s*'(\w+)'/g)].map(([, name = '']) => name),
  );
  const names = [...new Set(found)].sort();
  assert.ok(names.length > 15);
  const section = /^### Warnings$([\s\S]*?)^## /m.exec(read('docs/errors.md'))?.[1] ?? '';
  const told = [...section.matchAll(/^\| `(\w+)` \|/gm)].map(([, name = '']) => name);
  assert.equal(told, names);
});

test('docs/compatibility.md names for every row a test file that is there, but for what is to come', () => {
  const rows = read('docs/compatibility.md')
    .split('\n')
    .filter((line) => line.startsWith('|') && !/^\| -/.test(line) && !line.includes('| shown by |'))
    .map((line) => line.split('|').map((cell) => cell.trim()));
  assert.ok(rows.length > 70);
  for (const [, what, verdict = '', , shownBy = ''] of rows) {
    assert.ok(/^(same|better|different|accepted|ours|later|not tried)$/.test(verdict), `${what}: ${verdict}`);
    const tests = [...shownBy.matchAll(/`(test\/[\w./-]+\.test\.ts)`/g)].map(([, file = '']) => file);
    assert.is(tests.length > 0, verdict !== 'later' && verdict !== 'not tried', `${what}: ${shownBy}`);
    for (const file of tests) assert.ok(existsSync(file), file);
  }
});

/** The titles of a file's tests, as they are written. */
function titlesOf(file: string): string[] {
  const titles = read(file).matchAll(/\b(?:test|timed|proxied)\(\s*(['"`])((?:\\.|(?!\1)[^\\])*)\1/g);
  return [...titles].map(([, , title = '']) => title.replace(/\\(['"`])/g, '$1'));
}

/** Whether a title is of that name; `…` in it stands for anything. */
function isNamed(title: string, name: string): boolean {
  const parts = name.split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`, 's').test(title);
}

test('docs/promises.md names for every promise a test that is there', () => {
  const rows = [...read('docs/promises.md').matchAll(/^\| .* \| `(test\/[\w./-]+\.test\.ts)`: (.+) \|$/gm)];
  assert.ok(rows.length > 50);
  const missing = rows.filter(
    ([, file = '', name = '']) => !existsSync(file) || !titlesOf(file).some((title) => isNamed(title, name)),
  );
  assert.equal(
    missing.map(([row]) => row),
    [],
  );
});

test('docs/promises.md names every invariant of the other pages', () => {
  const told = read('docs/promises.md');
  const invariants = PAGES.flatMap((page) => [...read(page).matchAll(/^\| ([SLCAIK]\d+) \|/gm)].map(([, id]) => id));
  assert.ok(invariants.length > 30);
  assert.equal(
    invariants.filter((id) => !new RegExp(`\\b${id}\\b`).test(told)),
    [],
  );
});

test('docs/operations.md tells of every metric, and says which are not recorded yet', () => {
  const source = read('src/metrics.ts');
  const names = [...new Set(source.match(/(?<=')(?:mongosync|mongoferry|verifier)_[a-z_]+(?=')/g))];
  assert.ok(names.length > 20);
  assert.equal(
    names.filter((name) => rowOf('docs/operations.md', name) === undefined),
    [],
  );
  const users = CODE.filter((file) => file.startsWith('src') && file !== 'src/metrics.ts').map(read);
  const instruments = [
    ...source.matchAll(/^ {2}(\w+): (?:counter|histogram|stage)[^(]*\(\s*(?:'[A-Z]\w+',\s*)?'([a-z]\w+)'/gm),
  ];
  for (const [, key = '', name = ''] of instruments) {
    const isRecorded = users.some((text) => text.includes(`metrics.${key}`));
    const saysNot = rowOf('docs/operations.md', name)?.join(' ').includes('Not recorded yet') === true;
    assert.is(saysNot, !isRecorded, `${name}: recorded or not, docs/operations.md says otherwise`);
  }
});

test('docs/options.md tells of every flag and its variable, and of every start option', () => {
  const page = read('docs/options.md');
  for (const flag of FLAGS) {
    assert.ok(new RegExp(`\`--${flag.name}[ \`]`).test(page), flag.name);
    const isPlain = !('ignored' in flag || 'refused' in flag);
    if (isPlain) assert.ok(page.includes(`\`${envNameOf(flag.name)}\``), envNameOf(flag.name));
  }
  for (const { name } of START_FLAGS) assert.ok(page.includes(`\`${name}\``), name);
});

test('docs/states.md tells of every state, docs/security.md of every privilege that is asked for', () => {
  for (const state of STATES) assert.ok(rowOf('docs/states.md', state) !== undefined, state);
  const asked = /const ON_CLUSTER[\s\S]*?\/\*\*/.exec(read('src/preflight/privileges.ts'))?.[0] ?? '';
  const actions = asked.match(/(?<=')[a-zA-Z]+(?=')/g) ?? [];
  assert.ok(actions.length > 20);
  const page = read('docs/security.md');
  for (const action of actions) assert.ok(page.includes(`"${action}"`), action);
});

test('every make target that is named is there, and CONTRIBUTING.md names them all', () => {
  const makefile = read('Makefile');
  const targets = [...makefile.matchAll(/^([a-z-]+):.*##/gm)].map(([, name = '']) => name);
  const patterns = [...makefile.matchAll(/^([a-z-]+)%:/gm)].map(([, beginning = '']) => beginning);
  const named = PAGES.flatMap((page) =>
    [...read(page).matchAll(/(?:`|^)make ([a-z-]+)/gm)].map(([, name = '']) => name),
  );
  assert.equal(
    named.filter((name) => !targets.includes(name) && !patterns.some((beginning) => name.startsWith(beginning))),
    [],
  );
  const page = read('CONTRIBUTING.md');
  for (const target of targets.filter((name) => name !== 'help'))
    assert.ok(page.includes(`| \`make ${target}\` |`), target);
});

test('README.md says of every dependency why it is there', () => {
  const { devDependencies } = JSON.parse(read('package.json')) as { devDependencies: Record<string, string> };
  const page = read('README.md');
  for (const name of Object.keys(devDependencies)) assert.ok(page.includes(`\`${name}\``), name);
});

test.run();
