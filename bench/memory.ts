/** Reads the peak memory of a process. */
import { readFile } from 'node:fs/promises';

/** The most memory that a process ever had resident (VmHWM), in MiB; NaN where the system does not tell. */
export async function peakMemoryMiB(pid: number): Promise<number> {
  try {
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN) / 1024;
  } catch (error) {
    // Only Linux has this file.
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return Number.NaN;
    throw error;
  }
}
