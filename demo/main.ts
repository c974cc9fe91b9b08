/** Runs the demo, with `--sharded` to a sharded cluster, and ends with a code that tells whether the clusters were equal. */
import { runDemo } from './demo.js';

const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.once(name, () => stop.abort(new Error(`stopped by ${name}`)));
}

try {
  process.exitCode = (await runDemo({ sharded: process.argv.includes('--sharded') }, stop.signal)) ? 0 : 1;
} catch (error) {
  console.error(`\nThe demo did not get to its end: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
