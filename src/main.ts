/** Starts the program: the command line, or what a thread of the server is for. */
import { isMainThread } from 'node:worker_threads';
import { holdSignals } from './lib/process-signals.js';
import { tuneV8 } from './lib/v8-settings.js';

// Before anything else is loaded, which takes some hundred milliseconds.
if (isMainThread) {
  holdSignals();
  tuneV8();
}

/** The program, or, in a thread of a running server, what that thread is for. Each loads only its own modules. */
async function main(): Promise<void> {
  if (!isMainThread) {
    const { runWorker } = await import('./worker.js');
    runWorker();
    return;
  }
  const [{ processIo }, { runCli }] = await Promise.all([import('./cli/io.js'), import('./cli/program.js')]);
  process.exitCode = await runCli(process.argv.slice(2), processIo());
}

void main();
