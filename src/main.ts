import { isMainThread } from 'node:worker_threads';
import { processIo } from './cli/io.js';
import { runCli } from './cli/program.js';

if (isMainThread) {
  void runCli(process.argv.slice(2), processIo()).then((exitCode) => {
    process.exitCode = exitCode;
  });
} else {
  // A thread of a running server; what it is for stands in its data.
  void import('./verify/scan-worker.js').then(({ runScanWorker }) => runScanWorker());
}
