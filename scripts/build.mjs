/** Bundles src/main.ts with everything it needs into one executable file, dist/mongoferry. */
import { chmodSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { build } from 'esbuild';
import { writeNotices } from './write-notices.mjs';

const OUTPUT = 'dist/mongoferry';

// A file without an extension is a CommonJS or an ES module depending on the package.json it happens to lie under. This
// wrapper is valid as both, so that the file runs wherever it is copied to. Its first line takes SIGUSR1 away from Node,
// which would open its debugger; src/lib/process-signals.ts has the rest.
const HEAD = `#!/usr/bin/env node
(() => {
'use strict';
process.on('SIGUSR1', () => undefined);
const builtin = process.getBuiltinModule;
const __filename = builtin('node:fs').realpathSync(process.argv[1]);
const __dirname = builtin('node:path').dirname(__filename);
const __bundleUrl = builtin('node:url').pathToFileURL(__filename).href;
const require = builtin('node:module').createRequire(__bundleUrl);
const module = { exports: {} };
const exports = module.exports;
`;
const TAIL = '})();';

// Loaded by the driver only when a connection string asks for what they do; each needs native code.
const OPTIONAL = [
  'kerberos',
  'snappy',
  '@mongodb-js/zstd',
  'mongodb-client-encryption',
  '@aws-sdk/credential-providers',
  'gcp-metadata',
  'socks',
  'aws4',
];

mkdirSync('dist', { recursive: true });
rmSync(OUTPUT, { force: true });
const result = await build({
  entryPoints: ['src/main.ts'],
  outfile: OUTPUT,
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  format: 'cjs',
  // The whole text stays in memory, once for each thread: one byte a character, and no comments.
  charset: 'ascii',
  minifyWhitespace: true,
  lineLimit: 160,
  legalComments: 'inline',
  external: OPTIONAL,
  define: { 'import.meta.url': '__bundleUrl' },
  banner: { js: HEAD },
  footer: { js: TAIL },
  metafile: true,
  logLevel: 'warning',
});
chmodSync(OUTPUT, 0o755);
writeNotices(result.metafile.inputs, JSON.parse(readFileSync('package.json', 'utf8')));
const [{ bytes }] = Object.values(result.metafile.outputs);
console.log(`${OUTPUT}: ${(bytes / 1024 / 1024).toFixed(1)} MiB`);
