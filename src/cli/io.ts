/** Gives commands their streams and environment, so that tests can replace them. */
import * as fs from 'node:fs';
import { createInterface } from 'node:readline/promises';
import { text } from 'node:stream/consumers';
import type { ReadFile } from '../config/sources.js';

/** Everything a command reads and writes, so that tests can be the terminal. */
export interface Io {
  readonly env: NodeJS.ProcessEnv;
  /** Writes to standard output. */
  out(text: string): void;
  /** Writes to standard error. */
  err(text: string): void;
  /** Characters per line when standard output is a terminal; undefined when it is a file or a pipe. */
  readonly terminalColumns: number | undefined;
  readonly readFile: ReadFile;
  /** Standard input to its end. */
  readStdin(): Promise<string>;
  /** Puts a question on the terminal and resolves with the line that is typed; undefined where there is no terminal. */
  readonly ask: ((question: string) => Promise<string>) | undefined;
}

/** Thrown by `out` once nobody reads standard output any more, as after `mongoferry progress --watch | head -1`. */
export class OutputClosed extends Error {
  override readonly name = 'OutputClosed';
}

/** The process's own streams and environment. */
export function processIo(): Io {
  let closed = false;
  // Without a listener a reader that leaves would end the process, and with it a running migration.
  process.stdout.on('error', () => {
    closed = true;
  });
  return {
    env: process.env,
    out: (chunk) => {
      if (closed) throw new OutputClosed();
      process.stdout.write(chunk);
    },
    err: (chunk) => {
      process.stderr.write(chunk);
    },
    get terminalColumns() {
      return process.stdout.isTTY ? (process.stdout.columns ?? 80) : undefined;
    },
    readFile: (path) => fs.readFileSync(path, 'utf8'),
    readStdin: () => text(process.stdin),
    ask: process.stdin.isTTY && process.stderr.isTTY ? askOnTerminal : undefined,
  };
}

async function askOnTerminal(question: string): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await terminal.question(question);
  } finally {
    terminal.close();
  }
}
