/** Runs client commands of the built executable. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { ferryExecutable } from './ferry-process.js';

/** What a command wrote, and the code it ended with; null when a signal ended it. */
export interface CliRun {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A client command of the built executable, with pipes as its standard streams. */
export class CliCommand {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<CliRun>;
  #stdout = '';
  #stderr = '';

  /** Starts it. `input` is all of its standard input; `env` is added to this process's environment. */
  constructor(
    args: readonly string[],
    options: {
      readonly input?: string;
      readonly signal?: AbortSignal;
      readonly env?: Readonly<Record<string, string>>;
    } = {},
  ) {
    const { input = '', signal, env } = options;
    this.#child = spawn(process.execPath, [ferryExecutable(), ...args], {
      ...(signal === undefined ? {} : { signal }),
      env: { ...process.env, ...env },
    });
    this.#child.stdout.on('data', (chunk: Buffer) => {
      this.#stdout += chunk.toString('utf8');
    });
    this.#child.stderr.on('data', (chunk: Buffer) => {
      this.#stderr += chunk.toString('utf8');
    });
    this.#ended = new Promise((resolve, reject) => {
      this.#child.on('error', reject);
      this.#child.on('close', (code) => resolve({ code, stdout: this.#stdout, stderr: this.#stderr }));
    });
    this.#ended.catch(() => undefined);
    this.#child.stdin.end(input);
  }

  /** What it has written so far. */
  get stdout(): string {
    return this.#stdout;
  }

  /** Resolves when it has ended. */
  get ended(): Promise<CliRun> {
    return this.#ended;
  }
}
