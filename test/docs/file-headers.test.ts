/** Every file begins with what it is for: a newcomer reads that line before the imports. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const filesOf = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(ts|mjs)$/.test(name))
    .map((name) => path.join(folder, name));

for (const folder of ['src', 'test/support', 'bench', 'demo', 'scripts']) {
  test(`every file of ${folder} says in its first comment what it is for`, () => {
    const silent = filesOf(folder).filter((file) => {
      const [, text = ''] = /^\/\*\*((?:[^*]|\*(?!\/))*)\*\//.exec(readFileSync(file, 'utf8')) ?? [];
      // A sentence, so that "/** */" or a name alone does not do.
      return !/[A-Z`][^.]* [^.]*[.:]/.test(text);
    });
    assert.equal(silent, []);
  });
}

test.run();
