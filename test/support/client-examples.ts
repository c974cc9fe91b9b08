/** Builds and runs the examples of clients/. */
import { execFile, spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const ROOT = process.cwd();

/** The languages of clients/. */
export type ClientLanguage = 'typescript' | 'python' | 'go';

/** A built example, ready to run. */
export interface ClientExample {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** What an example wrote, and how it ended. */
export interface ExampleRun {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Builds the example of a client with its language's own tools; they are fetched at the first run. */
export async function buildExample(language: ClientLanguage): Promise<ClientExample> {
  const client = join(ROOT, 'clients', language);
  switch (language) {
    case 'typescript': {
      await run(join(ROOT, 'node_modules', '.bin', 'tsc'), ['-p', client]);
      return { command: process.execPath, args: [join(client, 'dist', 'examples', 'migrate.js')], env: {} };
    }
    case 'python': {
      const { stdout } = await run(join(ROOT, 'scripts', 'client-tools.sh'), ['python']);
      const env = { PYTHONPATH: client, PYTHONDONTWRITEBYTECODE: '1' };
      return {
        command: join(stdout.trim(), 'bin', 'python'),
        args: [join(client, 'examples', 'migrate.py')],
        env,
      };
    }
    case 'go': {
      const binary = join(ROOT, 'build', 'clients', 'migrate');
      await mkdir(join(ROOT, 'build', 'clients'), { recursive: true });
      await run('go', ['build', '-o', binary, './examples/migrate'], { cwd: client });
      return { command: binary, args: [], env: {} };
    }
  }
}

/**
 * Runs a built example against a gRPC target, as in `127.0.0.1:27183`, until it ends or `signal` aborts. `onLine` is
 * told each line of its standard output as it comes.
 */
export function runExample(
  { command, args, env }: ClientExample,
  options: {
    readonly target: string;
    /** As the languages' usual flags: `{ source: 'cluster1' }`. */
    readonly flags?: Readonly<Record<string, string>>;
    /** Added to the environment. */
    readonly env?: Readonly<Record<string, string>>;
    readonly signal?: AbortSignal;
    readonly onLine?: (line: string) => void;
  },
): Promise<ExampleRun> {
  const flags = Object.entries(options.flags ?? {}).flatMap(([name, value]) => [`--${name}`, value]);
  const child = spawn(command, [...args, ...flags, options.target], {
    env: { ...process.env, ...env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(options.signal ? { signal: options.signal } : {}),
  });
  let stdout = '';
  let stderr = '';
  let told = 0;
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString('utf8');
    const lines = stdout.split('\n').slice(0, -1);
    for (const line of lines.slice(told)) options.onLine?.(line);
    told = lines.length;
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString('utf8');
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}
