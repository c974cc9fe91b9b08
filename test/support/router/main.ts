/** Runs the router double as a process of its own, with the flags of mongos that it understands. */
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { Router } from './router.js';
import { WireServer } from './wire-server.js';

const { values } = parseArgs({
  options: {
    configdb: { type: 'string' },
    port: { type: 'string' },
    keyFile: { type: 'string' },
    /** In milliseconds; a mongos calls it defaultFindReplicaSetHostTimeoutMS. */
    hostWait: { type: 'string', default: '0' },
    verbose: { type: 'boolean', default: false },
    trace: { type: 'boolean', default: false },
    /** Names the folder that the process belongs to, so that whoever cleans up recognises it. */
    folder: { type: 'string' },
  },
});

const log = (line: string): void => {
  process.stdout.write(`${new Date().toISOString()} ${line}\n`);
};

async function main(): Promise<void> {
  const { configdb, port, keyFile, verbose, trace } = values;
  if (configdb === undefined || port === undefined) throw new Error('--configdb and --port are needed');
  const key = keyFile === undefined ? undefined : (await readFile(keyFile, 'utf8')).replace(/\s/g, '');
  const tell = trace ? (line: () => string) => log(line()) : undefined;
  const router = await Router.start({ configdb, key, hostWaitMs: Number(values.hostWait), log, verbose, trace: tell });
  const server = await listen(router, Number(port));
  log(`router double (stands for mongos, for tests only): Waiting for connections on 127.0.0.1:${port}`);
  process.once('SIGTERM', () => {
    server.close();
    router.close();
    process.exitCode = 0;
  });
}

async function listen(router: Router, port: number): Promise<WireServer> {
  try {
    return await WireServer.listen(router, { port, log });
  } catch (error) {
    // Its connections would keep the process alive.
    router.close();
    throw error;
  }
}

try {
  await main();
} catch (error) {
  const taken = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';
  log(`router double: ${taken ? 'Address already in use' : String(error)}`);
  process.exitCode = 1;
}
