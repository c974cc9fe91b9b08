/**
 * Writes the import rules of src/ into biome.json from the one table below: imports go down the floors only, and the
 * rooms of one floor know nothing of each other. `--check` only compares, and ends with 1 where they differ.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';

/** From the top down; ARCHITECTURE.md draws the same. `*.ts` are the files that lie in src/ itself. */
const FLOORS = [
  ['main.ts'],
  ['cli'],
  ['service.ts', 'telemetry.ts', 'metrics-log.ts', 'worker.ts'],
  ['api', 'config'],
  ['migration'],
  ['progress', 'reversal', 'compare'],
  ['phases'],
  ['instances'],
  ['start'],
  ['cutover'],
  ['apply', 'copy', 'indexes', 'initialise', 'preflight', 'verify'],
  ['ddl'],
  ['layout', 'matching'],
  ['metadata'],
  ['threads'],
  ['documents'],
  ['catalog'],
  ['cluster'],
  ['bson'],
  ['lib'],
  ['errors.ts', 'metrics.ts', 'metrics-queues.ts', 'version.ts'],
];
/** The only rooms that may use the driver and BSON. */
const MONGODB = new Set(['bson', 'cluster', 'documents']);

const isRoom = (name) => !name.endsWith('.ts');
const pattern = (name) => (isRoom(name) ? `**/${name}/**` : `**/${name.replace(/\.ts$/, '.js')}`);

function rule(room, floor) {
  const above = FLOORS.slice(0, floor).flat();
  const siblings = FLOORS[floor].filter((other) => other !== room && isRoom(other));
  const patterns = [
    {
      group: [...above, ...siblings].map(pattern),
      message: 'Imports go down the floors only, and not between rooms of one floor: see ARCHITECTURE.md.',
    },
    {
      group: ['mongodb', 'mongodb/**', 'bson'],
      message: 'Only src/bson, src/cluster and src/documents use the driver.',
    },
  ];
  const kept = patterns.filter(({ group }, index) => group.length > 0 && !(index === 1 && MONGODB.has(room)));
  return {
    includes: [isRoom(room) ? `src/${room}/**` : `src/${room}`],
    linter: { rules: { style: { noRestrictedImports: { level: 'error', options: { patterns: kept } } } } },
  };
}

const before = readFileSync('biome.json', 'utf8');
const config = JSON.parse(before);
const isImportRule = (override) => override.linter?.rules?.style?.noRestrictedImports !== undefined;
const others = (config.overrides ?? []).filter((override) => !isImportRule(override));
const rules = FLOORS.flatMap((rooms, floor) => rooms.map((room) => rule(room, floor)));
config.overrides = [...rules, ...others];
const after = execFileSync('biome', ['format', '--stdin-file-path=biome.json'], {
  input: JSON.stringify(config, null, 2),
  encoding: 'utf8',
});
if (process.argv.includes('--check')) {
  if (after !== before) {
    console.error('biome.json does not hold the import rules of scripts/write-import-rules.mjs: run it');
    process.exitCode = 1;
  }
} else writeFileSync('biome.json', after);
