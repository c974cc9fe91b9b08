import { processIo } from './cli/io.js';
import { runCli } from './cli/program.js';

void runCli(process.argv.slice(2), processIo()).then((exitCode) => {
  process.exitCode = exitCode;
});
