import type { Io } from '../../../src/cli/io.js';
import { runCli } from '../../../src/cli/program.js';

/** What a command line said and how it ended. */
export interface Ended {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

/** The world a command line runs in. */
export interface World {
  readonly env?: Record<string, string>;
  readonly files?: Record<string, string>;
  readonly stdin?: string;
  readonly terminalColumns?: number;
  /** What is typed when something is asked; undefined: there is no terminal. */
  readonly answer?: string;
}

/** Runs a command line against texts in place of terminals and files. */
export async function runWith(argv: readonly string[], world: World = {}): Promise<Ended> {
  const written = { out: '', err: '' };
  const io: Io = {
    env: world.env ?? {},
    out: (text) => {
      written.out += text;
    },
    err: (text) => {
      written.err += text;
    },
    terminalColumns: world.terminalColumns,
    readFile: (path) => {
      const text = world.files?.[path];
      if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
      return text;
    },
    readStdin: async () => world.stdin ?? '',
    ask: world.answer === undefined ? undefined : async () => world.answer ?? '',
  };
  const exitCode = await runCli(argv, io);
  return { exitCode, ...written };
}
