/** Runs a program to its end. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const execFileAsync = promisify(execFile);

/** A program that could not be run or that failed; the message holds what it said. */
export class ToolError extends Error {
  override readonly name = 'ToolError';
}

/**
 * Runs a program to its end and returns its standard output.
 *
 * `env` is added to this process's environment. Errors: {@link ToolError} if the program is missing, fails, or is
 * stopped by `signal`.
 */
export async function runTool(
  command: string,
  args: readonly string[],
  options: { env?: Readonly<Record<string, string>>; signal?: AbortSignal | undefined } = {},
): Promise<string> {
  const env = { ...process.env, ...options.env };
  const signal = options.signal ? { signal: options.signal } : {};
  try {
    const { stdout } = await execFileAsync(command, args, { env, maxBuffer: 16 * 1024 * 1024, ...signal });
    return stdout;
  } catch (error) {
    throw new ToolError(`${command} ${args.slice(0, 4).join(' ')}: ${saying(error)}`, { cause: error });
  }
}

function saying(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const stderr = 'stderr' in error && typeof error.stderr === 'string' ? error.stderr.trim() : '';
  return stderr === '' ? error.message : stderr;
}
